"""One row a kernel: its tensors, its parameters, the shapes of its outputs, and what an output may overwrite.

A signature reads `x w b? -> y index?`: a tensor marked `?` may be absent, one marked `*` is a list of any length.
Parameters read `stride:2 eps:f`: a number is how many integers, `f` is a float. csrc/kernels.inc repeats both
strings and a test holds them equal. Shapes are logical (NCHW, OIHW); letters are those of the style guide.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from striate.errors import LimitError, ShapeError

Shape = tuple[int, ...]
MAX_BYTES = 1 << 46
MAX_WINDOW = 65535


@dataclass(frozen=True)
class Spec:
    """Shape and dtype of a tensor, without its data."""

    shape: Shape
    dtype: str = "float32"


@dataclass(frozen=True)
class Row:
    """The contract of one kernel."""

    name: str
    signature: str
    parameters: str
    shapes: Callable[..., tuple[Spec, ...]]
    overwrites: tuple[tuple[int, int], ...] = ()  # (output, input) pairs that may share memory
    mergeable: bool = False  # neighbouring calls with equal parameters may become one native call
    pointwise: bool = False  # element i of an output depends on element i of the inputs alone, whatever the layout
    algorithm: bool = False  # only `lower` writes it: one way to compute another row
    inputs: tuple[str, ...] = field(init=False)
    outputs: tuple[str, ...] = field(init=False)
    params: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        left, right = self.signature.split("->")
        object.__setattr__(self, "inputs", tuple(left.split()))
        object.__setattr__(self, "outputs", tuple(right.split()))
        pairs = (p.split(":") for p in self.parameters.split())
        object.__setattr__(self, "params", dict(pairs))


# Tensors under these names are dense and row-major at any rank (weights OIHW, their gradients and optimiser slots);
# under any other name a rank 4 tensor lies in memory as NHWC with a pixel stride.
DENSE = frozenset({"w", "dw", "w2", "g", "v", "v2", "m", "m2", "wp"})

ROWS: dict[str, Row] = {}


def row(name: str, signature: str, parameters: str, shapes: Callable[..., Any], **traits: Any) -> None:
    ROWS[name] = Row(name, signature, parameters, shapes, **traits)


# ---- the size formulas: the only place they are written

def conv_size(who: str, axis: str, size: int, kernel: int, stride: int, low: int, high: int, dilation: int) -> int:
    """Output size of a convolution or pooling along one axis: (size + low + high - d(kernel - 1) - 1) // stride + 1."""
    effective = dilation * (kernel - 1) + 1
    if size + low + high < effective:
        raise ShapeError(
            f"{who}: the kernel must fit into the padded input, got effective kernel {axis} {effective} "
            f"over padded input {axis} {size + low + high} ({size} + {low} + {high})"
        )
    return (size + low + high - effective) // stride + 1


def pool_size(who: str, axis: str, size: int, kernel: int, stride: int, pad: int, dilation: int, ceil: bool) -> int:
    """As conv_size; with `ceil` the last partial window counts if it starts inside the input or its left padding."""
    out = conv_size(who, axis, size, kernel, stride, pad, pad, dilation)
    if ceil:
        effective = dilation * (kernel - 1) + 1
        out = -(-(size + 2 * pad - effective) // stride) + 1
        if (out - 1) * stride >= size + pad:
            out -= 1
    return out


def checked(who: str, *specs: Spec) -> tuple[Spec, ...]:
    """`specs`, unless one is larger than memory can be."""
    for spec in specs:
        if math.prod(spec.shape) * 8 > MAX_BYTES:
            raise LimitError(f"{who}: a result of shape {spec.shape} is larger than this machine can address")
    return specs


def need_rank(who: str, name: str, spec: Spec, *ranks: int) -> None:
    if len(spec.shape) not in ranks:
        wanted = " or ".join(map(str, ranks))
        raise ShapeError(f"{who}: {name} must have rank {wanted}, got rank {len(spec.shape)} with shape {spec.shape}")


def need_shape(who: str, name: str, spec: Spec | None, shape: Shape, letters: str) -> None:
    if spec is not None and spec.shape != shape:
        raise ShapeError(f"{who}: {name} must have shape {letters} = {shape}, got {spec.shape}")


def need_pixels(who: str, spec: Spec) -> None:
    if 0 in spec.shape[1:]:
        raise ShapeError(f"{who}: only the batch may be empty, got an axis of size 0 in shape {spec.shape}")


# ---- convolution and linear

def _conv2d(x: Spec, w: Spec, b: Spec | None, *, stride: Shape, padding: Shape, dilation: Shape, groups: int,
            activation: int) -> tuple[Spec, ...]:
    need_rank("conv2d", "x", x, 4)
    need_rank("conv2d", "w", w, 4)
    need_pixels("conv2d", x)
    n, c, h, wide = x.shape
    o, cg, kh, kw = w.shape
    if 0 in w.shape:
        raise ShapeError(f"conv2d: w must have no axis of size 0, got shape {w.shape}")
    if c % groups or o % groups:
        raise ShapeError(f"conv2d: C and O must be multiples of groups = {groups}, got C = {c} and O = {o}")
    if cg != c // groups:
        raise ShapeError(
            f"conv2d: w must have C/groups = {c // groups} input channels, got {cg} "
            f"(x {x.shape}, w {w.shape}, groups={groups})"
        )
    need_shape("conv2d", "b", b, (o,), "(O,)")
    (sh, sw), (top, bottom, left, right), (dh, dw) = stride, padding, dilation
    oh = conv_size("conv2d", "height", h, kh, sh, top, bottom, dh)
    ow = conv_size("conv2d", "width", wide, kw, sw, left, right, dw)
    return checked("conv2d", Spec((n, o, oh, ow), x.dtype))


def _conv2d_dx(dy: Spec, w: Spec, *, size: Shape, stride: Shape, padding: Shape, dilation: Shape,
               groups: int) -> tuple[Spec, ...]:
    x = Spec((dy.shape[0], w.shape[1] * groups, *size), dy.dtype)
    (y,) = _conv2d(x, w, None, stride=stride, padding=padding, dilation=dilation, groups=groups, activation=0)
    need_shape("conv2d_dx", "dy", dy, y.shape, "(N, O, OH, OW)")
    return checked("conv2d_dx", x)


def _conv2d_dw(x: Spec, dy: Spec, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape,
               groups: int) -> tuple[Spec, ...]:
    need_rank("conv2d_dw", "dy", dy, 4)
    need_rank("conv2d_dw", "x", x, 4)
    w = Spec((dy.shape[1], x.shape[1] // groups, *kernel), x.dtype)
    (y,) = _conv2d(x, w, None, stride=stride, padding=padding, dilation=dilation, groups=groups, activation=0)
    need_shape("conv2d_dw", "dy", dy, y.shape, "(N, O, OH, OW)")
    return (w,)


def _linear(x: Spec, w: Spec, b: Spec | None, *, activation: int) -> tuple[Spec, ...]:
    need_rank("linear", "x", x, 2)
    need_rank("linear", "w", w, 2)
    need_pixels("linear", x)
    if 0 in w.shape or x.shape[1] != w.shape[1]:
        raise ShapeError(f"linear: w must have shape (O, C) with C = {x.shape[1]}, got {w.shape} (x {x.shape})")
    need_shape("linear", "b", b, (w.shape[0],), "(O,)")
    return checked("linear", Spec((x.shape[0], w.shape[0]), x.dtype))


row("conv2d", "x w b? -> y", "stride:2 padding:4 dilation:2 groups:1 activation:1", _conv2d)
row("conv2d_dx", "dy w -> dx", "size:2 stride:2 padding:4 dilation:2 groups:1", _conv2d_dx)
row("conv2d_dw", "x dy -> dw", "kernel:2 stride:2 padding:4 dilation:2 groups:1", _conv2d_dw)
row("linear", "x w b? -> y", "activation:1", _linear)
row("linear_dx", "dy w -> dx", "", lambda dy, w: checked("linear_dx", Spec((dy.shape[0], w.shape[1]), dy.dtype)))
row("linear_dw", "x dy -> dw", "", lambda x, dy: (Spec((dy.shape[1], x.shape[1]), x.dtype),))
row("flip", "w -> w2", "", lambda w: (w,))


# ---- the packed implicit GEMM that convolution and linear are lowered to (lower.py)

def _pack_filters(w: Spec, *, groups: int, for_dx: int, stride: Shape, dilation: Shape, nr: int) -> tuple[Spec, ...]:
    o, cg, kh, kw = w.shape
    columns, depth = (cg, kh * kw * (o // groups)) if for_dx else (o // groups, kh * kw * cg)
    return checked("pack_filters", Spec((groups * -(-columns // nr), depth, nr), w.dtype))


def _conv2d_gemm(x: Spec, wp: Spec, b: Spec | None, *, out_channels: int, kernel: Shape, stride: Shape,
                 padding: Shape, dilation: Shape, groups: int, activation: int) -> tuple[Spec, ...]:
    w = Spec((out_channels, x.shape[1] // groups, *kernel), x.dtype)
    return _conv2d(x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups, activation=activation)


def _conv2d_dx_gemm(dy: Spec, wp: Spec, *, in_channels: int, size: Shape, kernel: Shape, stride: Shape,
                    padding: Shape, dilation: Shape, groups: int) -> tuple[Spec, ...]:
    w = Spec((dy.shape[1], in_channels // groups, *kernel), dy.dtype)
    return _conv2d_dx(dy, w, size=size, stride=stride, padding=padding, dilation=dilation, groups=groups)


row("pack_filters", "w -> wp", "groups:1 for_dx:1 stride:2 dilation:2 nr:1", _pack_filters, algorithm=True)
row("conv2d_gemm", "x wp b? -> y",
    "out_channels:1 kernel:2 stride:2 padding:4 dilation:2 groups:1 activation:1", _conv2d_gemm, algorithm=True)
row("conv2d_dx_gemm", "dy wp -> dx",
    "in_channels:1 size:2 kernel:2 stride:2 padding:4 dilation:2 groups:1", _conv2d_dx_gemm, algorithm=True)


# ---- pooling

def _pool(who: str, x: Spec, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, ceil: int) -> Shape:
    need_rank(who, "x", x, 4)
    need_pixels(who, x)
    sizes = []
    for axis, i in (("height", 0), ("width", 1)):
        if padding[i] * 2 > dilation[i] * (kernel[i] - 1) + 1:
            raise ShapeError(
                f"{who}: padding must be at most half the effective kernel "
                f"{dilation[i] * (kernel[i] - 1) + 1}, got {padding[i]} ({axis})"
            )
        size = pool_size(who, axis, x.shape[2 + i], kernel[i], stride[i], padding[i], dilation[i], bool(ceil))
        starts = (j * stride[i] - padding[i] for j in range(min(size, -(-padding[i] // stride[i]))))
        # Of a window that starts in the padding, the first tap not before the input is at start mod dilation.
        if dilation[i] > x.shape[2 + i] and any(start % dilation[i] >= x.shape[2 + i] for start in starts):
            raise ShapeError(
                f"{who}: every window must hold a pixel, got windows of nothing but padding ({axis} {x.shape[2 + i]}, "
                f"kernel {kernel[i]}, padding {padding[i]}, dilation {dilation[i]})"
            )
        sizes.append(size)
    return (*x.shape[:2], *sizes)


def _max_pool(x: Spec, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape,
              ceil: int) -> tuple[Spec, ...]:
    y = _pool("max_pool2d", x, kernel, stride, padding, dilation, ceil)
    if kernel[0] * kernel[1] > MAX_WINDOW:
        raise LimitError(f"max_pool2d: a window must have at most {MAX_WINDOW} positions, got {kernel[0] * kernel[1]}")
    index = "uint8" if kernel[0] * kernel[1] <= 256 else "uint16"
    return checked("max_pool2d", Spec(y, x.dtype), Spec(y, index))


def _max_pool_dx(dy: Spec, index: Spec, *, size: Shape, kernel: Shape, stride: Shape, padding: Shape,
                 dilation: Shape) -> tuple[Spec, ...]:
    need_shape("max_pool_dx", "index", index, dy.shape, "that of dy")
    return checked("max_pool_dx", Spec((*dy.shape[:2], *size), dy.dtype))


def _avg_pool(x: Spec, *, kernel: Shape, stride: Shape, padding: Shape, ceil: int,
              count_include_pad: int) -> tuple[Spec, ...]:
    return checked("avg_pool2d", Spec(_pool("avg_pool2d", x, kernel, stride, padding, (1, 1), ceil), x.dtype))


def _avg_pool_dx(dy: Spec, *, size: Shape, kernel: Shape, stride: Shape, padding: Shape,
                 count_include_pad: int) -> tuple[Spec, ...]:
    return checked("avg_pool_dx", Spec((*dy.shape[:2], *size), dy.dtype))


row("max_pool", "x -> y index?", "kernel:2 stride:2 padding:2 dilation:2 ceil:1", _max_pool)
row("max_pool_dx", "dy index -> dx", "size:2 kernel:2 stride:2 padding:2 dilation:2", _max_pool_dx)
row("avg_pool", "x -> y", "kernel:2 stride:2 padding:2 ceil:1 count_include_pad:1", _avg_pool)
row("avg_pool_dx", "dy -> dx", "size:2 kernel:2 stride:2 padding:2 count_include_pad:1", _avg_pool_dx)


# ---- normalisation; channels are axis 1 of a rank 2 or rank 4 tensor

def _per_channel(who: str, x: Spec, **vectors: Spec | None) -> Spec:
    need_rank(who, "x", x, 2, 4)
    need_pixels(who, x)
    for name, vector in vectors.items():
        need_shape(who, name, vector, x.shape[1:2], "(C,)")
    return Spec(x.shape[1:2], x.dtype)


def _batch_moments(x: Spec) -> tuple[Spec, ...]:
    c = _per_channel("batch_norm", x)
    if x.shape[0] and math.prod(x.shape) // x.shape[1] == 1:
        raise ShapeError(f"batch_norm: training needs more than 1 value per channel, got x {x.shape}")
    return c, c, c


def _scale_shift(x: Spec, mean: Spec, var: Spec, gamma: Spec | None, beta: Spec | None, *,
                 eps: float) -> tuple[Spec, ...]:
    _per_channel("batch_norm", x, mean=mean, var=var, gamma=gamma, beta=beta)
    return (x,)


def _fold_norm(w: Spec, b: Spec | None, mean: Spec, var: Spec, gamma: Spec | None, beta: Spec | None, *,
               eps: float) -> tuple[Spec, ...]:
    return w, Spec(w.shape[:1], w.dtype)


row("channel_sum", "x -> y", "", lambda x: (_per_channel("channel_sum", x),))
row("batch_moments", "x -> mean var unbiased?", "", _batch_moments)
row("batch_moments_dx", "x mean dmean? dvar? dunbiased? -> dx", "", lambda x, *_: (x,), overwrites=((0, 0),))
row("scale_shift", "x mean var gamma? beta? -> y", "eps:f", _scale_shift, overwrites=((0, 0),))
row("scale_shift_sums", "x dy mean var -> sum_dy sum_dy_xhat", "eps:f",
    lambda x, dy, mean, var, *, eps: (mean, mean))
row("scale_shift_dx", "dy var gamma? -> dx", "eps:f", lambda dy, var, gamma, *, eps: (dy,), overwrites=((0, 0),))
row("scale_shift_dstats", "sum_dy sum_dy_xhat var gamma? -> dmean dvar", "eps:f",
    lambda sum_dy, sum_dy_xhat, var, gamma, *, eps: (sum_dy, sum_dy))
row("fold_norm", "w b? mean var gamma? beta? -> w2 b2", "eps:f", _fold_norm)
row("lerp", "old new -> y", "weight:f", lambda old, new, *, weight: (old,), overwrites=((0, 0),), pointwise=True)


# ---- elementwise; a and b broadcast over axes of size 1

def broadcast(who: str, a: Spec, b: Spec) -> Spec:
    """Shape of an elementwise result: equal ranks, each pair of sizes equal or one of them 1."""
    if len(a.shape) != len(b.shape):
        raise ShapeError(f"{who}: both must have the same rank, got {a.shape} and {b.shape}")
    for i, j in zip(a.shape, b.shape, strict=True):
        if i != j and 1 not in (i, j):
            raise ShapeError(f"{who}: sizes must be equal or 1 on every axis, got {a.shape} and {b.shape}")
    out = tuple(j if i == 1 else i for i, j in zip(a.shape, b.shape, strict=True))
    return checked(who, Spec(out, a.dtype))[0]


def _same(x: Spec, *others: Spec | None, **_: Any) -> tuple[Spec, ...]:
    return (x,)


def _sum_to(x: Spec, *, axes: int) -> tuple[Spec, ...]:
    return (Spec(tuple(1 if axes >> i & 1 else size for i, size in enumerate(x.shape)), x.dtype),)


for _name in ("relu", "tanh", "sigmoid"):
    row(_name, "x -> y", "", _same, overwrites=((0, 0),), pointwise=True)
    row(f"{_name}_grad", "y dy -> dx", "", _same, overwrites=((0, 0), (0, 1)), pointwise=True)
row("clip", "x -> y", "low:f high:f", _same, overwrites=((0, 0),), pointwise=True)
row("clip_grad", "x dy -> dx", "low:f high:f", _same, overwrites=((0, 0), (0, 1)), pointwise=True)
row("scale", "x -> y", "factor:f", _same, overwrites=((0, 0),), pointwise=True)
row("copy", "x -> y", "", _same, pointwise=True)
for _name in ("add", "sub", "mul", "div"):
    row(_name, "a b -> y", "", lambda a, b, _who=_name: (broadcast(_who, a, b),), overwrites=((0, 0), (0, 1)),
        pointwise=True)
row("sum_to", "x -> y", "axes:1", _sum_to)
row("dropout", "x seed step -> y", "p:f key:1 first:1", _same, overwrites=((0, 0),))


# ---- losses and their gradients; classes are axis 1

def _softmax(x: Spec) -> tuple[Spec, ...]:
    need_rank("softmax", "x", x, 2, 4)
    need_pixels("softmax", x)
    return (x,)


def _cross_entropy(x: Spec, targets: Spec, weight: Spec | None, *, smoothing: float) -> tuple[Spec, ...]:
    need_rank("cross_entropy", "logits", x, 2)
    need_pixels("cross_entropy", x)
    need_shape("cross_entropy", "targets", targets, x.shape[:1], "(N,)")
    need_shape("cross_entropy", "weight", weight, x.shape[1:], "(classes,)")
    return Spec((), x.dtype), x


def _mse(x: Spec, target: Spec) -> tuple[Spec, ...]:
    need_shape("mse", "target", target, x.shape, "that of x")
    return (Spec((), x.dtype),)


row("softmax", "x -> y", "", _softmax, overwrites=((0, 0),))
row("softmax_grad", "y dy -> dx", "", _same, overwrites=((0, 0), (0, 1)))
row("log_softmax", "x -> y", "", _softmax, overwrites=((0, 0),))
row("log_softmax_grad", "y dy -> dx", "", _same, overwrites=((0, 0), (0, 1)))
row("cross_entropy", "x targets weight? -> loss probs?", "smoothing:f", _cross_entropy)
row("cross_entropy_dx", "probs targets weight? dloss -> dx", "smoothing:f", _same, overwrites=((0, 0),))
row("mse", "x target -> loss", "", _mse)
row("mse_dx", "x target dloss -> dx", "", _same, overwrites=((0, 0), (0, 1)))
row("count_correct", "x targets -> count", "", lambda x, targets: (Spec((), x.dtype),))
row("check_finite", "x ->", "", lambda x: ())
row("fill_nan", "x ->", "", lambda x: ())  # STRIATE_CHECK=1: what is dead must not be read again


# ---- shape; `start` and `shape` are padded to four axes with 0 and 1

def _window(x: Spec, *, start: Shape, shape: Shape, fill: float) -> tuple[Spec, ...]:
    return checked("window", Spec(shape[: len(x.shape)], x.dtype))


def _concat(*xs: Spec, axis: int) -> tuple[Spec, ...]:
    first = xs[0].shape
    for i, x in enumerate(xs):
        if len(x.shape) != len(first) or any(
                a != b for j, (a, b) in enumerate(zip(x.shape, first, strict=True)) if j != axis):
            raise ShapeError(f"concat: shapes must agree but on axis {axis}, got {first} and {x.shape} at input {i}")
    total = sum(x.shape[axis] for x in xs)
    return checked("concat", Spec((*first[:axis], total, *first[axis + 1:]), xs[0].dtype))


row("window", "x -> y", "start:4 shape:4 fill:f", _window)
row("concat", "xs* -> y", "axis:1", _concat)
row("flatten", "x -> y", "", lambda x: (Spec((x.shape[0], math.prod(x.shape[1:])), x.dtype),))
row("to_dense", "x -> w", "", lambda x: (x,))
row("from_dense", "w -> x", "", lambda w: (w,))
row("unflatten", "x -> y", "shape:3", lambda x, *, shape: (Spec((x.shape[0], *shape), x.dtype),))


# ---- optimisers: one call a parameter; neighbours with equal scalars are merged into one native call

row("sgd", "w g v? lr -> w2 v2?", "momentum:f nesterov:1 weight_decay:f",
    lambda w, g, v, lr, **_: (w, w), overwrites=((0, 0), (1, 2)), mergeable=True)
row("adam", "w g m v lr step -> w2 m2 v2", "beta1:f beta2:f eps:f weight_decay:f decoupled:1",
    lambda w, g, m, v, lr, step, **_: (w, w, w), overwrites=((0, 0), (1, 2), (2, 3)), mergeable=True)
