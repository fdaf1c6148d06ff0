"""The tables and the plot of peers.py."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import machine
import numpy as np
from engines import BUDGETED, MACS, TRAINING, Job
from turns import OURS, Measured

from striate.graph import table

HEADS = ("engine", "median ms", "rounds", "fastest ms", "x striate", "rounds", "GFLOP/s", "peak MiB", "differs")


class Results:
    """What the jobs of a run came to, one after the other."""

    def __init__(self) -> None:
        self.tables: list[str] = []
        self.rows: list[dict[str, Any]] = []
        self.ratios: list[tuple[str, dict[str, list[float]]]] = []  # job -> engine -> its times over ours

    def add(self, job: Job, found: Sequence[Measured]) -> None:
        """Takes in what the engines did for a job."""
        title, rows = f"{job.network}, batch {job.batch}, {job.mode}", rows_of(job, found)
        self.tables.append(f"\n{title}\n{table(HEADS, cells(job, found), right=HEADS[1:])}")
        for row in rows:
            if "ratio" in row:
                self.tables[-1] += f"\nstriate is {row['ratio']:.2f} x as fast as {row['against']}, the fastest peer"
        self.rows += rows
        self.ratios.append((title, {m.engine: m.ratios(ours_of(found)) for m in found}))

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

        engines = list(dict.fromkeys(e for _, ratios in self.ratios for e in ratios if e != OURS))
        figure, axes = pyplot.subplots(figsize=(10, 1.6 + 0.6 * len(self.ratios)), layout="constrained")
        for i, engine in enumerate(engines):
            at = [(row, r[engine]) for row, (_, r) in enumerate(self.ratios) if engine in r]
            middle = [statistics.median(values) for _, values in at]
            quarters = [np.quantile(values, [0.25, 0.5, 0.75]) for _, values in at]
            spread = [[m - low, high - m] for m, (low, _, high) in zip(middle, quarters, strict=True)]
            heights = [row + 0.08 * (i - (len(engines) - 1) / 2) for row, _ in at]
            axes.errorbar(middle, heights, xerr=np.abs(spread).T, fmt="o", markersize=4, linewidth=0.8, label=engine)
        axes.axvline(1.0, color="black", linewidth=0.8)
        axes.set_xscale("log")
        axes.set_xticks([0.5, 1, 1.5, 2, 3, 5, 10], ["0.5", "1", "1.5", "2", "3", "5", "10"])
        axes.set_yticks(range(len(self.ratios)), [title for title, _ in self.ratios])
        axes.invert_yaxis()
        axes.set_xlabel("time over striate's: median and quartiles of the rounds; right of the line striate is faster")
        axes.set_title(textwrap.fill(machine.described(), 110), fontsize=8)
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0))
        figure.savefig(file, dpi=150)


def ours_of(found: Sequence[Measured]) -> Measured:
    return next(m for m in found if m.engine == OURS)


def cells(job: Job, found: Sequence[Measured]) -> list[tuple[str, ...]]:
    """The rows of a job's table, fastest first."""
    macs = macs_of(job)
    ours = ours_of(found)
    rows = []
    for m in sorted(found, key=lambda m: m.median_ms):
        ratios = m.ratios(ours)
        rows.append((
            m.engine, f"{m.median_ms:.2f}", f"{min(m.medians):.2f} to {max(m.medians):.2f}", f"{m.min_ms:.2f}",
            f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}",
            f"{2e-6 * macs / m.median_ms:.0f}", f"{m.peak_mib:.0f}", f"{m.difference:.0e}",
        ))
    return rows


def rows_of(job: Job, found: Sequence[Measured]) -> list[dict[str, Any]]:
    """The rows --json writes: one an engine, and the ratio against the fastest peer of the whole run."""
    head = dict(network=job.network, batch=job.batch, mode=job.mode)
    rows: list[dict[str, Any]] = [
        head | dict(engine=m.engine, median_ms=m.median_ms, min_ms=m.min_ms, peak_mib=m.peak_mib) for m in found
    ]
    peers = [m for m in found if m.engine not in (OURS, BUDGETED)]
    if peers:
        best = min(peers, key=lambda m: m.median_ms)
        ours = ours_of(found)
        rows.append(head | dict(ratio=statistics.median(best.ratios(ours)), against=best.engine))
    return rows


def macs_of(job: Job) -> int:
    """Multiply-accumulates of one call; a training step counts three times a forward pass."""
    passes = 3 if job.mode == TRAINING else 1
    return passes * job.batch * int(Path(job.file(MACS)).read_text())
