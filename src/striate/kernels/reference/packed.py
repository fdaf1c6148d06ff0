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
from striate.kernels.reference.norm import batch_moments, norm_act_sums
from striate.kernels.reference.pool import conv2d_max_pool


def taps(kernel: Shape, stride: Shape, dilation: Shape, for_dx: int) -> list[tuple[int, int]]:
    """The taps (kh, kw) in packed order: row by row, but for dX by the phase of the stride they serve.

    Tap kh carries dy to the rows u of the padded input with u = kh * dilation (mod stride): its phase. Within one the
    last tap stands first, so that dX correlates dy with them as the forward pass does x.
    """
    order = product(range(kernel[0]), range(kernel[1]))
    if not for_dx:
        return list(order)

    def place(tap: tuple[int, int]) -> tuple[int, ...]:
        phase = (t * d % s for t, d, s in zip(tap, dilation, stride, strict=True))
        return (*phase, -tap[0], -tap[1])

    return sorted(order, key=place)


def pack_filters(w: Array, *, groups: int, for_dx: int, stride: Shape, dilation: Shape, nr: int) -> Array:
    """Filters as panels of `nr` columns.

    Shapes: w (O, C/G, KH, KW) -> (G * ceil(columns / nr), KH*KW * channels, nr).
    """
    if for_dx:
        w = exchanged(w, groups)
    columns, channels, kh, kw = w.shape[0] // groups, *w.shape[1:]
    order = taps((kh, kw), stride, dilation, for_dx)
    deep = np.stack([w[:, :, i, j] for i, j in order], axis=1)  # (G*columns, KH*KW, channels)
    panels = -(-columns // nr)
    wide = np.zeros((groups, panels * nr, kh * kw * channels), w.dtype)
    wide[:, :columns] = deep.reshape(groups, columns, -1)
    return wide.reshape(groups * panels, nr, -1).swapaxes(1, 2).copy()


def unpack_filters(wp: Array, columns: int, groups: int, kernel: Shape, order: list[tuple[int, int]]) -> Array:
    """The filters (G*columns, channels, KH, KW) whose taps were packed in `order`."""
    depth = wp.shape[1]
    wide = wp.swapaxes(1, 2).reshape(groups, -1, depth)[:, :columns]
    deep = wide.reshape(groups * columns, len(order), -1)
    w = np.zeros((groups * columns, deep.shape[2], *kernel), wp.dtype)
    for at, (i, j) in enumerate(order):
        w[:, :, i, j] = deep[:, at]
    return w


def conv2d_gemm(x: Array, wp: Array, b: Array | None, r: Array | None, *, out_channels: int, kernel: Shape,
                stride: Shape, padding: Shape, dilation: Shape, groups: int, activation: int,
                moments: int) -> tuple[Array | None, ...]:
    w = unpack_filters(wp, out_channels // groups, groups, kernel, taps(kernel, stride, dilation, 0))
    y = conv2d(x, w, b, r, stride=stride, padding=padding, dilation=dilation, groups=groups, activation=activation)
    return y, *(batch_moments(y) if moments else (None, None, None))


def conv2d_gemm_pool(x: Array, wp: Array, b: Array | None, *, out_channels: int, kernel: Shape, stride: Shape,
                     padding: Shape, dilation: Shape, activation: int) -> tuple[Array, Array]:
    w = unpack_filters(wp, out_channels, 1, kernel, taps(kernel, stride, dilation, 0))
    return conv2d_max_pool(x, w, b, stride=stride, padding=padding, dilation=dilation, groups=1, activation=activation)


def conv2d_dx_gemm(dy: Array, wp: Array, r: Array | None, *, in_channels: int, size: Shape, kernel: Shape,
                   stride: Shape, padding: Shape, dilation: Shape, groups: int) -> Array:
    back = unpack_filters(wp, in_channels // groups, groups, kernel, taps(kernel, stride, dilation, 1))
    dx = conv2d_dx(dy, exchanged(back, groups), size=size, stride=stride, padding=padding, dilation=dilation,
                   groups=groups)
    return dx if r is None else dx + r


def conv2d_dx_gemm_sums(dy: Array, wp: Array, r: Array | None, x: Array, mean: Array, var: Array, gamma: Array | None,
                        beta: Array | None, y: Array | None, *, activation: int, eps: float) -> tuple[Array, ...]:
    """norm_act_sums of the dX that conv2d_dx_gemm makes of a 1x1 kernel of stride 1, its dz first."""
    dx = conv2d_dx_gemm(dy, wp, r, in_channels=x.shape[1], size=x.shape[2:], kernel=(1, 1), stride=(1, 1),
                        padding=(0, 0, 0, 0), dilation=(1, 1), groups=1)
    sum_dz, sum_dz_xhat, dz = norm_act_sums(x, dx, mean, var, gamma, beta, y, eps=eps, activation=activation)
    return dz, sum_dz, sum_dz_xhat
