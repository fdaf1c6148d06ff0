"""Winograd's minimal filtering F(m x m, K x K) as it is written: y = A^T [(G w G^T) * (B^T x B)] A, tile by tile.

T = m + K - 1 inputs a side make m outputs. The three matrices come from T - 1 finite points and infinity, by Toom and
Cook's multiplication of polynomials: A^T holds powers of the points, G the same over the product of a point's
distances to the others, a row of B^T the coefficients of the product of (x - p) over the other points p.

Ref: Lavin and Gray 2015, arXiv 1509.09308; differs: points that lose fewer digits (docs of csrc/winograd_points.h).
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from striate.kernels.contract import HALVING, Shape
from striate.kernels.reference.arrays import Array
from striate.kernels.reference.conv import exchanged, flip
from striate.kernels.reference.elementwise import activated
from striate.kernels.reference.norm import batch_moments, norm_act_sums
from striate.kernels.reference.pool import max_pool
from striate.kernels.reference.winograd_dw import distances, input_matrix, powers


@functools.cache
def transforms(tile: int, kernel: int) -> tuple[Array, Array, Array]:
    """A^T (m, T), G (T, K) and B^T (T, T)."""
    count = tile + kernel - 1
    return powers(count, tile).T, powers(count, kernel) / distances(count)[:, None], input_matrix(count)


def winograd_filters(w: Array, *, tile: int, for_dx: int, nr: int) -> Array:
    """The transformed filters in panels of nr columns, zeros behind the last; for dX of the filters turned around.

    Shapes: w (O, C, K, K) -> (ceil(columns / nr), T*T, depth, nr), columns O and depth C, for dX the other way round.
    """
    w = flip(exchanged(w, 1)) if for_dx else w
    columns, depth, k, _ = w.shape
    _, g, _ = transforms(tile, k)
    u = np.einsum("ik,ockl,jl->ijco", g, w, g, optimize=True).reshape(len(g) ** 2, depth, columns)
    panels = -(-columns // nr)
    wide = np.zeros((len(g) ** 2, depth, panels * nr))
    wide[:, :, :columns] = u
    return wide.reshape(-1, depth, panels, nr).transpose(2, 0, 1, 3).astype(w.dtype)


def correlated(x: Array, u: Array, out_channels: int, kernel: int, tile: int, padding: Shape) -> Array:
    """The convolution alone.

    Shapes: x (N, C, H, W), u (panels, T*T, C, nr) -> (N, O, OH, OW).
    """
    back, _, forth = transforms(tile, kernel)
    size, (n, c) = len(forth), x.shape[:2]
    out = [x.shape[2] + padding[0] + padding[1] - kernel + 1, x.shape[3] + padding[2] + padding[3] - kernel + 1]
    tiles = [-(-s // tile) for s in out]
    wide = np.zeros((n, c, *(t * tile + kernel - 1 for t in tiles)), x.dtype)
    wide[:, :, padding[0]: padding[0] + x.shape[2], padding[2]: padding[2] + x.shape[3]] = x
    patches = sliding_window_view(wide, (size, size), axis=(2, 3))[:, :, ::tile, ::tile]
    v = np.einsum("ip,nchwpq,jq->ijnhwc", forth, patches, forth, optimize=True)
    filters = u.transpose(1, 2, 0, 3).reshape(size, size, c, -1)[..., :out_channels]
    products = np.einsum("ijnhwc,ijco->ijnhwo", v, filters, optimize=True)
    y = np.einsum("pi,ijnhwo,qj->nohpwq", back, products, back, optimize=True)
    y = y.reshape(n, out_channels, tiles[0] * tile, tiles[1] * tile)
    return y[:, :, : out[0], : out[1]].astype(x.dtype)


def conv2d_winograd(x: Array, u: Array, b: Array | None, r: Array | None, *, out_channels: int, kernel: int, tile: int,
                    padding: Shape, activation: int, pool: int, moments: int) -> tuple[Array | None, ...]:
    """conv2d of stride 1 with filters that winograd_filters transformed; its 2x2 maximum, or its batch statistics too.

    Shapes: x (N, C, H, W), u (panels, T*T, C, nr), b (O,), r (N, O, OH, OW) -> y (N, O, OH, OW), pooled
    (N, O, OH // 2, OW // 2) and its index; vectors (O,).
    """
    y = correlated(x, u, out_channels, kernel, tile, padding)
    y = y if b is None else y + b.reshape(1, -1, 1, 1)
    y = activated(y if r is None else y + r, activation)
    pooled = max_pool(y, **HALVING) if pool else (y, None)
    return *pooled, *(batch_moments(y) if moments else (None, None, None))


def conv2d_winograd_sums(dy: Array, u: Array, r: Array | None, x: Array, mean: Array, var: Array, gamma: Array | None,
                         beta: Array | None, y: Array | None, *, out_channels: int, kernel: int, tile: int,
                         padding: Shape, activation: int, eps: float) -> tuple[Array, ...]:
    """norm_act_sums of the dX that conv2d_winograd makes of dy and r, its dz first.

    Shapes: dy (N, O, OH, OW), u (panels, T*T, O, nr), r, x, y and dz (N, C, H, W); vectors (C,).
    """
    dx = correlated(dy, u, out_channels, kernel, tile, padding)
    dx = dx if r is None else dx + r
    sum_dz, sum_dz_xhat, dz = norm_act_sums(x, dx, mean, var, gamma, beta, y, eps=eps, activation=activation)
    return dz, sum_dz, sum_dz_xhat
