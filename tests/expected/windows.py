"""What the kernels that look through windows should give: convolution and pooling by loops over pixels and taps.

Gradients are the scatter of the forward loop.
"""

from __future__ import annotations

import functools
import math
from itertools import product

import numpy as np

from expected.elementwise import relu, relu6, sigmoid, tanh
from expected.norm import batch_moments, norm_act_sums

# ---- convolution: loops over output pixels and taps; where they meet, every filter meets every channel of its group

def meetings(size, kernel, stride, padding, dilation):
    """Every (output pixel, tap, input pixel) whose input pixel is real."""
    out = [(s + low + high - d * (k - 1) - 1) // t + 1 for s, low, high, k, t, d in
           zip(size, padding[::2], padding[1::2], kernel, stride, dilation, strict=True)]
    for i, j, kh, kw in product(range(out[0]), range(out[1]), range(kernel[0]), range(kernel[1])):
        h, w = i * stride[0] + kh * dilation[0] - padding[0], j * stride[1] + kw * dilation[1] - padding[2]
        if 0 <= h < size[0] and 0 <= w < size[1]:
            yield (i, j), (kh, kw), (h, w)


@functools.lru_cache(maxsize=64)  # forward and both gradients ask for the same
def by_tap(*geometry):
    """The meetings of each tap: (tap, rows and columns of output pixels, rows and columns of input pixels).

    A pixel occurs once a tap.
    """
    met = {}
    for out, tap, real in meetings(*geometry):
        met.setdefault(tap, []).append((*out, *real))
    return [(tap, tuple(found.T[:2]), tuple(found.T[2:])) for tap, found in
            ((tap, np.array(rows)) for tap, rows in met.items())]


def group_slices(c, o, groups):
    return [(slice(g * (c // groups), (g + 1) * (c // groups)), slice(g * (o // groups), (g + 1) * (o // groups)))
            for g in range(groups)]


def pixel_first(maps):
    """Maps as (pixel row, pixel column, image, channel), filters as (tap row, tap column, filter, channel)."""
    return np.ascontiguousarray(maps.transpose(2, 3, 0, 1))


def activated(y, activation):
    return (lambda v: v, relu, tanh, sigmoid, relu6)[activation](y)


def conv2d(x, w, b, r, *, stride, padding, dilation, groups, activation):
    out = [(s + low + high - d * (k - 1) - 1) // t + 1 for s, low, high, k, t, d in
           zip(x.shape[2:], padding[::2], padding[1::2], w.shape[2:], stride, dilation, strict=True)]
    pixels, taps, y = pixel_first(x), pixel_first(w), np.zeros((*out, x.shape[0], w.shape[0]), x.dtype)
    groups = group_slices(x.shape[1], w.shape[0], groups)
    for tap, out, real in by_tap(x.shape[2:], w.shape[2:], stride, padding, dilation):
        for c, o in groups:
            y[(*out, slice(None), o)] += pixels[real][:, :, c] @ taps[tap][o].T
    y = y.transpose(2, 3, 0, 1) if b is None else y.transpose(2, 3, 0, 1) + b[:, None, None]
    return activated(y if r is None else y + r, activation)


def conv2d_moments(x, w, b, **at):
    y = conv2d(x, w, b, None, **at, activation=0)
    return y, *batch_moments(y)


def conv2d_max_pool(x, w, b, **at):
    return max_pool(conv2d(x, w, b, None, **at), kernel=(2, 2), stride=(2, 2), padding=(0, 0), dilation=(1, 1), ceil=0)


def conv2d_dx(dy, w, *, size, stride, padding, dilation, groups):
    pixels, taps = pixel_first(dy), pixel_first(w)
    dx = np.zeros((*size, dy.shape[0], w.shape[1] * groups), dy.dtype)
    groups = group_slices(dx.shape[3], w.shape[0], groups)
    for tap, out, real in by_tap(size, w.shape[2:], stride, padding, dilation):
        for c, o in groups:
            dx[(*real, slice(None), c)] += pixels[out][:, :, o] @ taps[tap][o]
    return dx.transpose(2, 3, 0, 1)


def conv2d_dx_add(dy, w, r, **at):
    return conv2d_dx(dy, w, **at) + r


def conv2d_max_pool_dx(dy, index, y, w, *, size, **at):
    return conv2d_dx(spread(dy, index, y, size, w.shape[2:], **at), w, size=size, **at)


def conv2d_max_pool_dw(x, dy, index, y, *, kernel, **at):
    before = spread(dy, index, y, x.shape[2:], kernel, **at)
    return conv2d_dw(x, before, kernel=kernel, **at), np.stack([before[:, o].sum() for o in range(dy.shape[1])])


def conv2d_pool_dx(dy, index, y, w, **at):
    return conv2d_max_pool_dx(dy, index, y, w, **at, dilation=(1, 1), groups=1)


def conv2d_pool_dw(x, dy, index, y, **at):
    return conv2d_max_pool_dw(x, dy, index, y, **at, dilation=(1, 1), groups=1)


def spread(dy, index, y, size, kernel, *, stride, padding, dilation, groups):
    """The gradient of the map before the pool."""
    out = [(s + low + high - d * (k - 1) - 1) // t + 1 for s, low, high, k, t, d in
           zip(size, padding[::2], padding[1::2], kernel, stride, dilation, strict=True)]
    return max_pool_dx(dy, index, y, size=out, kernel=(2, 2), stride=(2, 2), padding=(0, 0), dilation=(1, 1))


def conv2d_dw(x, dy, *, kernel, stride, padding, dilation, groups):
    pixels, duals = pixel_first(x), pixel_first(dy)
    dw = np.zeros((*kernel, dy.shape[1], x.shape[1] // groups), x.dtype)
    groups = group_slices(x.shape[1], dy.shape[1], groups)
    for tap, out, real in by_tap(x.shape[2:], kernel, stride, padding, dilation):
        for c, o in groups:
            dw[tap][o] += np.einsum("pno,pnc->oc", duals[out][:, :, o], pixels[real][:, :, c], optimize=True)
    return dw.transpose(2, 3, 0, 1)


def conv2d_dw_winograd(x, dy, *, kernel, tile, padding):
    return conv2d_dw(x, dy, kernel=(kernel, kernel), stride=(1, 1), padding=padding, dilation=(1, 1), groups=1)


def linear(x, w, b, *, activation):
    y = np.zeros((x.shape[0], w.shape[0]), x.dtype)
    for c in range(x.shape[1]):
        y += np.outer(x[:, c], w[:, c])
    return activated(y if b is None else y + b, activation)


def linear_dx(dy, w):
    return linear(dy, w.T, None, activation=0)


def linear_dw(x, dy):
    return linear(dy.T, x.T, None, activation=0)


def flip(w):
    y = np.empty_like(w)
    for i, j in product(range(w.shape[2]), range(w.shape[3])):
        y[:, :, i, j] = w[:, :, w.shape[2] - 1 - i, w.shape[3] - 1 - j]
    return y


def pack_filters(w, *, groups, for_dx, stride, dilation, nr):
    (o, cg, kh, kw), og = w.shape, w.shape[0] // groups
    columns, channels = (cg, og) if for_dx else (og, cg)
    panels = math.ceil(columns / nr)
    order = [(i, j) for a in range(stride[0]) for b in range(stride[1])
             for i in reversed(range(kh)) if i * dilation[0] % stride[0] == a
             for j in reversed(range(kw)) if j * dilation[1] % stride[1] == b]
    order = order if for_dx else list(product(range(kh), range(kw)))
    wp = np.zeros((groups * panels, kh * kw * channels, nr), w.dtype)
    for g, column, (at, (i, j)), channel in product(range(groups), range(columns), enumerate(order), range(channels)):
        o, c = (channel, column) if for_dx else (column, channel)
        wp[g * panels + column // nr, at * channels + channel, column % nr] = w[g * og + o, c, i, j]
    return wp


def conv2d_dx_gemm_sums(dy, wp, r, x, mean, var, gamma, beta, y, *, activation, eps):
    """Pixel by pixel dy is multiplied with the columns of the panels, of which the last may be padded."""
    columns = np.concatenate(list(wp), axis=1)[:, : x.shape[1]]
    dx = np.zeros(x.shape) if r is None else r.copy()
    for n, h, w in np.ndindex(x.shape[0], *x.shape[2:]):
        dx[n, :, h, w] += dy[n, :, h, w] @ columns
    sum_dz, sum_dz_xhat, dz = norm_act_sums(x, dx, mean, var, gamma, beta, y, eps=eps, activation=activation)
    return dz, sum_dz, sum_dz_xhat


# ---- pooling: one window at a time

def pool_windows(size, kernel, stride, padding, dilation, ceil):
    """Every window as (output pixel, list of its real pixels as (position, h, w), how many positions count)."""
    out = []
    for s, k, t, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        starts = [i * t - p for i in range(s + 2 * p) if i * t + d * (k - 1) < s + 2 * p]
        following = starts[-1] + t  # ceil mode: one more, if pixels are left over and it starts before their end
        if ceil and starts[-1] + d * (k - 1) < s + p - 1 and following < s:
            starts.append(following)
        out.append(starts)
    for (i, top), (j, left) in product(enumerate(out[0]), enumerate(out[1])):
        spots = [(kh * kernel[1] + kw, top + kh * dilation[0], left + kw * dilation[1])
                 for kh, kw in product(range(kernel[0]), range(kernel[1]))]
        real = [(at, h, w) for at, h, w in spots if 0 <= h < size[0] and 0 <= w < size[1]]
        within = [1 for _, h, w in spots if h < size[0] + padding[0] and w < size[1] + padding[1]]
        yield (i, j), real, len(within)


def pooled_shape(wins):
    return max(i for (i, _), *_ in wins) + 1, max(j for (_, j), *_ in wins) + 1


def max_pool(x, *, kernel, stride, padding, dilation, ceil):
    wins = list(pool_windows(x.shape[2:], kernel, stride, padding, dilation, ceil))
    y = np.zeros((*x.shape[:2], *pooled_shape(wins)), x.dtype)
    index = np.zeros(y.shape, np.uint8 if kernel[0] * kernel[1] <= 256 else np.uint16)
    for n, c in np.ndindex(*x.shape[:2]):
        for (i, j), real, _ in wins:
            best = real[0]
            for spot in real[1:]:
                value, top = x[n, c, spot[1], spot[2]], x[n, c, best[1], best[2]]
                if value > top or (math.isnan(value) and not math.isnan(top)):
                    best = spot
            y[n, c, i, j], index[n, c, i, j] = x[n, c, best[1], best[2]], best[0]
    return y, index


def max_pool_dx(dy, index, y, *, size, kernel, stride, padding, dilation):
    dx = np.zeros((*dy.shape[:2], *size), dy.dtype)
    for n, c, i, j in np.ndindex(*dy.shape):
        if y is not None and y[n, c, i, j] <= 0:
            continue
        kh, kw = divmod(int(index[n, c, i, j]), kernel[1])
        dx[n, c, i * stride[0] + kh * dilation[0] - padding[0], j * stride[1] + kw * dilation[1] - padding[1]] += \
            dy[n, c, i, j]
    return dx


def avg_pool(x, *, kernel, stride, padding, ceil, count_include_pad):
    wins = list(pool_windows(x.shape[2:], kernel, stride, padding, (1, 1), ceil))
    y = np.zeros((*x.shape[:2], *pooled_shape(wins)), x.dtype)
    for (i, j), real, counted in wins:
        total = sum(x[:, :, h, w] for _, h, w in real)
        y[:, :, i, j] = total / (counted if count_include_pad else len(real))
    return y


def avg_pool_dx(dy, *, size, kernel, stride, padding, count_include_pad):
    dx = np.zeros((*dy.shape[:2], *size), dy.dtype)
    ceil = dy.shape[2:] != tuple((s + 2 * p - k) // t + 1 for s, p, k, t in
                                 zip(size, padding, kernel, stride, strict=True))
    for (i, j), real, counted in pool_windows(size, kernel, stride, padding, (1, 1), ceil):
        for _, h, w in real:
            dx[:, :, h, w] += dy[:, :, i, j] / (counted if count_include_pad else len(real))
    return dx


def lp_pool(x, *, power, kernel, stride, ceil):
    wins = list(pool_windows(x.shape[2:], kernel, stride, (0, 0), (1, 1), ceil))
    y = np.zeros((*x.shape[:2], *pooled_shape(wins)), x.dtype)
    for (i, j), real, _ in wins:
        total = sum(x[:, :, h, w] ** power for _, h, w in real)
        y[:, :, i, j] = (total * math.prod(kernel) / len(real)) ** (1 / power)
    return y


def lp_pool_dx(x, y, dy, *, power, kernel, stride):
    dx = np.zeros_like(x)
    ceil = dy.shape[2:] != tuple((s - k) // t + 1 for s, k, t in zip(x.shape[2:], kernel, stride, strict=True))
    for (i, j), real, _ in pool_windows(x.shape[2:], kernel, stride, (0, 0), (1, 1), ceil):
        for n, c, (_, h, w) in product(range(x.shape[0]), range(x.shape[1]), real):
            part = x[n, c, h, w] / y[n, c, i, j] if y[n, c, i, j] else 0.0
            dx[n, c, h, w] += dy[n, c, i, j] * part ** (power - 1) * math.prod(kernel) / len(real)
    return dx


def adaptive_windows(size, out):
    """Every output pixel and the pixels it is the mean of: those whose place overlaps its own."""
    for i, j in product(range(out[0]), range(out[1])):
        yield (i, j), [(h, w) for h, w in product(range(size[0]), range(size[1]))
                       if h * out[0] < (i + 1) * size[0] and (h + 1) * out[0] > i * size[0]
                       and w * out[1] < (j + 1) * size[1] and (w + 1) * out[1] > j * size[1]]


def adaptive_avg_pool(x, *, out):
    y = np.zeros((*x.shape[:2], *out), x.dtype)
    for (i, j), pixels in adaptive_windows(x.shape[2:], out):
        y[:, :, i, j] = sum(x[:, :, h, w] for h, w in pixels) / len(pixels)
    return y


def adaptive_avg_pool_dx(dy, *, size):
    dx = np.zeros((*dy.shape[:2], *size), dy.dtype)
    for (i, j), pixels in adaptive_windows(size, dy.shape[2:]):
        for h, w in pixels:
            dx[:, :, h, w] += dy[:, :, i, j] / len(pixels)
    return dx
