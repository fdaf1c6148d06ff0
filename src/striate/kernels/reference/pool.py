"""Pooling by windows: the maximum and the mean, each with the way its gradient goes back.

Both follow torch.nn.MaxPool2d and AvgPool2d, ceil_mode and count_include_pad included. `index` is the position
kh * KW + kw of the first maximum within its window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

from striate.kernels.contract import HALVED, HALVING, PLAIN, Shape, conv_size, pool_size
from striate.kernels.reference.arrays import Array
from striate.kernels.reference.conv import conv2d, conv2d_dw, conv2d_dx, padded, windows


def reach(size: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, out: Shape) -> Shape:
    """Padding (top, bottom, left, right) that the last window needs: more than `padding` where ceil mode added one."""
    ends = ((o - 1) * s + d * (k - 1) + 1 - p - extent
            for extent, k, s, p, d, o in zip(size, kernel, stride, padding, dilation, out, strict=True))
    bottom, right = (max(end, p) for end, p in zip(ends, padding, strict=True))
    return (padding[0], bottom, padding[1], right)


def pooled_size(size: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, ceil: int) -> Shape:
    rows = zip(("height", "width"), size, kernel, stride, padding, dilation, strict=True)
    return tuple(pool_size("pool", axis, h, k, s, p, d, bool(ceil)) for axis, h, k, s, p, d in rows)


def max_pool(x: Array, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape,
             ceil: int) -> tuple[Array, Array]:
    """The maximum of each window and where it stood; NaN counts as larger than everything.

    Shapes: x (N, C, H, W) -> y, index (N, C, OH, OW).
    """
    oh, ow = pooled_size(x.shape[2:], kernel, stride, padding, dilation, ceil)
    around = reach(x.shape[2:], kernel, stride, padding, dilation, (oh, ow))
    inside = padded(np.ones((1, 1, *x.shape[2:]), bool), around)
    seen, real = (windows(v, kernel, stride, dilation)[:, :, :oh, :ow] for v in (padded(x, around, -np.inf), inside))
    seen, real = (v.reshape(*v.shape[:4], kernel[0] * kernel[1]) for v in (seen, real))
    index = seen.argmax(axis=4)
    y = np.take_along_axis(seen, index[..., None], axis=4)[..., 0]
    # A window of nothing but -inf must not name a position in the padding: take its first real pixel.
    index = np.where(np.isneginf(y), real.argmax(axis=4), index)
    return y, index.astype(np.uint8 if kernel[0] * kernel[1] <= 256 else np.uint16)


def conv2d_max_pool(x: Array, w: Array, b: Array | None, *, stride: Shape, padding: Shape, dilation: Shape, groups: int,
                    activation: int) -> tuple[Array, Array]:
    """conv2d and the maximum of each 2x2 window of its result, without overlap."""
    y = conv2d(x, w, b, None, stride=stride, padding=padding, dilation=dilation, groups=groups, activation=activation)
    return max_pool(y, **HALVING)


def conv2d_max_pool_dx(dy: Array, index: Array, y: Array | None, w: Array, *, size: Shape, stride: Shape,
                       padding: Shape, dilation: Shape, groups: int) -> Array:
    """conv2d_dx of what max_pool_dx sends to the map before the pool."""
    at = dict(stride=stride, padding=padding, dilation=dilation)
    spread = _unpooled(dy, index, y, size, w.shape[2:], **at)
    return conv2d_dx(spread, w, size=size, groups=groups, **at)


def conv2d_max_pool_dw(x: Array, dy: Array, index: Array, y: Array | None, *, kernel: Shape, stride: Shape,
                       padding: Shape, dilation: Shape, groups: int) -> tuple[Array, Array]:
    """conv2d_dw and the gradient of the bias, from what max_pool_dx sends to the map before the pool."""
    at = dict(stride=stride, padding=padding, dilation=dilation)
    spread = _unpooled(dy, index, y, x.shape[2:], kernel, **at)
    return conv2d_dw(x, spread, kernel=kernel, groups=groups, **at), spread.sum(axis=(0, 2, 3))


def conv2d_pool_dx(dy: Array, index: Array, y: Array | None, w: Array, *, size: Shape, stride: Shape,
                   padding: Shape) -> Array:
    return conv2d_max_pool_dx(dy, index, y, w, size=size, stride=stride, padding=padding, **PLAIN)


def conv2d_pool_dw(x: Array, dy: Array, index: Array, y: Array | None, *, kernel: Shape, stride: Shape,
                   padding: Shape) -> tuple[Array, Array]:
    return conv2d_max_pool_dw(x, dy, index, y, kernel=kernel, stride=stride, padding=padding, **PLAIN)


def _unpooled(dy: Array, index: Array, y: Array | None, size: Shape, kernel: Shape, *, stride: Shape, padding: Shape,
              dilation: Shape) -> Array:
    edges = zip(("height", "width"), size, kernel, stride, padding[::2], padding[1::2], dilation, strict=True)
    map_ = tuple(conv_size("conv2d", *edge) for edge in edges)
    return max_pool_dx(dy, index, y, size=map_, **HALVED)


def max_pool_dx(dy: Array, index: Array, y: Array | None, *, size: Shape, kernel: Shape, stride: Shape, padding: Shape,
                dilation: Shape) -> Array:
    """Each dy added to the pixel that was the maximum; given y, what ReLU made of the maxima, only where y > 0.

    Shapes: dy, index, y (N, C, OH, OW) -> (N, C, H, W) with (H, W) = size.
    """
    dy = dy if y is None else np.where(y <= 0, 0, dy)

    def sent(kh: int, kw: int) -> Array:
        return np.where(index == kh * kernel[1] + kw, dy, 0)

    return _sent_back(sent, dy, size, kernel, stride, padding, dilation)


def avg_pool(x: Array, *, kernel: Shape, stride: Shape, padding: Shape, ceil: int, count_include_pad: int) -> Array:
    """The mean of each window.

    Shapes: x (N, C, H, W) -> (N, C, OH, OW).
    """
    oh, ow = pooled_size(x.shape[2:], kernel, stride, padding, (1, 1), ceil)
    around = reach(x.shape[2:], kernel, stride, padding, (1, 1), (oh, ow))
    total = windows(padded(x, around), kernel, stride, (1, 1))[:, :, :oh, :ow].sum(axis=(4, 5))
    return total / _divisor(x.shape[2:], kernel, stride, padding, (oh, ow), count_include_pad).astype(x.dtype)


def avg_pool_dx(dy: Array, *, size: Shape, kernel: Shape, stride: Shape, padding: Shape,
                count_include_pad: int) -> Array:
    """Each dy shared out evenly over its window.

    Shapes: dy (N, C, OH, OW) -> (N, C, H, W) with (H, W) = size.
    """
    share = dy / _divisor(size, kernel, stride, padding, dy.shape[2:], count_include_pad).astype(dy.dtype)
    return _sent_back(lambda kh, kw: share, dy, size, kernel, stride, padding, (1, 1))


def lp_pool(x: Array, *, power: float, kernel: Shape, stride: Shape, ceil: int) -> Array:
    """The root of each window's sum of x^power; of a window over the edge (ceil), its mean counts KH KW times.

    Shapes: x (N, C, H, W) -> (N, C, OH, OW).
    """
    with np.errstate(invalid="ignore"):  # a negative number to a power that is not whole is NaN
        mean = avg_pool(x**power, kernel=kernel, stride=stride, padding=(0, 0), ceil=ceil, count_include_pad=0)
        y: Array = (mean * (kernel[0] * kernel[1])) ** (1 / power)
    return y


def lp_pool_dx(x: Array, y: Array, dy: Array, *, power: float, kernel: Shape, stride: Shape) -> Array:
    """dy (x / y)^(power - 1) summed over the windows of each pixel; where y = 0, x / y stands for 0.

    Shapes: x (N, C, H, W), y, dy (N, C, OH, OW) -> (N, C, H, W).
    """
    below = np.where(y == 0, float(power == 1), np.where(y == 0, 1, y) ** (1 - power)).astype(dy.dtype)
    dmean = avg_pool_dx(dy * below, size=x.shape[2:], kernel=kernel, stride=stride, padding=(0, 0), count_include_pad=0)
    with np.errstate(invalid="ignore"):
        dx: Array = dmean * (kernel[0] * kernel[1]) * x ** (power - 1)
    return dx


def adaptive_avg_pool(x: Array, *, out: Shape) -> Array:
    """The means of windows that share out the map. Shapes: x (N, C, H, W) -> (N, C, *out)."""
    y = np.empty((*x.shape[:2], *out), x.dtype)
    for i, j, rows, columns in _adaptive_windows(x.shape[2:], out):
        y[:, :, i, j] = x[:, :, rows, columns].mean(axis=(2, 3))
    return y


def adaptive_avg_pool_dx(dy: Array, *, size: Shape) -> Array:
    """Each dy shared out evenly over its window. Shapes: dy (N, C, OH, OW) -> (N, C, *size)."""
    dx = np.zeros((*dy.shape[:2], *size), dy.dtype)
    for i, j, rows, columns in _adaptive_windows(size, dy.shape[2:]):
        window = dx[:, :, rows, columns]
        window += dy[:, :, i:i + 1, j:j + 1] / (window.shape[2] * window.shape[3])
    return dx


def _adaptive_windows(size: Shape, out: Shape) -> Iterator[tuple[int, int, slice, slice]]:
    """Each pixel of a map of `out` and its window: from floor(i size / out) to ceil((i + 1) size / out)."""
    for i, j in product(*map(range, out)):
        rows, columns = (slice(at * extent // o, -(-(at + 1) * extent // o))
                         for at, extent, o in zip((i, j), size, out, strict=True))
        yield i, j, rows, columns


def _divisor(size: Shape, kernel: Shape, stride: Shape, padding: Shape, out: Shape, count_include_pad: int) -> Array:
    """How many positions each mean is over: real pixels, and padding if it counts; never what ceil mode hangs over."""
    _, bottom, _, right = reach(size, kernel, stride, padding, (1, 1), out)
    counted = np.ones((1, 1, *size))
    counted = padded(counted, (padding[0], padding[0], padding[1], padding[1]), float(bool(count_include_pad)))
    counted = padded(counted, (0, bottom - padding[0], 0, right - padding[1]))
    return windows(counted, kernel, stride, (1, 1))[:, :, :out[0], :out[1]].sum(axis=(4, 5))


def _sent_back(sent: Callable[[int, int], Array], dy: Array, size: Shape, kernel: Shape, stride: Shape, padding: Shape,
               dilation: Shape) -> Array:
    """The sum over taps of what each window sends to the pixel under that tap."""
    (oh, ow), (sh, sw), (dh, dw) = dy.shape[2:], stride, dilation
    around = reach(size, kernel, stride, padding, dilation, (oh, ow))
    dx = padded(np.zeros((*dy.shape[:2], *size), dy.dtype), around)
    for kh, kw in product(range(kernel[0]), range(kernel[1])):
        dx[:, :, kh * dh: kh * dh + oh * sh: sh, kw * dw: kw * dw + ow * sw: sw] += sent(kh, kw)
    return dx[:, :, around[0]: around[0] + size[0], around[2]: around[2] + size[1]].copy()
