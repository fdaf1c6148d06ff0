"""The tables and the plot of peers.py."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import machine
from engines import Job

from striate.graph import table


class Results:
    """What the jobs of a run came to, one after the other."""

    def __init__(self, heads: Sequence[str]) -> None:
        self.heads = heads
        self.tables: list[str] = []
        self.rows: list[dict[str, Any]] = []
        self.ratios: list[tuple[str, dict[str, list[float]]]] = []  # job -> engine -> its times over ours

    def add(self, job: Job, cells: Sequence[tuple[str, ...]], rows: Sequence[dict[str, Any]],
            ratios: dict[str, list[float]]) -> None:
        title = f"{job.network}, batch {job.batch}, {job.mode}"
        self.tables.append(f"\n{title}\n{table(self.heads, cells, right=self.heads[1:])}")
        for row in rows:
            if "ratio" in row:
                self.tables[-1] += f"\nstriate is {row['ratio']:.2f} x as fast as {row['against']}, the fastest peer"
        self.rows += rows
        self.ratios.append((title, ratios))

    def write(self, folder: Path, name: str) -> Iterator[Path]:
        """The tables as text and the plot."""
        folder.mkdir(parents=True, exist_ok=True)
        text = folder / f"{name}.txt"
        text.write_text("\n".join([machine.described(), *self.tables]) + "\n")
        yield text
        plot = folder / f"{name}.png"
        self._plot(plot)
        yield plot

    def _plot(self, file: Path) -> None:
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot

        engines = list(dict.fromkeys(e for _, ratios in self.ratios for e in ratios if e != "striate"))
        figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.55 * len(self.ratios)), layout="constrained")
        for i, engine in enumerate(engines):
            at = [(row, r[engine]) for row, (_, r) in enumerate(self.ratios) if engine in r]
            middle = [statistics.median(values) for _, values in at]
            spread = [[m - min(v) for m, (_, v) in zip(middle, at, strict=True)],
                      [max(v) - m for m, (_, v) in zip(middle, at, strict=True)]]
            heights = [row + 0.08 * (i - (len(engines) - 1) / 2) for row, _ in at]
            axes.errorbar(middle, heights, xerr=spread, fmt="o", markersize=4, linewidth=0.8, label=engine)
        axes.axvline(1.0, color="black", linewidth=0.8)
        axes.set_xscale("log")
        axes.set_xticks([0.5, 1, 1.5, 2, 3, 5, 10], ["0.5", "1", "1.5", "2", "3", "5", "10"])
        axes.set_yticks(range(len(self.ratios)), [title for title, _ in self.ratios])
        axes.invert_yaxis()
        axes.set_xlabel("time over striate's: median and range of the rounds; right of the line striate is faster")
        axes.set_title(machine.described().splitlines()[0], fontsize=8)
        axes.legend(fontsize=8)
        figure.savefig(file, dpi=150)
