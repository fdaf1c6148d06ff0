"""Batch normalisation in two halves: the statistics of a batch, and scaling and shifting by any statistics.

    mean = sum x / n      var = sum (x - mean)^2 / n      xhat = (x - mean) / sqrt(var + eps)      y = gamma xhat + beta

with sums over everything but the channels, n values each. Absent gamma is 1, absent beta 0.
Ref: Ioffe and Szegedy 2015, arXiv 1502.03167, algorithm 1.
"""

from __future__ import annotations

import numpy as np

from striate.kernels.reference.arrays import Array, all_but_channels, over_channels
from striate.kernels.reference.elementwise import activated, relu6_grad, relu_grad


def channel_sum(x: Array) -> Array:
    return x.sum(axis=all_but_channels(x))


def batch_moments(x: Array) -> tuple[Array, Array, Array]:
    """Mean, variance, and the unbiased variance var * n / (n - 1) that running statistics keep.

    Shapes: x (N, C) or (N, C, H, W) -> (C,) each; zeros for an empty batch.
    """
    n = _count(x)
    mean = channel_sum(x) / max(n, 1)
    squares = channel_sum(np.square(x - over_channels(mean, x)))
    return mean, squares / max(n, 1), squares / max(n - 1, 1)


def batch_moments_dx(x: Array, mean: Array, dmean: Array | None, dvar: Array | None, dunbiased: Array | None) -> Array:
    """The gradient of x through its statistics; deviations sum to zero, so var sends none back through the mean."""
    n = _count(x)
    dx = np.zeros_like(x)
    if dmean is not None:
        dx += over_channels(dmean, x) / max(n, 1)
    deviation = x - over_channels(mean, x)
    if dvar is not None:
        dx += 2 * deviation * over_channels(dvar, x) / max(n, 1)
    if dunbiased is not None:
        dx += 2 * deviation * over_channels(dunbiased, x) / max(n - 1, 1)
    return dx


def scale_shift(x: Array, mean: Array, var: Array, gamma: Array | None, beta: Array | None, *, eps: float) -> Array:
    """gamma * xhat + beta."""
    y = over_channels(_factor(var, gamma, eps), x) * (x - over_channels(mean, x))
    return y if beta is None else y + over_channels(beta, x)


def scale_shift_sums(x: Array, dy: Array, mean: Array, var: Array, *, eps: float) -> tuple[Array, Array]:
    """The sums of dy and of dy * xhat: the gradients of beta and gamma, and all that dx needs to know of the batch."""
    xhat = scale_shift(x, mean, var, None, None, eps=eps)
    return channel_sum(dy), channel_sum(dy * xhat)


def scale_shift_dx(dy: Array, var: Array, gamma: Array | None, *, eps: float) -> Array:
    """The gradient of x with the statistics held still."""
    return over_channels(_factor(var, gamma, eps), dy) * dy


def scale_shift_dstats(sum_dy: Array, sum_dy_xhat: Array, var: Array, gamma: Array | None, *,
                       eps: float) -> tuple[Array, Array]:
    """The gradients of mean and var, from y = gamma (x - mean) (var + eps)^(-1/2) + beta."""
    factor = _factor(var, gamma, eps)
    return -factor * sum_dy, -factor * sum_dy_xhat / (2 * np.sqrt(var + eps))


def norm_act(x: Array, mean: Array, var: Array, gamma: Array | None, beta: Array | None, r: Array | None, *,
             eps: float, activation: int) -> Array:
    """act(z) with z = gamma * xhat + beta + r, r a residual of the shape of x; act: 0 none, 1 ReLU, 4 ReLU6."""
    z = scale_shift(x, mean, var, gamma, beta, eps=eps)
    return activated(z if r is None else z + r, activation)


def norm_act_sums(x: Array, dy: Array, mean: Array, var: Array, gamma: Array | None, beta: Array | None,
                  y: Array | None, *, eps: float, activation: int) -> tuple[Array, Array, Array]:
    """The sums of dz and of dz * xhat, and dz itself: dy where the activation let z through.

    It is seen by y; without y, by z without a residual.
    """
    dz = _masked(x, dy, mean, var, gamma, beta, y, eps, activation)
    return *scale_shift_sums(x, dz, mean, var, eps=eps), dz


def norm_act_dx(x: Array, dz: Array, mean: Array, var: Array, gamma: Array | None, beta: Array | None, sum_dz: Array,
                sum_dz_xhat: Array, *, eps: float, activation: int, own: int) -> Array:
    """The gradient of x; `own`: mean and var are the batch's own, so x also acts through them.

    With an activation, dz may be dy: what z without a residual does not let through is masked.
    """
    dz = _masked(x, dz, mean, var, gamma, beta, None, eps, activation)
    if own:
        xhat = scale_shift(x, mean, var, None, None, eps=eps)
        dz = dz - (over_channels(sum_dz, x) + xhat * over_channels(sum_dz_xhat, x)) / max(_count(x), 1)
    return scale_shift_dx(dz, var, gamma, eps=eps)


def fold_norm(w: Array, b: Array | None, mean: Array, var: Array, gamma: Array | None, beta: Array | None, *,
              eps: float) -> tuple[Array, Array]:
    """Filters and bias that do what (w, b) followed by the normalisation does."""
    factor = _factor(var, gamma, eps)
    b2 = (-mean if b is None else b - mean) * factor
    return w * factor.reshape(-1, *[1] * (w.ndim - 1)), b2 if beta is None else b2 + beta


def lerp(old: Array, new: Array, *, weight: float) -> Array:
    """The point `weight` of the way from old to new."""
    return old + weight * (new - old)


def local_response_norm(x: Array, *, size: int, alpha: float, beta: float, offset: float) -> Array:
    """x / d^beta with d = offset + alpha * the sum of x^2 over the channels c - size // 2 to c + (size - 1) // 2.

    Ref: Krizhevsky et al. 2012, NeurIPS, section 3.3.
    """
    y: Array = x * (offset + alpha * _sum_around(x**2, size // 2, (size - 1) // 2)) ** -beta
    return y


def local_response_norm_dx(x: Array, dy: Array, *, size: int, alpha: float, beta: float, offset: float) -> Array:
    """dy d^-beta - 2 alpha beta x * the sum of dy x d^(-beta - 1) over the channels whose window holds this one."""
    d = offset + alpha * _sum_around(x**2, size // 2, (size - 1) // 2)
    through = dy * d**-beta
    dx: Array = through - 2 * alpha * beta * x * _sum_around(through * x / d, (size - 1) // 2, size // 2)
    return dx


def _sum_around(x: Array, before: int, after: int) -> Array:
    """At each channel the sum over those from `before` in front of it to `after` behind it."""
    total = np.zeros_like(x)
    for c in range(x.shape[1]):
        total[:, c] = x[:, max(c - before, 0):c + after + 1].sum(axis=1)
    return total


def _masked(x: Array, dy: Array, mean: Array, var: Array, gamma: Array | None, beta: Array | None, y: Array | None,
            eps: float, activation: int) -> Array:
    if not activation:
        return dy
    z = scale_shift(x, mean, var, gamma, beta, eps=eps) if y is None else y
    return relu_grad(z, dy) if activation == 1 else relu6_grad(z, dy)


def _factor(var: Array, gamma: Array | None, eps: float) -> Array:
    rstd = 1 / np.sqrt(var + eps)
    return rstd if gamma is None else gamma * rstd


def _count(x: Array) -> int:
    return x.size // x.shape[1]
