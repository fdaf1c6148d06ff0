"""Where a run stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Tally:
    """Running sums over images, in float64: what the means of a part of an epoch are made of."""

    loss: float = 0.0
    correct: float = 0.0
    images: int = 0

    def add(self, loss: float, correct: float, images: int) -> None:
        """One batch: its mean loss, how many were right, its size."""
        self.loss += loss * images
        self.correct += correct
        self.images += images

    @property
    def mean_loss(self) -> float:
        return self.loss / max(self.images, 1)

    @property
    def accuracy(self) -> float:
        return self.correct / max(self.images, 1)


@dataclass
class Position:
    """Where a run stands: everything but the arrays that a resumed run needs to go on with the same bits."""

    epoch: int = 0  # epochs completed, with their evaluation
    batch: int = 0  # batches of the current epoch done
    step: int = 0  # steps done in all
    seconds: float = 0.0  # of training, over all its parts
    epoch_seconds: float = 0.0
    tally: Tally = field(default_factory=Tally)  # of the current epoch
    window: Tally = field(default_factory=Tally)  # since the last step line of the log
    history: list[dict[str, Any]] = field(default_factory=list)  # one row an epoch
