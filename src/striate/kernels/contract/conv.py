"""Rows of convolution and linear, and of the packed implicit GEMM they are lowered to (lower.py)."""

from __future__ import annotations

import functools
from typing import Any

from striate.errors import ShapeError
from striate.kernels.contract.row import ROWS, Shape, Spec, checked, conv_size, need_pixels, need_rank, need_shape, row

Results = tuple[Spec | None, ...]
# The pooling of conv2d_max_pool.
HALVED: dict[str, Any] = dict(kernel=(2, 2), stride=(2, 2), padding=(0, 0), dilation=(1, 1))  # as its gradient takes it
HALVING: dict[str, Any] = HALVED | dict(ceil=0)


def _conv2d(x: Spec, w: Spec, b: Spec | None, r: Spec | None = None, *, stride: Shape, padding: Shape, dilation: Shape,
            groups: int, activation: int) -> tuple[Spec, ...]:
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
    need_shape("conv2d", "r", r, (n, o, oh, ow), "(N, O, OH, OW)")
    return checked("conv2d", Spec((n, o, oh, ow), x.dtype))


def _conv2d_moments(x: Spec, w: Spec, b: Spec | None, **at: Any) -> Results:
    (y,) = _conv2d(x, w, b, **at, activation=0)
    return y, *ROWS["batch_moments"].shapes(y)


def _conv2d_max_pool(x: Spec, w: Spec, b: Spec | None, **at: Any) -> tuple[Spec, ...]:
    (y,) = _conv2d(x, w, b, **at)
    return ROWS["max_pool"].shapes(y, **HALVING)


def _conv2d_dx(dy: Spec, w: Spec, *, size: Shape, stride: Shape, padding: Shape, dilation: Shape,
               groups: int) -> tuple[Spec, ...]:
    x = Spec((dy.shape[0], w.shape[1] * groups, *size), dy.dtype)
    (y,) = _conv2d(x, w, None, stride=stride, padding=padding, dilation=dilation, groups=groups, activation=0)
    need_shape("conv2d_dx", "dy", dy, y.shape, "(N, O, OH, OW)")
    return checked("conv2d_dx", x)


def _conv2d_dx_add(dy: Spec, w: Spec, r: Spec, **at: Any) -> tuple[Spec, ...]:
    (dx,) = _conv2d_dx(dy, w, **at)
    need_shape("conv2d_dx_add", "r", r, dx.shape, "(N, C, H, W)")
    return (dx,)


def _conv2d_dw(x: Spec, dy: Spec, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape,
               groups: int) -> tuple[Spec, ...]:
    need_rank("conv2d_dw", "dy", dy, 4)
    need_rank("conv2d_dw", "x", x, 4)
    w = Spec((dy.shape[1], x.shape[1] // groups, *kernel), x.dtype)
    (y,) = _conv2d(x, w, None, stride=stride, padding=padding, dilation=dilation, groups=groups, activation=0)
    need_shape("conv2d_dw", "dy", dy, y.shape, "(N, O, OH, OW)")
    return (w,)


def _conv2d_max_pool_dx(dy: Spec, index: Spec, y: Spec | None, w: Spec, *, size: Shape, **at: Any) -> tuple[Spec, ...]:
    x = Spec((dy.shape[0], w.shape[1] * at["groups"], *size), dy.dtype)
    _need_pooled("conv2d_max_pool_dx", x, w, dy, index, y, at)
    return checked("conv2d_max_pool_dx", x)


def _conv2d_max_pool_dw(x: Spec, dy: Spec, index: Spec, y: Spec | None, *, kernel: Shape, **at: Any) -> Results:
    need_rank("conv2d_max_pool_dw", "dy", dy, 4)
    need_rank("conv2d_max_pool_dw", "x", x, 4)
    w = Spec((dy.shape[1], x.shape[1] // at["groups"], *kernel), x.dtype)
    _need_pooled("conv2d_max_pool_dw", x, w, dy, index, y, at)
    return w, Spec(w.shape[:1], x.dtype)


def _need_pooled(who: str, x: Spec, w: Spec, dy: Spec, index: Spec, y: Spec | None, at: dict[str, Any]) -> None:
    pooled, _ = _conv2d_max_pool(x, w, None, **at, activation=0)
    for name, spec in (("dy", dy), ("index", index), ("y", y)):
        need_shape(who, name, spec, pooled.shape, "that of the pooled map")


def _linear(x: Spec, w: Spec, b: Spec | None, *, activation: int) -> tuple[Spec, ...]:
    need_rank("linear", "x", x, 2)
    need_rank("linear", "w", w, 2)
    need_pixels("linear", x)
    if 0 in w.shape or x.shape[1] != w.shape[1]:
        raise ShapeError(f"linear: w must have shape (O, C) with C = {x.shape[1]}, got {w.shape} (x {x.shape})")
    need_shape("linear", "b", b, (w.shape[0],), "(O,)")
    return checked("linear", Spec((x.shape[0], w.shape[0]), x.dtype))


def _rbf(x: Spec, w: Spec) -> tuple[Spec, ...]:
    need_rank("rbf", "x", x, 2)
    need_rank("rbf", "centers", w, 2)
    need_pixels("rbf", x)
    if 0 in w.shape or x.shape[1] != w.shape[1]:
        raise ShapeError(f"rbf: centers must have shape (K, C) with C = {x.shape[1]}, got {w.shape} (x {x.shape})")
    return checked("rbf", Spec((x.shape[0], w.shape[0]), x.dtype))


row("conv2d", "x w b? r? -> y", "stride:2 padding:4 dilation:2 groups:1 activation:1", _conv2d)
row("conv2d_moments", "x w b? -> y mean var unbiased?", "stride:2 padding:4 dilation:2 groups:1", _conv2d_moments)
row("conv2d_max_pool", "x w b? -> y index?", "stride:2 padding:4 dilation:2 groups:1 activation:1", _conv2d_max_pool)
row("conv2d_dx", "dy w -> dx", "size:2 stride:2 padding:4 dilation:2 groups:1", _conv2d_dx)
row("conv2d_dx_add", "dy w r -> dx", "size:2 stride:2 padding:4 dilation:2 groups:1", _conv2d_dx_add)
row("conv2d_dw", "x dy -> dw", "kernel:2 stride:2 padding:4 dilation:2 groups:1", _conv2d_dw)
row("conv2d_max_pool_dx", "dy index y? w -> dx", "size:2 stride:2 padding:4 dilation:2 groups:1", _conv2d_max_pool_dx)
row("conv2d_max_pool_dw", "x dy index y? -> dw db?", "kernel:2 stride:2 padding:4 dilation:2 groups:1",
    _conv2d_max_pool_dw)
row("linear", "x w b? -> y", "activation:1", _linear)
row("linear_dx", "dy w -> dx", "", lambda dy, w: checked("linear_dx", Spec((dy.shape[0], w.shape[1]), dy.dtype)))
row("linear_dw", "x dy -> dw", "", lambda x, dy: (Spec((dy.shape[1], x.shape[1]), x.dtype),))
row("rbf", "x w -> y", "", _rbf)
row("flip", "w -> w2", "", lambda w: (w,))


def _pack_filters(w: Spec, *, groups: int, for_dx: int, stride: Shape, dilation: Shape, nr: int) -> tuple[Spec, ...]:
    o, cg, kh, kw = w.shape
    columns, depth = (cg, kh * kw * (o // groups)) if for_dx else (o // groups, kh * kw * cg)
    return checked("pack_filters", Spec((groups * -(-columns // nr), depth, nr), w.dtype))


def _need_panels(who: str, wp: Spec, groups: int, columns: int, depth: int) -> None:
    need_rank(who, "wp", wp, 3)
    need_shape(who, "wp", wp, (groups * -(-columns // wp.shape[2]), depth, wp.shape[2]), "(panels, depth, nr)")


def _conv2d_gemm(x: Spec, wp: Spec, b: Spec | None, r: Spec | None, *, out_channels: int, kernel: Shape, stride: Shape,
                 padding: Shape, dilation: Shape, groups: int, activation: int, moments: int) -> Results:
    w = Spec((out_channels, x.shape[1] // groups, *kernel), x.dtype)
    _need_panels("conv2d_gemm", wp, groups, out_channels // groups, kernel[0] * kernel[1] * w.shape[1])
    (y,) = _conv2d(x, w, b, r, stride=stride, padding=padding, dilation=dilation, groups=groups, activation=activation)
    return y, *moments_of(y, moments)


def _conv2d_gemm_pool(x: Spec, wp: Spec, b: Spec | None, *, out_channels: int, kernel: Shape, **at: Any) -> Results:
    w = Spec((out_channels, x.shape[1], *kernel), x.dtype)
    _need_panels("conv2d_gemm_pool", wp, 1, out_channels, kernel[0] * kernel[1] * x.shape[1])
    return _conv2d_max_pool(x, w, b, **at, groups=1)


def moments_of(y: Spec, wanted: int) -> Results:
    """What batch_moments makes of `y`, or nothing in its place."""
    return ROWS["batch_moments"].shapes(y) if wanted else (None, None, None)


def _conv2d_dx_gemm(dy: Spec, wp: Spec, r: Spec | None, *, in_channels: int, size: Shape, kernel: Shape, stride: Shape,
                    padding: Shape, dilation: Shape, groups: int) -> tuple[Spec, ...]:
    w = Spec((dy.shape[1], in_channels // groups, *kernel), dy.dtype)
    _need_panels("conv2d_dx_gemm", wp, groups, w.shape[1], kernel[0] * kernel[1] * dy.shape[1] // groups)
    (dx,) = _conv2d_dx(dy, w, size=size, stride=stride, padding=padding, dilation=dilation, groups=groups)
    need_shape("conv2d_dx_gemm", "r", r, dx.shape, "(N, C, H, W)")
    return (dx,)


def _conv2d_dx_gemm_sums(dy: Spec, wp: Spec, r: Spec | None, x: Spec, *norm: Spec | None, activation: int,
                         eps: float) -> Results:
    at: dict[str, Any] = dict(kernel=(1, 1), stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1)
    (dx,) = _conv2d_dx_gemm(dy, wp, r, in_channels=x.shape[1], size=x.shape[2:], **at)
    return sums_of(dx, x, *norm, activation=activation, eps=eps)


def sums_of(dx: Spec, x: Spec, *norm: Spec | None, activation: int, eps: float) -> Results:
    """What norm_act_sums makes of `dx`; x, mean, var, gamma, beta and y as it takes them."""
    sum_dz, sum_dz_xhat, dz = ROWS["norm_act_sums"].shapes(x, dx, *norm, eps=eps, activation=activation)
    return dz, sum_dz, sum_dz_xhat


# What the gradients that go past the map before the pool are computed for.
PLAIN: dict[str, Any] = dict(dilation=(1, 1), groups=1)

row("pack_filters", "w -> wp", "groups:1 for_dx:1 stride:2 dilation:2 nr:1", _pack_filters, algorithm=True)
row("conv2d_gemm", "x wp b? r? -> y mean? var? unbiased?",
    "out_channels:1 kernel:2 stride:2 padding:4 dilation:2 groups:1 activation:1 moments:1", _conv2d_gemm,
    algorithm=True)
row("conv2d_gemm_pool", "x wp b? -> y index?",
    "out_channels:1 kernel:2 stride:2 padding:4 dilation:2 activation:1", _conv2d_gemm_pool, algorithm=True)
row("conv2d_dx_gemm", "dy wp r? -> dx",
    "in_channels:1 size:2 kernel:2 stride:2 padding:4 dilation:2 groups:1", _conv2d_dx_gemm, algorithm=True)
row("conv2d_dx_gemm_sums", "dy wp r? x mean var gamma? beta? y? -> dz sum_dz sum_dz_xhat", "activation:1 eps:f",
    _conv2d_dx_gemm_sums, algorithm=True)
row("conv2d_pool_dx", "dy index y? w -> dx", "size:2 stride:2 padding:4",
    functools.partial(_conv2d_max_pool_dx, **PLAIN), algorithm=True)
row("conv2d_pool_dw", "x dy index y? -> dw db?", "kernel:2 stride:2 padding:4",
    functools.partial(_conv2d_max_pool_dw, **PLAIN), algorithm=True)
