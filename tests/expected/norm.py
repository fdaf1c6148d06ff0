"""What the normalisation kernels should give: one channel at a time, exact sums."""

from __future__ import annotations

import math

import numpy as np

from expected.difference import difference


def by_channel(x):
    return [np.ravel(x[:, c]).tolist() for c in range(x.shape[1])]


def channel_sum(x):
    return np.array([math.fsum(values) for values in by_channel(x)])


def batch_moments(x):
    rows = []
    for values in by_channel(x):
        n = len(values)
        mean = math.fsum(values) / n if n else 0.0
        squares = math.fsum((v - mean) ** 2 for v in values)
        rows.append((mean, squares / max(n, 1), squares / max(n - 1, 1)))
    return tuple(np.array(rows).T)


def batch_moments_dx(x, mean, dmean, dvar, dunbiased):
    duals, dx = (dmean, dvar, dunbiased), np.empty_like(x)
    for c in range(x.shape[1]):
        def loss(values, c=c):
            moments = batch_moments(values)
            return sum(dual[c] * moment[0] for dual, moment in zip(duals, moments, strict=True) if dual is not None)

        dx[:, c:c + 1] = difference(loss, x[:, c:c + 1])
    return dx


def scale_shift(x, mean, var, gamma, beta, *, eps):
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        xhat = (x[:, c] - mean[c]) / math.sqrt(var[c] + eps)
        y[:, c] = xhat * (1 if gamma is None else gamma[c]) + (0 if beta is None else beta[c])
    return y


def scale_shift_sums(x, dy, mean, var, *, eps):
    xhat = scale_shift(x, mean, var, None, None, eps=eps)
    return channel_sum(dy), channel_sum(dy * xhat)


def scale_shift_dx(dy, var, gamma, *, eps):
    return scale_shift(dy, np.zeros_like(var), var, gamma, None, eps=eps)


def scale_shift_dstats(sum_dy, sum_dy_xhat, var, gamma, *, eps):
    # Two values a channel that have these sums: dy = (sum_dy - 1, 1) and xhat = (0, sum_dy_xhat), mean 0.
    x = np.stack([np.zeros_like(var), sum_dy_xhat * np.sqrt(var + eps)])
    dy = np.stack([sum_dy - 1, np.ones_like(var)])

    step, dmean, dvar = 1e-3 * float((var + eps).min(initial=1)), np.empty_like(var), np.empty_like(var)
    for c in range(len(var)):  # no channel touches another
        own = slice(c, c + 1)

        def loss(mean, v, own=own):
            y = scale_shift(x[:, own], mean, v, None if gamma is None else gamma[own], None, eps=eps)
            return (dy[:, own] * y).sum()

        dmean[own] = difference(lambda mean, own=own, loss=loss: loss(mean, var[own]), np.zeros(1))
        dvar[own] = difference(lambda v, loss=loss: loss(np.zeros(1), v), var[own], step=step)
    return dmean, dvar


def norm_act(x, mean, var, gamma, beta, r, *, eps, activation):
    y = scale_shift(x, mean, var, gamma, beta, eps=eps)
    z = y if r is None else y + r
    return np.clip(z, 0, {1: math.inf, 4: 6.0}[activation]) if activation else z


def norm_act_sums(x, dy, mean, var, gamma, beta, y, *, eps, activation):
    dz = dy.copy()
    if activation:
        passed = norm_act(x, mean, var, gamma, beta, None, eps=eps, activation=activation) if y is None else y
        dz[(passed <= 0) | (passed >= {1: math.inf, 4: 6.0}[activation])] = 0
    return channel_sum(dz), scale_shift_sums(x, dz, mean, var, eps=eps)[1], dz


def norm_act_dx(x, dz, mean, var, gamma, beta, sum_dz, sum_dz_xhat, *, eps, activation, own):
    """What x sends by itself, and what it sends through mean and var."""
    dz = norm_act_sums(x, dz, mean, var, gamma, beta, None, eps=eps, activation=activation)[2]
    dx, n = scale_shift_dx(dz, var, gamma, eps=eps), x.size // x.shape[1]
    for c in range(x.shape[1] if own else 0):
        std = math.sqrt(var[c] + eps)
        dmean = -sum_dz[c] * (1 if gamma is None else gamma[c]) / std
        dvar = -sum_dz_xhat[c] * (1 if gamma is None else gamma[c]) / (2 * std * std)
        dx[:, c] += dmean / max(n, 1) + dvar * 2 * (x[:, c] - mean[c]) / max(n, 1)
    return dx


def fold_norm(w, b, mean, var, gamma, beta, *, eps):
    """The two points that fix an affine map: the bias is what zero input gives, the filter what each weight adds."""
    zero = np.zeros_like(mean)
    b2 = scale_shift((zero if b is None else b)[None], mean, var, gamma, beta, eps=eps)[0]
    return np.moveaxis(scale_shift(np.moveaxis(w, 0, 1), zero, var, gamma, None, eps=eps), 1, 0), b2


def lerp(old, new, *, weight):
    return (1 - weight) * old + weight * new


def neighbours(c, channels, size):
    """The channels whose squares channel c is divided by."""
    return [i for i in range(c - size // 2, c - size // 2 + size) if 0 <= i < channels]


def divisors(x, size, alpha, offset):
    around = [neighbours(c, x.shape[1], size) for c in range(x.shape[1])]
    return around, [offset + alpha * sum(x[:, i] ** 2 for i in near) for near in around]


def local_response_norm(x, *, size, alpha, beta, offset):
    y = np.empty_like(x)
    for c, d in enumerate(divisors(x, size, alpha, offset)[1]):
        y[:, c] = x[:, c] / d**beta
    return y


def local_response_norm_dx(x, dy, *, size, alpha, beta, offset):
    """Every derivative of a channel of y by a channel of x, one by one."""
    around, ds = divisors(x, size, alpha, offset)
    dx = np.zeros_like(x)
    for c, (near, d) in enumerate(zip(around, ds, strict=True)):
        dx[:, c] += dy[:, c] / d**beta
        for i in near:
            dx[:, i] -= dy[:, c] * x[:, c] * beta / d ** (beta + 1) * alpha * 2 * x[:, i]
    return dx
