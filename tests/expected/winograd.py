"""What Winograd's kernels should give: filters as polynomials at points, and the convolution itself by loops."""

from __future__ import annotations

import functools
from itertools import product
from math import inf, prod

import numpy as np

from expected import windows
from expected.norm import batch_moments, norm_act_sums

POINTS = {4: (0, 1, -1, inf), 5: (0, 0.5, -1, 1.5, inf), 6: (0, 0.625, -0.625, 1.5, -1.5, inf),
          8: (0, 1, -1, 2, -2, 0.5, -0.5, inf)}


def at_point(taps, p, points):
    """Polynomials, their coefficients along the first axis, at point p, over the distances of p to the others."""
    if p == inf:
        return taps[-1]
    return np.polyval(taps[::-1], p) / prod(p - q for q in points if q not in (p, inf))


def winograd_filters(w, *, tile, for_dx, nr):
    w = windows.flip(w).transpose(1, 0, 2, 3) if for_dx else w
    columns, depth, kernel, _ = w.shape
    points = POINTS[tile + kernel - 1]
    u = np.zeros((-(-columns // nr), len(points) ** 2, depth, nr))
    o = np.arange(columns)
    for k, (p, q) in enumerate(product(points, points)):
        rows = at_point(np.moveaxis(w, 3, 0), q, points)
        u[o // nr, k, :, o % nr] = at_point(np.moveaxis(rows, 2, 0), p, points)
    return u


@functools.cache
def undone(kernel, points):
    """K numbers from T, by least squares: what a row of filters was before it was taken at the points."""
    return np.linalg.pinv(np.array([[at_point(unit, p, points) for unit in np.eye(kernel)] for p in points]))


def filters_of(u, out_channels, kernel, tile):
    """The filters w that u was made from, by least squares: T*T numbers for K*K."""
    points = POINTS[tile + kernel - 1]
    back = undone(kernel, points)
    columns = u.transpose(0, 3, 2, 1).reshape(-1, u.shape[2], len(points), len(points))[:out_channels]
    return back @ columns @ back.T


def conv2d_winograd(x, u, b, r, *, out_channels, kernel, tile, padding, activation, pool, moments):
    w = filters_of(u, out_channels, kernel, tile)
    y = windows.conv2d(x, w, b, r, stride=(1, 1), padding=padding, dilation=(1, 1), groups=1, activation=activation)
    halving = dict(kernel=(2, 2), stride=(2, 2), padding=(0, 0), dilation=(1, 1), ceil=0)
    pooled = windows.max_pool(y, **halving) if pool else (y, None)
    return *pooled, *(batch_moments(y) if moments else (None, None, None))


def conv2d_winograd_sums(dy, u, r, x, mean, var, gamma, beta, y, *, activation, eps, **at):
    dx = conv2d_winograd(dy, u, None, r, **at, activation=0, pool=0, moments=0)[0]
    sum_dz, sum_dz_xhat, dz = norm_act_sums(x, dx, mean, var, gamma, beta, y, eps=eps, activation=activation)
    return dz, sum_dz, sum_dz_xhat
