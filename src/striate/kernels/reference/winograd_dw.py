"""Winograd's weight gradient, really by its transforms: dw = G^T [sum of (B^T x B) * (A dy A^T)] G over all tiles.

Correlating x with dy, a tile of m x m pixels of dy at a time, is F(K, m): the same T = m + K - 1 points as the forward
pass's F(m, K), the same B^T, and its G and A with their parts exchanged.
"""

from __future__ import annotations

import numpy as np

from striate.kernels.contract import Shape
from striate.kernels.reference.arrays import Array
from striate.kernels.reference.conv import windows

# The finite points of T values; the last is infinity. csrc/winograd_points.h has them too.
POINTS = {4: (0, 1, -1), 5: (0, 1 / 2, -1, 3 / 2), 6: (0, 5 / 8, -5 / 8, 3 / 2, -3 / 2),
          8: (0, 1, -1, 2, -2, 1 / 2, -1 / 2)}


def powers(count: int, last: int) -> Array:
    """The matrix whose row j holds the powers 0 .. last - 1 of point j; that of infinity only the highest."""
    return np.vstack([np.vander(POINTS[count], last, increasing=True), np.eye(last)[-1:]])


def input_matrix(count: int) -> Array:
    """B^T: row j holds the coefficients of the product of (x - p) over the finite points p but point j."""
    points = POINTS[count]
    rows = [np.poly(points[:j] + points[j + 1:])[::-1] for j in range(count)]
    return np.array([np.pad(row, (0, count - len(row))) for row in rows])


def distances(count: int) -> Array:
    """The product of the distances of each point to the others; 1 for infinity."""
    points = np.array(POINTS[count])
    return np.array([*(np.prod(p - np.delete(points, j)) for j, p in enumerate(points)), 1.0])


def conv2d_dw_winograd(x: Array, dy: Array, *, kernel: int, tile: int, padding: Shape) -> Array:
    """As conv2d_dw with stride 1.

    Shapes: x (N, C, H, W), dy (N, O, OH, OW) -> (O, C, kernel, kernel).
    """
    count = tile + kernel - 1
    top, bottom, left, right = padding
    # Whole tiles: dy is continued with zeros, and x as far as its patches reach.
    more_h, more_w = -dy.shape[2] % tile, -dy.shape[3] % tile
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom + more_h), (left, right + more_w)))
    dy = np.pad(dy, ((0, 0), (0, 0), (0, more_h), (0, more_w)))
    b, a, g = input_matrix(count), powers(count, tile), powers(count, kernel) / distances(count)[:, None]
    v = np.einsum("ih,jw,ncpqhw->ijcnpq", b, b, windows(x, (count, count), (tile, tile), (1, 1)))
    z = np.einsum("ih,jw,nopqhw->ijonpq", a, a, windows(dy, (tile, tile), (tile, tile), (1, 1)))
    u = z.reshape(count, count, dy.shape[1], -1) @ v.reshape(count, count, x.shape[1], -1).swapaxes(2, 3)
    return np.einsum("ir,js,ijoc->ocrs", g, g, u)
