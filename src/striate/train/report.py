"""What a finished run leaves to look at: the learning curve and the confusion matrix, as tables and as pictures.

The tables are always written. The pictures need matplotlib (the extra `plot`).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.atomic import write_bytes
from striate.errors import MissingExtra
from striate.picture import figure, save_figure
from striate.train.events import Note, Saved

Counts = npt.NDArray[np.int64]
COLUMNS = ("kind", "epoch", "step", "loss", "accuracy", "test_loss", "test_accuracy", "lr", "images_per_second")
TRAIN_COLOUR, TEST_COLOUR = "#9c5b17", "#1f5fa8"
NAMED_CLASSES = 40  # beyond it a label per row would not be legible


def write_report(folder: Path, log: list[dict[str, Any]], counts: Counts | None, classes: Sequence[str],
                 step: int) -> Iterator[Saved | Note]:
    """Writes learning_curve and confusion to `folder`, telling each file; without matplotlib the .csv files only."""
    curve = [COLUMNS, *([line.get(c, "") for c in COLUMNS] for line in log)]
    yield Saved(_table(folder / "learning_curve.csv", curve), step)
    if counts is not None:
        classes = [*classes, *map(str, range(len(classes), len(counts)))]  # outputs that no image was for
        matrix = [("true class", *classes), *([name, *row] for name, row in zip(classes, counts, strict=True))]
        yield Saved(_table(folder / "confusion.csv", matrix), step)
    try:
        yield Saved(draw_learning_curve(folder / "learning_curve.png", log), step)
        if counts is not None:
            yield Saved(draw_confusion(folder / "confusion.png", counts, classes), step)
    except MissingExtra as error:
        yield Note(f"{error}; the figures are in {folder / 'learning_curve.csv'}")


def _table(path: Path, rows: Sequence[Sequence[Any]]) -> Path:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["" if c is None else c for c in row] for row in rows])
    write_bytes(path, text.getvalue().encode())
    return path


def draw_learning_curve(path: Path, log: list[dict[str, Any]]) -> Path:
    """Loss and accuracy over the epochs: training as it went, training and test at the end of each epoch."""
    drawn = figure("train", (10, 4))
    epochs = [line for line in log if line["kind"] == "epoch"]
    steps = [line for line in log if line["kind"] == "step"]
    per_epoch = epochs[0]["step"] if epochs else 1
    left, right = drawn.subplots(1, 2)
    for axes, field, factor, label in ((left, "loss", 1, "loss"), (right, "accuracy", 100, "accuracy (%)")):
        axes.plot([s["step"] / per_epoch for s in steps], [s[field] * factor for s in steps], color=TRAIN_COLOUR,
                  alpha=0.3, linewidth=1, label="training, as it went")
        # the mean over an epoch belongs to its middle, the test to its end
        for name, key, colour, shift in (("training, mean of the epoch", field, TRAIN_COLOUR, 0.5),
                                         ("test", f"test_{field}", TEST_COLOUR, 0.0)):
            points = [(e["epoch"] - shift, e[key] * factor) for e in epochs if e.get(key) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=4, color=colour,
                          label=f"{name}, last {points[-1][1]:.4g}")
        axes.set_ylim(*_limits([s[field] * factor for s in steps], epochs, field, factor))
        _label(axes, label)
    return save_figure(drawn, path)


def _label(axes: Any, label: str) -> None:
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.set_xlim(left=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(framealpha=0.9, edgecolor="none")


def _limits(steps: list[float], epochs: list[dict[str, Any]], field: str, factor: int) -> tuple[float | None, ...]:
    """The loss from 0 up, without the first steps' peak; the accuracy up to 100 %."""
    values = [e[k] * factor for e in epochs for k in (field, f"test_{field}") if e.get(k) is not None]
    if field == "loss":
        high = max([*values, *(np.quantile(steps, [0.98]) if steps else [])], default=1.0)
        return 0, 1.1 * float(high)
    low = min([*values, *(np.quantile(steps, [0.05]) if steps else [])], default=0.0)
    return max(0.0, float(low) - 5), 100


def draw_confusion(path: Path, counts: Counts, classes: Sequence[str]) -> Path:
    """Counts of (true class, predicted class), coloured by their share of the row."""
    K = len(classes)
    side = max(5.5, 0.62 * K + 1.0) if K <= NAMED_CLASSES else 10.0
    drawn = figure("train", (side + 1.2, side))
    axes = drawn.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # the square root of a share, so that a mistake of 1 % can be seen beside a diagonal of 99 %
    image = axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1, aspect="equal")
    bar = drawn.colorbar(image, ax=axes, shrink=0.8, ticks=[0, 0.1, 0.3, 0.5, 0.7, 1],
                          format=lambda root, _: f"{100 * root * root:.0f} %")
    bar.set_label("share of the true class")
    if K <= NAMED_CLASSES:
        _name_cells(axes, counts, shares, classes)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    right, images = int(np.trace(counts)), int(counts.sum())
    axes.set_title(f"{right:,} of {images:,} test images right ({100 * right / max(images, 1):.2f} %)")
    return save_figure(drawn, path)


def _name_cells(axes: Any, counts: Counts, shares: npt.NDArray[np.float64], classes: Sequence[str]) -> None:
    slanted = max(map(len, classes)) > 2
    axes.set_xticks(range(len(classes)), classes, rotation=40 if slanted else 0, ha="right" if slanted else "center")
    axes.set_yticks(range(len(classes)), classes)
    for row, column in zip(*np.nonzero(counts), strict=True):
        dark = shares[row, column] > 0.3
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=9,
                  color="white" if dark else "#222222")
