"""Kernels that only move: windows, concatenation, and the change between maps and rows.

In plain NumPy every array is NCHW already, so flattening is a reshape; on the native path it moves NHWC pixels.
"""

from __future__ import annotations

import numpy as np

from striate.kernels.contract import Shape
from striate.kernels.reference.arrays import Array


def window(x: Array, *, start: Shape, shape: Shape, fill: float) -> Array:
    """The box of `shape` that begins at `start`, with `fill` where it lies outside x: slice, crop and pad in one."""
    y = np.full(shape[:x.ndim], fill, x.dtype)
    boxes = []
    for at, extent, size in zip(start, y.shape, x.shape, strict=False):
        low, high = max(at, 0), max(min(at + extent, size), max(at, 0))
        boxes.append((slice(low - at, high - at), slice(low, high)))
    y[tuple(into for into, _ in boxes)] = x[tuple(source for _, source in boxes)]
    return y


def concat(*xs: Array, axis: int) -> Array:
    return np.concatenate(xs, axis=axis)


def flatten(x: Array) -> Array:
    return x.reshape(x.shape[0], int(np.prod(x.shape[1:], dtype=np.int64))).copy()


def unflatten(x: Array, *, shape: Shape) -> Array:
    return x.reshape(x.shape[0], *shape).copy()


def to_dense(x: Array) -> Array:
    return x.copy()


def from_dense(w: Array) -> Array:
    return w.copy()


def channel_shuffle(x: Array, *, groups: int) -> Array:
    """Channels in the order 0 of every group, 1 of every group, ..."""
    return np.swapaxes(x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:]), 1, 2).reshape(x.shape).copy()
