"""What is asked of a net from outside: its value, its loss and gradients, a training step."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from striate.engine.profile import Profile
from striate.engine.program import Program
from striate.engine.programs import Programs, Request
from striate.engine.record import Optimizer
from striate.engine.trace import Loss, Metrics, unnest
from striate.errors import DtypeError, ShapeError
from striate.graph import Array
from striate.kernels.contract import Shape, Spec
from striate.ops.arguments import integer, number

FLOAT32 = np.dtype("float32")


def evaluate(programs: Programs, x: Any, *, training: bool = False, watch: Sequence[str] = (),
             seed: int = 0, step: int = 0, tune: bool = False) -> Any:
    """net(x) for arrays; with watch= a pair (result, {name: array})."""
    array, names = images(x), watched_names(watch)
    program = programs.get(_evaluation(array.shape[1:], training, names, tune), array.shape[0])
    feeds = counters(seed, step)
    feeds["x"] = array
    results = program.run(feeds)
    if not names:
        return unnest(program.nest, [*results.values()])
    watched = {name: results.pop(f"watch.{name}") for name in names}
    return unnest(program.nest, [*results.values()]), watched


@functools.lru_cache(maxsize=256)
def _evaluation(image: Shape, training: bool, watch: tuple[str, ...], tune: bool) -> Request:
    """The same object for the same question: it is hashed once and compared by identity."""
    return Request(Spec(image), training, watch=watch, tune=tune)


def images(x: Any) -> Array:
    """`x` as a float32 batch. Raises: DtypeError, ShapeError."""
    try:
        array = np.asarray(x)
    except ValueError:
        raise DtypeError(f"net: needs an array of numbers, got {type(x).__name__} of uneven rows") from None
    if array.dtype is not FLOAT32 and array.dtype.newbyteorder("=") != FLOAT32:
        raise DtypeError(f"net: needs a float32 array, got {array.dtype}; convert with x.astype(numpy.float32)")
    if array.ndim not in (2, 4):
        raise ShapeError(f"net: needs a batch (N, C, H, W) or (N, C), got shape {array.shape}")
    return array


def watched_names(watch: Any) -> tuple[str, ...]:
    """The names to watch, each once. Raises: DtypeError unless they are a list of names."""
    if isinstance(watch, tuple) and not watch:
        return ()
    if isinstance(watch, str) or not isinstance(watch, Sequence) or not all(isinstance(name, str) for name in watch):
        raise DtypeError(f"watch: needs a list of names of values or layers, got {watch!r:.80}")
    return tuple(dict.fromkeys(watch))


def counters(seed: Any, step: Any) -> dict[str, Any]:
    """The run-time scalars that random bits are keyed by."""
    if type(seed) is type(step) is int and 0 <= seed < 2**63 and 0 <= step < 2**63:
        return {"seed": seed, "step": step}
    return {"seed": integer("net", "seed", seed, 0, 2**63 - 1), "step": integer("net", "step", step, 0, 2**63 - 1)}


def budget(who: str, memory_budget: Any) -> int | None:
    """`memory_budget` as bytes. Raises: DtypeError, ConfigError."""
    return None if memory_budget is None else integer(who, "memory_budget", memory_budget, 1, 2**63 - 1)


def image_spec(batch: Array) -> Spec:
    return Spec(batch.shape[1:], str(batch.dtype.newbyteorder("=")))


def _targets_spec(targets: Array) -> Spec:
    return Spec(targets.shape[1:], "float32" if targets.dtype.kind == "f" else "int64")


class ValueAndGrad:
    """Calling it with (x, targets) gives (loss, {parameter path: gradient}); see `value_and_grad`."""

    def __init__(self, programs: Programs, loss: Loss, watch: Sequence[str] = (),
                 memory_budget: int | None = None) -> None:
        self.programs, self.loss, self.watch = programs, loss, watched_names(watch)
        self.memory_budget = budget("value_and_grad", memory_budget)

    def program(self, x: Array, targets: Array) -> Program:
        """The program that a call runs."""
        request = Request(image_spec(x), True, self.loss, _targets_spec(targets), gradients=True, outputs=False,
                          watch=self.watch, memory_budget=self.memory_budget)
        return self.programs.get(request, x.shape[0])

    def __call__(self, x: Any, targets: Any, *, seed: int = 0, step: int = 0) -> tuple[Any, ...]:
        array, wanted = images(x), np.asarray(targets)
        program = self.program(array, wanted)
        feeds = {"x": array, "targets": wanted} | counters(seed, step)
        results = program.run(feeds)
        grads = {name[5:]: g for name, g in results.items() if name.startswith("grad.")}
        watched = {name: results[f"watch.{name}"] for name in self.watch}
        value = float(results["loss"])
        return (value, grads, watched) if self.watch else (value, grads)


class TrainingStep:
    """Calling it with (x, targets) runs forward, loss, backward and updates in one native call.

    Returns {"loss": float, metric: float, ...}. tune=True chooses algorithms by measuring them, once for a shape.
    Raises: NonFiniteError; then no state was changed. LimitError if a step cannot do with `memory_budget` bytes.
    """

    def __init__(self, programs: Programs, loss: Loss, optimizer: Optimizer, metrics: Metrics | None = None, *,
                 tune: bool = False, memory_budget: int | None = None) -> None:
        self.programs, self.loss, self.optimizer, self.tune = programs, loss, optimizer, tune
        self.metrics = tuple((metrics or {}).items())
        self.memory_budget = budget("step", memory_budget)

    def program(self, x: Array, targets: Array) -> Program:
        """The program that a call runs."""
        request = Request(image_spec(x), True, self.loss, _targets_spec(targets), self.metrics, outputs=False,
                          optimizer=self.optimizer, tune=self.tune, memory_budget=self.memory_budget)
        return self.programs.get(request, x.shape[0])

    def __call__(self, x: Array, targets: Array, *, lr: float, step: int, seed: int = 0) -> dict[str, float]:
        program = self.program(x, targets)
        results = program.run(self._feeds(x, targets, lr, step, seed))
        return {name: float(value) for name, value in results.items()}

    def profile(self, x: Array, targets: Array, *, lr: float, step: int = 1, seed: int = 0) -> Profile:
        """One step with the time of every call; it trains like any other."""
        return self.program(x, targets).profile(self._feeds(x, targets, lr, step, seed))

    def _feeds(self, x: Array, targets: Array, lr: float, step: int, seed: int) -> dict[str, Any]:
        rate = number("step", "lr", lr, 0.0, float(np.finfo(np.float32).max))
        return {"x": x, "targets": targets, "lr": np.float32(rate)} | counters(seed, step)
