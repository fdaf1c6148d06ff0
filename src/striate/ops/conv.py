"""Convolution, its two gradients as matrix products, and the linear layer.

y[n, o, i, j] = b[o] + sum over c, r, s of w[o, c, r, s] * x[n, c, i*stride + r*dilation - pad, j*stride + ...]: the
cross-correlation every framework computes. With flip=True the kernel is turned by 180 degrees first: the true
convolution. The two are dual: dw is x correlated with dy, and dx is dy convolved with w.
"""

from __future__ import annotations

from typing import Any

from striate.errors import ConfigError
from striate.graph import Cost, Op
from striate.kernels.contract import ROWS, Shape, Spec, need_rank
from striate.ops.arguments import flag, integer, pair, sides
from striate.ops.dispatch import need_float, run, spec_of

Kernels = Any
T = Any
ACTIVATIONS = ("none", "relu", "tanh", "sigmoid", "relu6")  # their numbers are the kernels' activation codes


def activation_grad(k: Kernels, activation: int, y: T, dy: T) -> T:
    """dy behind the fused activation whose output is y."""
    return getattr(k, f"{ACTIVATIONS[activation]}_grad")(y, dy) if activation else dy


# ---- conv2d

def conv2d_shape(x: Spec, w: Spec, b: Spec | None, r: Spec | None = None, *, flip: bool,
                 **params: Any) -> tuple[Spec, ...]:
    need_float("conv2d", x, w, b, r)
    return ROWS["conv2d"].shapes(x, w, b, r, **params)


def conv2d_forward(k: Kernels, x: T, w: T, b: T, r: T = None, *, flip: bool, activation: int,
                   **at: Any) -> tuple[T, Any]:
    filters = k.flip(w) if flip else w
    y = k.conv2d(x, filters, b, r, activation=activation, **at)
    return y, (x, filters, y if activation else None, b is not None, r is not None)


def conv2d_backward(k: Kernels, saved: Any, dy: T, *, flip: bool, activation: int, **at: Any) -> tuple[T, ...]:
    x, filters, y, has_bias, has_residual = saved
    dy = activation_grad(k, activation, y, dy)
    gradients = conv2d_gradients(k, x, filters, has_bias, dy, flip=flip, **at)
    return (*gradients, dy) if has_residual else gradients


def conv2d_gradients(k: Kernels, x: T, filters: T, has_bias: bool, dy: T, *, flip: bool, **at: Any) -> tuple[T, T, T]:
    """dx, dw and db of y = x * w + b from dy in front of any activation."""
    # y = x * w (correlation):  dx = dy convolved with w,  dw = x correlated with dy,  db = dy summed over pixels
    dw = k.conv2d_dw(x, dy, kernel=filters.shape[2:], **at)  # first: x is often dead when dx is written
    db = k.channel_sum(dy) if has_bias else None
    dx = k.conv2d_dx(dy, filters, size=x.shape[2:], **at)
    return dx, k.flip(dw) if flip else dw, db


def conv2d_cost(x: Spec, w: Spec, b: Spec | None, r: Spec | None = None, *, activation: int, **params: Any) -> Cost:
    (y,) = conv2d_shape(x, w, b, activation=activation, **params)
    n, o, oh, ow = y.shape
    _, cg, kh, kw = w.shape
    passes = (b is not None) + (r is not None) + (activation != 0)
    return Cost(n * o * oh * ow * cg * kh * kw, n * o * oh * ow * passes)


conv2d_op = Op("conv2d", conv2d_shape, conv2d_forward, conv2d_backward, conv2d_cost, optional=(2, 3))


def conv2d(x: T, w: T, b: T = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
           flip: bool = False, kernels: str = "native") -> T:
    """The cross-correlation of images with filters plus bias; with flip=True the true convolution.

    Shapes: x (N, C, H, W), w (O, C/G, KH, KW), b (O,) -> (N, O, OH, OW);
        OH = (H + top + bottom - dilation (KH - 1) - 1) // stride + 1.
    `padding` is p, (height, width), ((top, bottom), (left, right)) or "same" (stride 1: OH = H, OW = W).
    Raises: ShapeError if C or O is not a multiple of groups, or the kernel does not fit the padded input.
    Ref: LeCun et al. 1989, Neural Computation 1(4), section 3.
    >>> conv2d(np.ones((1, 3, 8, 8), np.float32), np.ones((4, 3, 3, 3), np.float32)).shape
    (1, 4, 6, 6)
    """
    steps, gaps = pair("conv2d", "stride", stride), pair("conv2d", "dilation", dilation)
    kernel = spec_of("conv2d", w)
    need_rank("conv2d", "w", Spec(kernel), 4)
    params = dict(
        stride=steps, padding=_padding(padding, kernel[2:], steps, gaps), dilation=gaps,
        groups=integer("conv2d", "groups", groups), flip=flag("conv2d", "flip", flip), activation=0,
    )
    return run(conv2d_op, (x, w, b), params, kernels)


def _padding(padding: Any, kernel: Shape, stride: Shape, dilation: Shape) -> tuple[int, int, int, int]:
    if not isinstance(padding, str):
        return sides("conv2d", "padding", padding)
    if padding != "same":
        raise ConfigError(f"conv2d: padding must be numbers or 'same', got {padding!r}")
    if stride != (1, 1):
        raise ConfigError(f"conv2d: padding='same' needs stride 1, got {stride}")
    (height, width) = (d * (size - 1) for size, d in zip(kernel, dilation, strict=True))
    return height // 2, height - height // 2, width // 2, width - width // 2


# ---- linear

def linear_shape(x: Spec, w: Spec, b: Spec | None, *, activation: int) -> tuple[Spec, ...]:
    need_float("linear", x, w, b)
    return ROWS["linear"].shapes(x, w, b, activation=activation)


def linear_forward(k: Kernels, x: T, w: T, b: T, *, activation: int) -> tuple[T, Any]:
    y = k.linear(x, w, b, activation=activation)
    return y, (x, w, y if activation else None, b is not None)


def linear_backward(k: Kernels, saved: Any, dy: T, *, activation: int) -> tuple[T, ...]:
    x, w, y, has_bias = saved
    dy = activation_grad(k, activation, y, dy)
    # y = x w^T + b:  dx = dy w,  dw = dy^T x,  db = dy summed over the batch
    return k.linear_dx(dy, w), k.linear_dw(x, dy), k.channel_sum(dy) if has_bias else None


def linear_cost(x: Spec, w: Spec, b: Spec | None, *, activation: int) -> Cost:
    n, o = x.shape[0], w.shape[0]
    return Cost(n * o * w.shape[1], n * o * ((b is not None) + (activation != 0)))


linear_op = Op("linear", linear_shape, linear_forward, linear_backward, linear_cost, optional=(2,))


def linear(x: T, w: T, b: T = None, *, kernels: str = "native") -> T:
    """x w^T + b: every row of x times every row of w.

    Shapes: x (N, C), w (O, C), b (O,) -> (N, O).
    Raises: ShapeError if the C of x and w differ.
    """
    return run(linear_op, (x, w, b), dict(activation=0), kernels)
