"""The memory a run needs, from planning alone: no weight is drawn, nothing is computed and no page touched.

Inference is a run of the network. A training step is what `fit` runs: cross-entropy (or the `loss` of a network with
auxiliary heads), backward, SGD with momentum, and the count of right answers. Bytes are those the engine then maps:
states (weights, statistics, the optimiser's slots), constants (packed filters) and the arena (activations, gradients,
scratch). They hold for the instruction set, the number of threads and the precision that are set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from striate.engine.place import Plan
from striate.engine.programs import Request
from striate.errors import ConfigError, ShapeError, StriateError
from striate.kernels.contract import Shape, Spec
from striate.nn import Module
from striate.ops.arguments import integer
from striate.train import SGD
from striate.train.evaluation import correct, loss_of

LIMIT = 2**24  # images; more are never asked for


def request_of(net: Module, image: Shape, *, training: bool) -> Request:
    """What is asked of the engine for inference, or for a training step."""
    if not training:
        return Request(Spec(image))
    return Request(Spec(image), True, loss_of(net), Spec((), "int64"), (("correct", correct),), outputs=False,
                   optimizer=SGD(lr=0.01, momentum=0.9))


def plan_of(net: Module, input_shape: Sequence[int], batch: int = 1, *, training: bool = False) -> Plan:
    """The engine's plan of a run: prints each call with its buffers and offsets."""
    if not isinstance(net, Module):
        raise ConfigError(f"memory: needs a Module, got {type(net).__name__}")
    image = tuple(integer("memory", "input_shape", size) for size in input_shape)
    return net.programs.plan(request_of(net, image, training=training), integer("memory", "batch", batch))


def peak_bytes(net: Module, input_shape: Sequence[int], batch: int = 1, *, training: bool = False) -> int:
    """The bytes that inference (or a training step) of a batch maps, to the byte.

    >>> peak_bytes(create("lenet5"), (1, 28, 28), batch=32, training=True) > 2**20
    True
    """
    return plan_of(net, input_shape, batch, training=training).peak_bytes


@dataclass(frozen=True)
class Peaks:
    """Bytes at the peak of a run. `training` is None for a network that `fit` cannot train; `why` says why."""

    inference: int
    training: int | None
    why: str = ""


def peaks(net: Module, input_shape: Sequence[int], batch: int = 1) -> Peaks:
    """The peak of inference and of a training step."""
    inference = peak_bytes(net, input_shape, batch)
    try:
        return Peaks(inference, peak_bytes(net, input_shape, batch, training=True))
    except StriateError as error:
        return Peaks(inference, None, str(error))


def largest_batch(net: Module, input_shape: Sequence[int], budget_bytes: int, *, training: bool = False) -> int:
    """The largest batch whose run maps at most `budget_bytes`: one image more would not fit; 0 if not even one does."""
    budget = integer("largest_batch", "budget_bytes", budget_bytes, 1, 2**63 - 1)

    def needs(batch: int) -> int:
        return peak_bytes(net, input_shape, batch, training=training)

    least = _least(needs)
    return _last_that_fits(needs, budget, least) if needs(least) <= budget else 0


def _least(needs: Callable[[int], int]) -> int:
    """The smallest batch that runs: 2 where training normalises maps of a single pixel, as Inception-v3's head does."""
    try:
        needs(1)
    except ShapeError:
        return 2
    return 1


def _last_that_fits(needs: Callable[[int], int], budget: int, least: int) -> int:
    """The last batch whose need is within the budget, given that `least` is.

    Needs are nearly straight lines, so the next batch to ask for lies where the line through two known ones meets the
    budget; each third question between two known ones halves what is left, in case they are not.
    """
    known = {least: needs(least)}
    fits, fails = least, LIMIT + 1
    while fails - fits > 1:
        outer = fails if fails in known else max((n for n in known if n != fits), default=0)
        slope = (known[outer] - known[fits]) / (outer - fits) if outer else 0.0
        halved = slope <= 0 or (outer == fails and len(known) % 3 == 0)
        guess = (fits + min(fails, 8 * fits)) // 2 if halved else fits + int((budget - known[fits]) / slope)
        at = min(max(guess, fits + 1), fails - 1)
        known[at] = needs(at)
        fits, fails = (at, fails) if known[at] <= budget else (fits, at)
    return fits
