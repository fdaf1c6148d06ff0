"""What a training run tells whoever listens: `fit(..., on_event=f)` calls f with one of these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class EpochStarted:
    """An epoch begins, or goes on behind its step `done` after a resume. Epochs count from 1."""

    epoch: int
    epochs: int
    steps: int  # of this epoch
    done: int
    images: int


@dataclass(frozen=True)
class StepDone:
    """One training step. `loss` and `accuracy` are means over the epoch so far, accuracies are from 0 to 1."""

    epoch: int
    step: int  # of the whole run, from 1
    batch_loss: float
    loss: float
    accuracy: float
    lr: float
    images: int  # of the epoch so far
    images_per_second: float


@dataclass(frozen=True)
class EpochDone:
    """An epoch with its evaluation; without a test set `test_loss` and `test_accuracy` are None."""

    epoch: int
    step: int
    loss: float
    accuracy: float
    test_loss: float | None
    test_accuracy: float | None
    lr: float
    seconds: float  # of the epoch's training, without the evaluation
    images_per_second: float


@dataclass(frozen=True)
class Saved:
    """A checkpoint, a network or a report was written."""

    path: Path
    step: int


@dataclass(frozen=True)
class Resumed:
    """Training goes on behind `step` from the file `path`; None means from the beginning."""

    path: Path | None
    step: int


@dataclass(frozen=True)
class Note:
    """A sentence the user should read."""

    text: str


Event = EpochStarted | StepDone | EpochDone | Saved | Resumed | Note
Listener = Callable[[Event], Any]
