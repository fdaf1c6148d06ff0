"""Latency: the ms that a network will take on this machine, layer by layer, before it runs, and how sure that is.

The plan of a run names every kernel call with its shapes and places; `striate calibrate` has measured what kernels
take here (latency/model.py). Nothing is run, no memory mapped, no weight drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from striate.account.draw import cut
from striate.account.latency.amounts import Amounts, amounts, run_amounts
from striate.account.latency.store import Calibration, load
from striate.account.memory import plan_of
from striate.errors import ConfigError
from striate.graph import sizes, table
from striate.kernels import native
from striate.kernels.contract import Shape
from striate.models import name_of
from striate.nn import Module
from striate.ops.arguments import integer

HEADS = ("layer", "kernels", "ms", "90 % between", "share")
LAYER, KERNELS = 30, 34  # columns


@dataclass(frozen=True)
class Row:
    """One call, in ms; `calibrated` says that its kernel was met by the calibration. The last row is the run's own."""

    layer: str
    kernel: str
    section: str
    ms: float
    low: float
    high: float
    calibrated: bool


@dataclass(frozen=True)
class Prediction:
    """Predicted time of one run in ms: nine of ten measured medians are expected from `low` to `high`."""

    name: str
    input: Shape
    training: bool
    isa: str
    threads: int
    ms: float
    low: float
    high: float
    rows: tuple[Row, ...]

    def layers(self) -> dict[str, tuple[tuple[str, ...], float, float, float]]:
        """Layer -> (its kernels, ms, low, high), in the order they are first met."""
        found: dict[str, tuple[tuple[str, ...], float, float, float]] = {}
        for r in self.rows:
            kernels, ms, low, high = found.get(r.layer, ((), 0.0, 0.0, 0.0))
            found[r.layer] = (tuple(dict.fromkeys((*kernels, r.kernel))), ms + r.ms, low + r.low, high + r.high)
        return found

    def as_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers, as JSON has them."""
        return asdict(self)

    def __str__(self) -> str:
        what = "a training step" if self.training else "inference"
        head = f"{self.name}, input {sizes(self.input)}, {what}: isa {self.isa}, threads {self.threads}"
        rows = [(cut(layer, LAYER), cut(", ".join(kernels), KERNELS), f"{ms:.3f}", f"{low:.3f} to {high:.3f}",
                 f"{ms / self.ms:.1%}") for layer, (kernels, ms, low, high) in self.layers().items()]
        strange = sorted({r.kernel for r in self.rows if not r.calibrated})
        note = f"\nnot calibrated, a guess from the other kernels: {', '.join(strange)}" if strange else ""
        end = f"{self.ms:.3f} ms predicted; 90 % between {self.low:.3f} and {self.high:.3f}"
        return f"{head}\n\n{table(HEADS, rows, right=HEADS[2:])}\n\n{end}{note}"


def predict(net: Module, input_shape: Sequence[int], batch: int = 1, *, training: bool = False) -> Prediction:
    """The time of `net` on a batch of images of (C, H, W), with the threads and the precision that are set.

    With training=True that of a step as `plan_of` plans it: forward, loss, backward, SGD with momentum.
    Raises: ConfigError if this machine was not calibrated; FormatError if its calibration cannot be read.
    """
    if not isinstance(net, Module):
        raise ConfigError(f"latency: needs a Module, got {type(net).__name__}")
    image = tuple(integer("latency", "input_shape", size) for size in input_shape)
    n = integer("latency", "batch", batch)
    isa, threads = native.default_isa(), native.get_threads()
    found = load(isa, threads)
    target = native.target(isa, training=training)
    plan = plan_of(net, image, n, training=training)
    parts = [*amounts(plan, target, threads), run_amounts(plan, training)]
    return _prediction(found, name_of(net), (n, *image), training, parts)


def _prediction(found: Calibration, name: str, shape: Shape, training: bool, parts: list[Amounts]) -> Prediction:
    priced = [(a, found.prices.ns(a)) for a in parts]
    ms = sum(ns for _, ns in priced) / 1e6
    wide = math.exp(found.spread.half(priced))
    return Prediction(name, shape, training, found.isa, found.threads, ms, ms / wide, ms * wide,
                      tuple(_row(found, a, ns / 1e6) for a, ns in priced))


def _row(found: Calibration, a: Amounts, ms: float) -> Row:
    wide = math.exp(found.spread.half([(a, ms)]))
    return Row(a.layer or a.kernel, a.kernel, a.section, ms, ms / wide, ms * wide, a.family in found.prices.families)
