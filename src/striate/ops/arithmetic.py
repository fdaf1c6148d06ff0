"""Elementwise arithmetic of two tensors that broadcast over axes of size 1, and clipping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from striate.errors import ConfigError
from striate.graph import Cost, Op, Value, elements
from striate.kernels.contract import ROWS, Shape, Spec
from striate.ops.activation import per_element
from striate.ops.arguments import number
from striate.ops.dispatch import need_float, run, spec_of

Kernels = Any
T = Any


def reduce_to(k: Kernels, dy: T, shape: Shape) -> T:
    """dy summed over the axes along which an input of `shape` was broadcast."""
    axes = sum(1 << i for i, (size, full) in enumerate(zip(shape, dy.shape, strict=True)) if size == 1 != full)
    return k.sum_to(dy, axes=axes) if axes else dy


def _add_backward(k: Kernels, saved: Any, dy: T) -> tuple[T, ...]:
    a, b = saved
    return reduce_to(k, dy, a.shape), reduce_to(k, dy, b.shape)


def _sub_backward(k: Kernels, saved: Any, dy: T) -> tuple[T, ...]:
    a, b = saved
    return reduce_to(k, dy, a.shape), k.scale(reduce_to(k, dy, b.shape), factor=-1.0)


def _mul_backward(k: Kernels, saved: Any, dy: T) -> tuple[T, ...]:
    a, b = saved
    return reduce_to(k, k.mul(dy, b), a.shape), reduce_to(k, k.mul(dy, a), b.shape)


def _div_backward(k: Kernels, saved: Any, dy: T) -> tuple[T, ...]:
    a, b = saved  # y = a / b:  da = dy / b,  db = -(dy / b) (a / b)
    da = k.div(dy, b)
    return reduce_to(k, da, a.shape), k.scale(reduce_to(k, k.mul(da, k.div(a, b)), b.shape), factor=-1.0)


def _binary_op(name: str, backward: Callable[..., tuple[Any, ...]]) -> Op:
    def shape(a: Spec, b: Spec) -> tuple[Spec, ...]:
        need_float(name, a, b)
        return ROWS[name].shapes(a, b)

    def forward(k: Kernels, a: T, b: T) -> tuple[T, Any]:
        return getattr(k, name)(a, b), (a, b)

    def cost(a: Spec, b: Spec) -> Cost:
        return Cost(other=elements(shape(a, b)[0]))

    return Op(name, shape, forward, backward, cost)


add_op, sub_op = _binary_op("add", _add_backward), _binary_op("sub", _sub_backward)
mul_op, div_op = _binary_op("mul", _mul_backward), _binary_op("div", _div_backward)


def add(a: T, b: T, *, kernels: str = "native") -> T:
    """a + b. Shapes: equal ranks, each pair of sizes equal or one of them 1; a plain number fits any."""
    return _binary(add_op, a, b, kernels)


def sub(a: T, b: T, *, kernels: str = "native") -> T:
    """a - b. Shapes: as add."""
    return _binary(sub_op, a, b, kernels)


def mul(a: T, b: T, *, kernels: str = "native") -> T:
    """a * b elementwise. Shapes: as add."""
    return _binary(mul_op, a, b, kernels)


def div(a: T, b: T, *, kernels: str = "native") -> T:
    """a / b elementwise, by IEEE rules where b is 0. Shapes: as add."""
    return _binary(div_op, a, b, kernels)


def _binary(op: Op, a: T, b: T, kernels: str) -> T:
    if isinstance(a, Value) or isinstance(b, Value):
        return (a if isinstance(a, Value) else b).graph.binary(op.name, a, b)
    rank = max(len(spec_of(op.name, a)), len(spec_of(op.name, b)))
    dtype = next((x.dtype for x in (a, b) if hasattr(x, "dtype")), np.float32)
    a, b = (np.full((1,) * rank, x, dtype) if isinstance(x, int | float | np.number) else x for x in (a, b))
    return run(op, (a, b), None, kernels)


# ---- clip

def clip_shape(x: Spec, *, low: float, high: float) -> tuple[Spec, ...]:
    need_float("clip", x)
    return (x,)


def clip_forward(k: Kernels, x: T, *, low: float, high: float) -> tuple[T, Any]:
    return k.clip(x, low=low, high=high), (x,)


def clip_backward(k: Kernels, saved: Any, dy: T, *, low: float, high: float) -> tuple[T, ...]:
    (x,) = saved
    return (k.clip_grad(x, dy, low=low, high=high),)


clip_op = Op("clip", clip_shape, clip_forward, clip_backward, per_element(2))


def clip(x: T, low: float, high: float, *, kernels: str = "native") -> T:
    """x limited to [low, high]; the gradient passes where low <= x <= high.

    Raises: ConfigError if low > high.
    """
    bounds = dict(low=number("clip", "low", low), high=number("clip", "high", high))
    if bounds["low"] > bounds["high"]:
        raise ConfigError(f"clip: low must not exceed high, got low = {low} and high = {high}")
    return run(clip_op, (x,), bounds, kernels)
