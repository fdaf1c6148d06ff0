"""Convolution, its two gradients, and the linear layer, in plain NumPy.

Convolution here is the cross-correlation every framework computes,

    y[n, o, i, j] = b[o] + sum over c, kh, kw of x[n, c, i s + kh d - pad, j s + kw d - pad] w[o, c, kh, kw]

and its gradients are convolutions again. The duality, read off this equation:

    dw = the correlation of x with dy: sum the products of dy with the pixels each tap saw
    dx = dy convolved (flipped kernel) with w: every output sends its dy back along the taps it came through

so `conv2d_dx` below is a call of `conv2d` and `conv2d_dw` is one matrix product with the same columns.
Letters: G groups; the columns of im2col are the C/G KH KW pixels that meet one filter.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from striate.kernels.contract import Shape
from striate.kernels.reference.arrays import Array
from striate.kernels.reference.elementwise import activated
from striate.kernels.reference.norm import batch_moments


def padded(x: Array, padding: Shape, fill: float = 0) -> Array:
    """x with `padding` = (top, bottom, left, right) rows and columns of `fill` around it."""
    top, bottom, left, right = padding
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)


def windows(x: Array, kernel: Shape, stride: Shape, dilation: Shape) -> Array:
    """A view of the pixels every window sees.

    Shapes: x (N, C, H, W) -> (N, C, OH, OW, KH, KW).
    """
    (kh, kw), (sh, sw), (dh, dw) = kernel, stride, dilation
    every = sliding_window_view(x, (dh * (kh - 1) + 1, dw * (kw - 1) + 1), axis=(2, 3))
    return every[:, :, ::sh, ::sw, ::dh, ::dw]


def im2col(seen: Array, groups: int) -> Array:
    """One row of pixels for every output pixel, group by group.

    Shapes: seen (N, C, OH, OW, KH, KW) -> (G, N*OH*OW, C/G*KH*KW).
    """
    n, c, oh, ow, kh, kw = seen.shape
    grouped = seen.reshape(n, groups, c // groups, oh, ow, kh, kw).transpose(1, 0, 3, 4, 2, 5, 6)
    return grouped.reshape(groups, n * oh * ow, c // groups * kh * kw)


def conv2d(x: Array, w: Array, b: Array | None, r: Array | None, *, stride: Shape, padding: Shape, dilation: Shape,
           groups: int, activation: int) -> Array:
    """The correlation of x with the filters w, plus bias and residual, through an activation.

    Shapes: x (N, C, H, W), w (O, C/G, KH, KW), b (O,), r (N, O, OH, OW) -> (N, O, OH, OW).
    """
    o = w.shape[0]
    seen = windows(padded(x, padding), w.shape[2:], stride, dilation)
    n, _, oh, ow = seen.shape[:4]
    filters = w.reshape(groups, o // groups, -1)
    y = (filters @ im2col(seen, groups).swapaxes(1, 2)).reshape(o, n, oh, ow).swapaxes(0, 1)
    y = y if b is None else y + b.reshape(1, -1, 1, 1)
    return activated(y if r is None else y + r, activation)


def conv2d_moments(x: Array, w: Array, b: Array | None, *, stride: Shape, padding: Shape, dilation: Shape,
                   groups: int) -> tuple[Array, Array, Array, Array]:
    """conv2d and the batch statistics of its result.

    Shapes: as conv2d -> (N, O, OH, OW) and three vectors (O,).
    """
    y = conv2d(x, w, b, None, stride=stride, padding=padding, dilation=dilation, groups=groups, activation=0)
    return y, *batch_moments(y)


def conv2d_dx(dy: Array, w: Array, *, size: Shape, stride: Shape, padding: Shape, dilation: Shape,
              groups: int) -> Array:
    """The gradient of the input: dy, its pixels set `stride` apart, correlated with w flipped and C, O exchanged.

    Shapes: dy (N, O, OH, OW), w (O, C/G, KH, KW) -> (N, C, H, W) with (H, W) = size.
    """
    n, o, oh, ow = dy.shape
    (sh, sw), (top, bottom, left, right) = stride, padding
    reach_h, reach_w = dilation[0] * (w.shape[2] - 1), dilation[1] * (w.shape[3] - 1)
    spread = np.zeros((n, o, reach_h + top + size[0] + bottom, reach_w + left + size[1] + right), dy.dtype)
    spread[:, :, reach_h: reach_h + oh * sh: sh, reach_w: reach_w + ow * sw: sw] = dy
    # Rows of `spread` that belong to the padding of x are cut off: nobody asks for their gradient.
    spread = spread[:, :, top: top + size[0] + reach_h, left: left + size[1] + reach_w]
    back = flip(exchanged(w, groups))
    return conv2d(spread, back, None, None, stride=(1, 1), padding=(0, 0, 0, 0), dilation=dilation, groups=groups,
                  activation=0)


def conv2d_dx_add(dy: Array, w: Array, r: Array, *, size: Shape, stride: Shape, padding: Shape, dilation: Shape,
                  groups: int) -> Array:
    """conv2d_dx and what another branch sends to the same map, r (N, C, H, W)."""
    return conv2d_dx(dy, w, size=size, stride=stride, padding=padding, dilation=dilation, groups=groups) + r


def conv2d_dw(x: Array, dy: Array, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape,
              groups: int) -> Array:
    """The gradient of the filters: the correlation of x with dy, one product per tap and pair of channels.

    Shapes: x (N, C, H, W), dy (N, O, OH, OW) -> (O, C/G, KH, KW).
    """
    o = dy.shape[1]
    seen = windows(padded(x, padding), kernel, stride, dilation)
    rows = dy.swapaxes(0, 1).reshape(groups, o // groups, -1)
    return (rows @ im2col(seen, groups)).reshape(o, x.shape[1] // groups, *kernel)


def exchanged(w: Array, groups: int) -> Array:
    """Filters with input and output channels exchanged within each group: (O, C/G, ...) -> (C, O/G, ...)."""
    o, cg, kh, kw = w.shape
    return w.reshape(groups, o // groups, cg, kh, kw).swapaxes(1, 2).reshape(groups * cg, o // groups, kh, kw)


def flip(w: Array) -> Array:
    """Filters turned by half a turn: what makes a correlation the convolution of the textbooks."""
    return w[:, :, ::-1, ::-1].copy()


def linear(x: Array, w: Array, b: Array | None, *, activation: int) -> Array:
    """x times w transposed, plus bias, through an activation.

    Shapes: x (N, C), w (O, C), b (O,) -> (N, O).
    """
    y = x @ w.T
    return activated(y if b is None else y + b, activation)


def linear_dx(dy: Array, w: Array) -> Array:
    return dy @ w


def linear_dw(x: Array, dy: Array) -> Array:
    return dy.T @ x


def rbf(x: Array, w: Array) -> Array:
    """The squared distance of every row of x to every centre, a row of w. Shapes: x (N, C), w (K, C) -> (N, K)."""
    return np.square(x[:, None] - w).sum(axis=2)
