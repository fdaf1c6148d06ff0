"""The packed filters of the implicit matrix product: the layout written out, the product handed back to conv2d.

A panel holds `nr` neighbouring columns (output channels; for dX input channels) of one group, depth by depth:
wp[panel, depth, column], panels of a group padded with zero columns. Depth counts taps, then channels.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from striate.kernels.contract import Shape
from striate.kernels.reference.arrays import Array
from striate.kernels.reference.conv import conv2d, conv2d_dx, exchanged


def taps(kernel: Shape, stride: Shape, dilation: Shape) -> list[tuple[int, int]]:
    """The taps (kh, kw) in packed order: those that reach the same pixels of a strided dX stand together."""
    def phase(tap: tuple[int, int]) -> tuple[int, ...]:
        return tuple(t * d % s for t, d, s in zip(tap, dilation, stride, strict=True))

    return sorted(product(range(kernel[0]), range(kernel[1])), key=phase)


def pack_filters(w: Array, *, groups: int, for_dx: int, stride: Shape, dilation: Shape, nr: int) -> Array:
    """Filters as panels of `nr` columns.

    Shapes: w (O, C/G, KH, KW) -> (G * ceil(columns / nr), KH*KW * channels, nr).
    """
    if for_dx:
        w = exchanged(w, groups)
    columns, channels, kh, kw = w.shape[0] // groups, *w.shape[1:]
    order = taps((kh, kw), stride, dilation)
    deep = np.stack([w[:, :, i, j] for i, j in order], axis=1)  # (G*columns, KH*KW, channels)
    panels = -(-columns // nr)
    wide = np.zeros((groups, panels * nr, kh * kw * channels), w.dtype)
    wide[:, :columns] = deep.reshape(groups, columns, -1)
    return wide.reshape(groups * panels, nr, -1).transpose(0, 2, 1).copy()


def unpack_filters(wp: Array, *, columns: int, kernel: Shape, stride: Shape, dilation: Shape, groups: int) -> Array:
    """The filters (G*columns, channels, KH, KW) that were packed."""
    depth = wp.shape[1]
    wide = wp.transpose(0, 2, 1).reshape(groups, -1, depth)[:, :columns]
    deep = wide.reshape(groups * columns, kernel[0] * kernel[1], -1)
    w = np.zeros((groups * columns, deep.shape[2], *kernel), wp.dtype)
    for at, (i, j) in enumerate(taps(kernel, stride, dilation)):
        w[:, :, i, j] = deep[:, at]
    return w


def conv2d_gemm(x: Array, wp: Array, b: Array | None, *, out_channels: int, kernel: Shape, stride: Shape,
                padding: Shape, dilation: Shape, groups: int, activation: int) -> Array:
    w = unpack_filters(wp, columns=out_channels // groups, kernel=kernel, stride=(1, 1), dilation=(1, 1), groups=groups)
    return conv2d(x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups, activation=activation)


def conv2d_dx_gemm(dy: Array, wp: Array, *, in_channels: int, size: Shape, kernel: Shape, stride: Shape,
                   padding: Shape, dilation: Shape, groups: int) -> Array:
    back = unpack_filters(wp, columns=in_channels // groups, kernel=kernel, stride=stride, dilation=dilation,
                          groups=groups)
    return conv2d_dx(dy, exchanged(back, groups), size=size, stride=stride, padding=padding, dilation=dilation,
                     groups=groups)
