"""Pooling: by maximum, by average, and by any differentiable function of a window."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from striate.errors import ConfigError
from striate.graph import Cost, Op, elements
from striate.kernels.contract import ROWS, Shape, Spec, need_rank
from striate.ops.arguments import Pair, flag, number, pair
from striate.ops.callback import callback
from striate.ops.dispatch import need_float, run, spec_of

Kernels = Any
T = Any
Array = np.ndarray[Any, Any]


# ---- maximum

def max_pool2d_shape(x: Spec, **params: Any) -> tuple[Spec, ...]:
    need_float("max_pool2d", x)
    return ROWS["max_pool"].shapes(x, **params)[:1]


def max_pool2d_forward(k: Kernels, x: T, **params: Any) -> tuple[T, Any]:
    y, index = k.max_pool(x, **params)
    return y, (x.shape, index)


def max_pool2d_backward(k: Kernels, saved: Any, dy: T, *, ceil: int, **params: Any) -> tuple[T, ...]:
    shape, index = saved  # the position of the maximum in its window: only that input gets the gradient
    return (k.max_pool_dx(dy, index, None, size=shape[2:], **params),)


def _per_window(shape: Callable[..., tuple[Spec, ...]]) -> Callable[..., Cost]:
    def cost(x: Spec, *, kernel: Pair, **params: Any) -> Cost:
        (y,) = shape(x, kernel=kernel, **params)
        return Cost(other=elements(y) * kernel[0] * kernel[1])

    return cost


max_pool2d_op = Op("max_pool2d", max_pool2d_shape, max_pool2d_forward, max_pool2d_backward,
                   _per_window(max_pool2d_shape))


def max_pool2d(x: T, kernel_size: Any, *, stride: Any = None, padding: Any = 0, dilation: Any = 1,
               ceil_mode: bool = False, kernels: str = "native") -> T:
    """The maximum of every window; NaN wins, padding never does.

    Shapes: x (N, C, H, W) -> (N, C, OH, OW); OH as conv2d's, rounded up with ceil_mode. stride=None means kernel_size.
    Raises: ShapeError if padding exceeds half the effective kernel, or a window has more than 65535 positions.
    """
    size = pair("max_pool2d", "kernel_size", kernel_size)
    params = dict(
        kernel=size, stride=_stride("max_pool2d", stride, size), padding=pair("max_pool2d", "padding", padding, 0),
        dilation=pair("max_pool2d", "dilation", dilation), ceil=int(flag("max_pool2d", "ceil_mode", ceil_mode)),
    )
    return run(max_pool2d_op, (x,), params, kernels)


def _stride(who: str, stride: Any, kernel: Pair) -> Pair:
    return kernel if stride is None else pair(who, "stride", stride)


# ---- average

def avg_pool2d_shape(x: Spec, **params: Any) -> tuple[Spec, ...]:
    need_float("avg_pool2d", x)
    return ROWS["avg_pool"].shapes(x, **params)


def avg_pool2d_forward(k: Kernels, x: T, **params: Any) -> tuple[T, Any]:
    return k.avg_pool(x, **params), (x.shape,)


def avg_pool2d_backward(k: Kernels, saved: Any, dy: T, *, ceil: int, **params: Any) -> tuple[T, ...]:
    (shape,) = saved
    return (k.avg_pool_dx(dy, size=shape[2:], **params),)


avg_pool2d_op = Op("avg_pool2d", avg_pool2d_shape, avg_pool2d_forward, avg_pool2d_backward,
                   _per_window(avg_pool2d_shape))


def avg_pool2d(x: T, kernel_size: Any, *, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
               count_include_pad: bool = True, kernels: str = "native") -> T:
    """The mean of every window; with count_include_pad the zeros of the padding count.

    Shapes: x (N, C, H, W) -> (N, C, OH, OW), as max_pool2d. stride=None means kernel_size.
    Raises: ShapeError if padding exceeds half the kernel.
    """
    size = pair("avg_pool2d", "kernel_size", kernel_size)
    params = dict(
        kernel=size, stride=_stride("avg_pool2d", stride, size), padding=pair("avg_pool2d", "padding", padding, 0),
        ceil=int(flag("avg_pool2d", "ceil_mode", ceil_mode)),
        count_include_pad=int(flag("avg_pool2d", "count_include_pad", count_include_pad)),
    )
    return run(avg_pool2d_op, (x,), params, kernels)


def global_avg_pool2d(x: T, *, kernels: str = "native") -> T:
    """The mean of every map. Shapes: x (N, C, H, W) -> (N, C, 1, 1). Ref: Lin et al. 2013, arXiv 1312.4400."""
    need_rank("global_avg_pool2d", "x", Spec(spec_of("global_avg_pool2d", x)), 4)
    return avg_pool2d(x, spec_of("global_avg_pool2d", x)[2:], kernels=kernels)


# ---- any differentiable function

def pool2d(x: T, kernel_size: Any, *, function: Callable[[Array], Array],
           derivative: Callable[[Array, Array], Array] | None = None, stride: Any = None, padding: Any = 0,
           padding_value: float = 0.0, kernels: str = "native") -> T:
    """Pooling by a function of yours: y = function(windows), windows of shape (N, C, OH, OW, KH*KW).

    derivative(windows, y) returns dy/dwindows in the shape of windows; without it the result has no gradient.
    Shapes: x (N, C, H, W) -> (N, C, OH, OW), as max_pool2d. The functions are Python: they run with the GIL held.
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> pool2d(x, 2, function=lambda w: np.sqrt((w * w).mean(-1))).shape
    (1, 1, 2, 2)
    """
    size = pair("pool2d", "kernel_size", kernel_size)
    window = _Windows(size, _stride("pool2d", stride, size), pair("pool2d", "padding", padding, 0),
                      number("pool2d", "padding_value", padding_value))
    (shape,) = ROWS["avg_pool"].shapes(Spec(spec_of("pool2d", x)), kernel=size, stride=window.stride,
                                       padding=window.padding, ceil=0, count_include_pad=1)
    if not callable(function):
        raise ConfigError(f"pool2d: needs a function, got {function!r}")
    taken = math.prod(shape.shape[1:]) * size[0] * size[1]  # as any pooling: one operation an element of a window
    backward = None if derivative is None else functools.partial(_pool2d_gradient, window, function, derivative)
    return callback(functools.partial(_pool2d_value, window, function), x, derivative=backward,
                    shape=shape.shape[1:], name="pool2d", kernels=kernels, cost=(0, taken))


class _Windows:
    """Cuts a batch into windows and adds gradients of windows back into a batch."""

    def __init__(self, kernel: Pair, stride: Pair, padding: Pair, value: float) -> None:
        self.kernel, self.stride, self.padding, self.value = kernel, stride, padding, value

    def cut(self, x: Array) -> Array:
        (ph, pw), (sh, sw) = self.padding, self.stride
        padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=self.value)
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.kernel, axis=(2, 3))[:, :, ::sh, ::sw]
        return windows.reshape(*windows.shape[:4], self.kernel[0] * self.kernel[1])

    def add_back(self, dwindows: Array, shape: Shape) -> Array:
        n, c, h, w = shape
        (ph, pw), (sh, sw), (kh, kw) = self.padding, self.stride, self.kernel
        dx = np.zeros((n, c, h + 2 * ph, w + 2 * pw), dwindows.dtype)
        oh, ow = dwindows.shape[2:4]
        for position in range(kh * kw):
            r, s = divmod(position, kw)
            dx[:, :, r : r + oh * sh : sh, s : s + ow * sw : sw] += dwindows[..., position]
        return dx[:, :, ph : ph + h, pw : pw + w]


def _pool2d_value(window: _Windows, function: Callable[[Array], Array], x: Array) -> Array:
    return np.asarray(function(window.cut(x)))


def _pool2d_gradient(window: _Windows, function: Callable[[Array], Array],
                     derivative: Callable[[Array, Array], Array], x: Array, y: Array, dy: Array) -> Array:
    windows = window.cut(x)
    slopes = np.asarray(derivative(windows, y))
    if slopes.shape != windows.shape:
        raise ConfigError(f"pool2d: derivative must return the shape of windows {windows.shape}, got {slopes.shape}")
    return window.add_back(slopes * dy[..., None], x.shape)
