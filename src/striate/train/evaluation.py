"""How good a network is on labelled images: mean loss, accuracy, and which class is taken for which."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from striate import ops
from striate.data import Dataset, Loader
from striate.engine.programs import Request
from striate.engine.step import image_spec
from striate.engine.trace import Loss
from striate.errors import ShapeError
from striate.graph import Value
from striate.kernels.contract import Spec
from striate.nn import Module
from striate.train.position import Tally

BATCH = 256


@dataclass(frozen=True)
class Score:
    """What an evaluation found; accuracy is from 0 to 1."""

    loss: float
    accuracy: float
    images: int
    seconds: float

    @property
    def images_per_second(self) -> float:
        return self.images / max(self.seconds, 1e-9)


def correct(outputs: Any, targets: Value) -> Value:
    """How many of a batch are right; of a network with several outputs the first one counts."""
    count: Value = ops.count_correct(main_output(outputs), targets)
    return count


def main_output(outputs: Any) -> Any:
    """The logits of a network that may return a tuple, list or dict of outputs: the first of them."""
    while isinstance(outputs, tuple | list | dict):
        outputs = next(iter(outputs.values() if isinstance(outputs, dict) else outputs))
    return outputs


def loss_of(net: Module) -> Loss:
    """What a network is trained by unless another loss is given: its own `loss`, else cross-entropy."""
    own: Loss = getattr(net, "loss", ops.cross_entropy)
    return own


def evaluate(net: Module, data: Dataset, *, batch_size: int = BATCH, loss: Loss = ops.cross_entropy,
             stopped: Callable[[], bool] = lambda: False, tune: bool = False) -> Score | None:
    """Loss and accuracy of `net` over all of `data`; None if `stopped` said so before the end."""
    sums, start = Tally(), time.perf_counter()
    for x, targets in Loader(data, batch_size, shuffle=False).epoch(0):
        request = Request(image_spec(x), False, loss, Spec((), "int64"), (("correct", correct),), outputs=False,
                          tune=tune)
        feeds = {"x": x, "targets": targets, "seed": np.int64(0), "step": np.int64(0)}
        result = net.programs.get(request, len(x)).run(feeds)
        sums.add(float(result["loss"]), float(result["correct"]), len(x))
        if stopped():
            return None
    return Score(sums.mean_loss, sums.accuracy, sums.images, time.perf_counter() - start)


def confusion(net: Module, data: Dataset, *, batch_size: int = BATCH) -> npt.NDArray[np.int64]:
    """How many images of each class (row) are taken for each class (column), as many as the network tells apart.

    Raises: ShapeError if the network's output is not (N, classes), with at least the classes of `data`.
    """
    found: npt.NDArray[np.int64] | None = None
    for x, targets in Loader(data, batch_size, shuffle=False).epoch(0):
        logits = main_output(net(x))
        if logits.ndim != 2 or logits.shape[1] < len(data.classes):
            raise ShapeError(f"confusion: needs logits (N, {len(data.classes)}), one a class, got {logits.shape}")
        if found is None:
            found = np.zeros((logits.shape[1],) * 2, np.int64)
        np.add.at(found, (targets, logits.argmax(axis=1)), 1)
    assert found is not None, "a data set has at least one image"
    return found
