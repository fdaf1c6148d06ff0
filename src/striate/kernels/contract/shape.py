"""Rows that move elements; `start` and `shape` are padded to four axes with 0 and 1."""

from __future__ import annotations

import math

from striate.errors import ShapeError
from striate.kernels.contract.row import Shape, Spec, checked, need_pixels, need_rank, row


def _window(x: Spec, *, start: Shape, shape: Shape, fill: float) -> tuple[Spec, ...]:
    return checked("window", Spec(shape[: len(x.shape)], x.dtype))


def _concat(*xs: Spec, axis: int) -> tuple[Spec, ...]:
    first = xs[0].shape
    for i, x in enumerate(xs):
        if len(x.shape) != len(first) or any(
                a != b for j, (a, b) in enumerate(zip(x.shape, first, strict=True)) if j != axis):
            raise ShapeError(f"concat: shapes must agree but on axis {axis}, got {first} and {x.shape} at input {i}")
    total = sum(x.shape[axis] for x in xs)
    return checked("concat", Spec((*first[:axis], total, *first[axis + 1:]), xs[0].dtype))


def _channel_shuffle(x: Spec, *, groups: int) -> tuple[Spec, ...]:
    need_rank("channel_shuffle", "x", x, 2, 4)
    need_pixels("channel_shuffle", x)
    if x.shape[1] % groups:
        raise ShapeError(f"channel_shuffle: C must be a multiple of groups = {groups}, got C = {x.shape[1]}")
    return (x,)


row("window", "x -> y", "start:4 shape:4 fill:f", _window)
row("concat", "xs* -> y", "axis:1", _concat)
row("channel_shuffle", "x -> y", "groups:1", _channel_shuffle)
row("flatten", "x -> y", "", lambda x: (Spec((x.shape[0], math.prod(x.shape[1:])), x.dtype),))
row("to_dense", "x -> w", "", lambda x: (x,))
row("from_dense", "w -> x", "", lambda w: (w,))
row("unflatten", "x -> y", "shape:3", lambda x, *, shape: (Spec((x.shape[0], *shape), x.dtype),))
