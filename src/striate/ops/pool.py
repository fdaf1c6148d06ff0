"""Pooling: by maximum, by average, by an Lp norm, and by any differentiable function of a window."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from striate.errors import ConfigError
from striate.graph import Cost, Op, elements
from striate.kernels.contract import ROWS, Shape, Spec, need_pixels, need_rank
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


def _per_window(shape: Callable[..., tuple[Spec, ...]], operations: int = 1) -> Callable[..., Cost]:
    """The cost of so many operations for each position of every window."""
    def cost(x: Spec, *, kernel: Pair, **params: Any) -> Cost:
        (y,) = shape(x, kernel=kernel, **params)
        return Cost(other=operations * elements(y) * kernel[0] * kernel[1])

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


# ---- adaptive average

def adaptive_avg_pool2d_shape(x: Spec, *, out: Pair) -> tuple[Spec, ...]:
    need_float("adaptive_avg_pool2d", x)
    return ROWS["adaptive_avg_pool"].shapes(x, out=out)


def adaptive_avg_pool2d_forward(k: Kernels, x: T, *, out: Pair) -> tuple[T, Any]:
    return k.adaptive_avg_pool(x, out=out), (x.shape,)


def adaptive_avg_pool2d_backward(k: Kernels, saved: Any, dy: T, *, out: Pair) -> tuple[T, ...]:
    (shape,) = saved
    return (k.adaptive_avg_pool_dx(dy, size=shape[2:]),)


def adaptive_avg_pool2d_cost(x: Spec, *, out: Pair) -> Cost:
    reach = [sum(-(-(i + 1) * size // o) - i * size // o for i in range(o))
             for size, o in zip(x.shape[2:], out, strict=True)]
    return Cost(other=elements(Spec(x.shape[:2])) * reach[0] * reach[1])


adaptive_avg_pool2d_op = Op("adaptive_avg_pool2d", adaptive_avg_pool2d_shape, adaptive_avg_pool2d_forward,
                            adaptive_avg_pool2d_backward, adaptive_avg_pool2d_cost)


def adaptive_avg_pool2d(x: T, output_size: Any, *, kernels: str = "native") -> T:
    """The means of OH x OW windows that share out the map evenly: from floor(i H / OH) to ceil((i + 1) H / OH).

    Shapes: x (N, C, H, W) -> (N, C, OH, OW) with output_size = OH = OW or (OH, OW). Where OH divides H and OW W, this
    is avg_pool2d. Ref: He et al. 2014, arXiv 1406.4729, section 2.3.
    """
    out, shape = pair("adaptive_avg_pool2d", "output_size", output_size), spec_of("adaptive_avg_pool2d", x)
    need_rank("adaptive_avg_pool2d", "x", Spec(shape), 4)
    need_pixels("adaptive_avg_pool2d", Spec(shape))
    if shape[2] % out[0] == 0 and shape[3] % out[1] == 0:
        return avg_pool2d(x, (shape[2] // out[0], shape[3] // out[1]), kernels=kernels)
    return run(adaptive_avg_pool2d_op, (x,), dict(out=out), kernels)


# ---- Lp norm

def lp_pool2d_shape(x: Spec, **params: Any) -> tuple[Spec, ...]:
    need_float("lp_pool2d", x)
    return ROWS["lp_pool"].shapes(x, **params)


def lp_pool2d_forward(k: Kernels, x: T, **params: Any) -> tuple[T, Any]:
    y = k.lp_pool(x, **params)
    return y, (x, y)


def lp_pool2d_backward(k: Kernels, saved: Any, dy: T, *, ceil: int, **params: Any) -> tuple[T, ...]:
    x, y = saved  # y = (sum x^p)^(1/p):  dx = dy (x / y)^(p - 1)
    return (k.lp_pool_dx(x, y, dy, **params),)


lp_pool2d_op = Op("lp_pool2d", lp_pool2d_shape, lp_pool2d_forward, lp_pool2d_backward, _per_window(lp_pool2d_shape, 2))


def lp_pool2d(x: T, p: float, kernel_size: Any, *, stride: Any = None, ceil_mode: bool = False,
              kernels: str = "native") -> T:
    """(sum of x^p)^(1/p) of every window: p = 1 is its sum, p = 2 its Euclidean norm.

    Shapes: x (N, C, H, W) -> (N, C, OH, OW), as max_pool2d. stride=None means kernel_size. A window that ceil_mode lets
    hang over counts as its mean KH KW times. Where p is odd or not whole, a negative sum or x gives NaN, as in PyTorch.
    Raises: ConfigError unless p is 1 to 1000. Ref: Sermanet et al. 2012, arXiv 1204.3968, section 2.2.
    """
    size = pair("lp_pool2d", "kernel_size", kernel_size)
    params = dict(power=number("lp_pool2d", "p", p, 1.0, 1000.0), kernel=size,
                  stride=_stride("lp_pool2d", stride, size),
                  ceil=int(flag("lp_pool2d", "ceil_mode", ceil_mode)))
    return run(lp_pool2d_op, (x,), params, kernels)


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
