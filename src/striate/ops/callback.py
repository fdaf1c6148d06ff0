"""A Python function of yours as an operation of the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from striate.errors import ConfigError
from striate.graph import Cost, Op
from striate.kernels.contract import Shape, Spec
from striate.ops.arguments import integer
from striate.ops.dispatch import need_float, run, spec_of

Kernels = Any
T = Any
Function = Callable[..., Any]


def callback_shape(*xs: Spec, shape: Shape, **_: Any) -> tuple[Spec, ...]:
    need_float("callback", *xs)
    return (Spec((xs[0].shape[0], *shape), xs[0].dtype),)


def callback_forward(k: Kernels, *xs: T, function: Function, derivative: Function | None, shape: Shape,
                     name: str, per_image: Cost | None) -> tuple[T, Any]:
    (y,) = k.callback(function, xs, (Spec((xs[0].shape[0], *shape), str(xs[0].dtype)),))
    return y, (xs, y)


def callback_backward(k: Kernels, saved: Any, dy: T, *, function: Function, derivative: Function | None,
                      shape: Shape, name: str, per_image: Cost | None) -> tuple[T, ...]:
    xs, y = saved
    if derivative is None:
        raise ConfigError(f"{name}: needs derivative= to train through it, got none")
    return tuple(k.callback(derivative, (*xs, y, dy), tuple(Spec(tuple(x.shape), str(x.dtype)) for x in xs)))


def callback_cost(*xs: Spec, name: str, per_image: Cost | None, **_: Any) -> Cost:
    if per_image is None:
        raise ConfigError(f"{name}: its cost is not known; state it for one image: cost=(macs, other)")
    return Cost(xs[0].shape[0] * per_image.macs, xs[0].shape[0] * per_image.other)


callback_op = Op("callback", callback_shape, callback_forward, callback_backward, callback_cost)


def callback(function: Function, *xs: T, derivative: Function | None = None, shape: Any = None,
             name: str = "callback", cost: tuple[int, int] | None = None, kernels: str = "native") -> T:
    """function(*xs) as an operation: it gets contiguous NCHW copies and returns one array.

    derivative(*xs, y, dy) returns the gradient of each x (one array, or a tuple). `shape` is the result's shape
    without the batch; None means that the function is tried once on zeros. `cost` are the multiply-accumulates and the
    other floating-point operations for one image; without it the network runs, but cannot be accounted.
    Raises: ShapeError, DtypeError if what it returns is not what was stated.
    """
    if not callable(function):
        raise ConfigError(f"{name}: needs a function, got {function!r}")
    if shape is None:
        tried = function(*(np.zeros(spec_of(name, x), np.float32) for x in xs))
        shape = np.shape(tried)[1:]
    if not isinstance(shape, Sequence) or isinstance(shape, str):
        raise ConfigError(f"{name}: shape must be a list of sizes without the batch, got {shape!r}")
    sizes = tuple(integer(name, "shape", size) for size in shape)
    params = dict(function=function, derivative=derivative, shape=sizes, name=name, per_image=_stated(name, cost))
    return run(callback_op, xs, params, kernels)


def _stated(name: str, cost: Any) -> Cost | None:
    if cost is None:
        return None
    if not isinstance(cost, tuple | list) or len(cost) != 2:
        raise ConfigError(f"{name}: cost must be (multiply-accumulates, other operations) of one image, got {cost!r}")
    macs, other = (integer(name, "cost", count, 0, 2**62) for count in cost)
    return Cost(macs, other)


