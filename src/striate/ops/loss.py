"""Losses: a scalar from outputs and targets."""

from __future__ import annotations

from typing import Any

from striate.errors import DtypeError
from striate.graph import Cost, Op, elements
from striate.kernels.contract import ROWS, Spec
from striate.ops.activation import per_element
from striate.ops.arguments import number
from striate.ops.dispatch import need_float, run

Kernels = Any
T = Any


def _need_targets(who: str, targets: Spec) -> None:
    if targets.dtype.startswith("float"):
        raise DtypeError(f"{who}: targets must be integers (class numbers), got dtype {targets.dtype}")


def _classes(logits: Spec, *_: Any, **__: Any) -> dict[int, int]:
    return {1: logits.shape[1]}


# ---- cross-entropy

def cross_entropy_shape(logits: Spec, targets: Spec, weight: Spec | None, *, smoothing: float) -> tuple[Spec, ...]:
    need_float("cross_entropy", logits, weight)
    _need_targets("cross_entropy", targets)
    return ROWS["cross_entropy"].shapes(logits, targets, weight, smoothing=smoothing)[:1]


def cross_entropy_forward(k: Kernels, logits: T, targets: T, weight: T, *, smoothing: float) -> tuple[T, Any]:
    loss, probs = k.cross_entropy(logits, targets, weight, smoothing=smoothing)
    return loss, (probs, targets, weight)


def cross_entropy_backward(k: Kernels, saved: Any, dloss: T, *, smoothing: float) -> tuple[T, ...]:
    probs, targets, weight = saved
    # loss = -mean of log softmax(logits)[target]:  dlogits = (probs - onehot(target)) / N
    return k.cross_entropy_dx(probs, targets, weight, dloss, smoothing=smoothing), None, None


def _cross_entropy_cost(logits: Spec, *_: Any, **__: Any) -> Cost:
    return Cost(other=5 * elements(logits))


cross_entropy_op = Op("cross_entropy", cross_entropy_shape, cross_entropy_forward, cross_entropy_backward,
                      _cross_entropy_cost, limits=_classes, optional=(2,))


def cross_entropy(logits: T, targets: T, *, weight: T = None, label_smoothing: float = 0.0,
                  kernels: str = "native") -> T:
    """The mean negative log-likelihood of `targets` under softmax(logits).

    Shapes: logits (N, classes), targets (N,) integers, weight (classes,) -> (). With weight the mean is weighted by
    each target's weight; label smoothing mixes in the uniform distribution (Szegedy et al. 2015, arXiv 1512.00567, 7).
    Raises: ConfigError if a target is outside [0, classes); DtypeError if targets are not integers.
    """
    smoothing = number("cross_entropy", "label_smoothing", label_smoothing, 0.0, 1.0)
    return run(cross_entropy_op, (logits, targets, weight), dict(smoothing=smoothing), kernels)


# ---- mean squared error

def mse_shape(x: Spec, target: Spec) -> tuple[Spec, ...]:
    need_float("mse_loss", x, target)
    return ROWS["mse"].shapes(x, target)


def mse_forward(k: Kernels, x: T, target: T) -> tuple[T, Any]:
    return k.mse(x, target), (x, target)


def mse_backward(k: Kernels, saved: Any, dloss: T) -> tuple[T, ...]:
    x, target = saved  # loss = mean of (x - target)^2
    dx = k.mse_dx(x, target, dloss)
    return dx, k.scale(dx, factor=-1.0)


mse_op = Op("mse_loss", mse_shape, mse_forward, mse_backward, per_element(3))


def mse_loss(x: T, target: T, *, kernels: str = "native") -> T:
    """The mean of (x - target)^2 over all elements. Shapes: x and target the same -> ()."""
    return run(mse_op, (x, target), None, kernels)


# ---- a metric: how many are right

def count_correct_shape(logits: Spec, targets: Spec) -> tuple[Spec, ...]:
    need_float("count_correct", logits)
    _need_targets("count_correct", targets)
    ROWS["cross_entropy"].shapes(logits, targets, None, smoothing=0.0)
    return ROWS["count_correct"].shapes(logits, targets)


def count_correct_forward(k: Kernels, logits: T, targets: T) -> tuple[T, Any]:
    return k.count_correct(logits, targets), ()


count_correct_op = Op("count_correct", count_correct_shape, count_correct_forward, None, per_element(1),
                      limits=_classes)


def count_correct(logits: T, targets: T, *, kernels: str = "native") -> T:
    """How many rows have their largest logit at their target, as a float; the first of equal logits counts.

    Shapes: logits (N, classes), targets (N,) integers -> (). It has no gradient.
    """
    return run(count_correct_op, (logits, targets), None, kernels)
