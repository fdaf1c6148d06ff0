"""Rows of pooling."""

from __future__ import annotations

from striate.errors import LimitError, ShapeError
from striate.kernels.contract.row import (
    MAX_WINDOW,
    Shape,
    Spec,
    checked,
    need_pixels,
    need_rank,
    need_shape,
    pool_size,
    row,
)


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
        extent, step, gap = x.shape[2 + i], stride[i], dilation[i]
        size = pool_size(who, axis, extent, kernel[i], step, padding[i], gap, bool(ceil))
        starts = range(-padding[i], min(size * step - padding[i], 0), step)  # of windows that begin in the padding
        if gap > extent and any(start % gap >= extent for start in starts):  # start mod gap: the first tap inside
            raise ShapeError(f"{who}: every window must hold a pixel, got one of nothing but padding ({axis} {extent})")
        sizes.append(size)
    return (*x.shape[:2], *sizes)


def _max_pool(x: Spec, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape,
              ceil: int) -> tuple[Spec, ...]:
    y = _pool("max_pool2d", x, kernel, stride, padding, dilation, ceil)
    if kernel[0] * kernel[1] > MAX_WINDOW:
        raise LimitError(f"max_pool2d: a window must have at most {MAX_WINDOW} positions, got {kernel[0] * kernel[1]}")
    index = "uint8" if kernel[0] * kernel[1] <= 256 else "uint16"
    return checked("max_pool2d", Spec(y, x.dtype), Spec(y, index))


def _avg_pool(x: Spec, *, kernel: Shape, stride: Shape, padding: Shape, ceil: int,
              count_include_pad: int) -> tuple[Spec, ...]:
    return checked("avg_pool2d", Spec(_pool("avg_pool2d", x, kernel, stride, padding, (1, 1), ceil), x.dtype))


def _pool_dx(dy: Spec, index: Spec | None = None, y: Spec | None = None, *, size: Shape, kernel: Shape, stride: Shape,
             padding: Shape, dilation: Shape = (1, 1), count_include_pad: int = 0) -> tuple[Spec, ...]:
    """Both gradients: dy must be what one of the two rounding modes makes of `size`."""
    who = "avg_pool_dx" if index is None else "max_pool_dx"
    for name, spec in (("index", index), ("y", y)):
        need_shape(who, name, spec, dy.shape, "that of dy")
    x = Spec((*dy.shape[:2], *size), dy.dtype)
    if dy.shape not in [_pool(who, x, kernel, stride, padding, dilation, ceil) for ceil in (0, 1)]:
        raise ShapeError(f"{who}: dy must have the shape of the pooled map, got {dy.shape} for (H, W) = {size}")
    return checked(who, x)


def _lp_pool(x: Spec, *, power: float, kernel: Shape, stride: Shape, ceil: int) -> tuple[Spec, ...]:
    return checked("lp_pool2d", Spec(_pool("lp_pool2d", x, kernel, stride, (0, 0), (1, 1), ceil), x.dtype))


def _lp_pool_dx(x: Spec, y: Spec, dy: Spec, *, power: float, kernel: Shape, stride: Shape) -> tuple[Spec, ...]:
    need_shape("lp_pool_dx", "y", y, dy.shape, "that of dy")
    if dy.shape not in [_pool("lp_pool_dx", x, kernel, stride, (0, 0), (1, 1), ceil) for ceil in (0, 1)]:
        raise ShapeError(f"lp_pool_dx: dy must have the shape of the pooled map, got {dy.shape} for x {x.shape}")
    return (x,)


def _adaptive(who: str, name: str, x: Spec, size: Shape) -> tuple[Spec, ...]:
    """Maps of another size, which may be larger."""
    need_rank(who, name, x, 4)
    need_pixels(who, x)
    return checked(who, Spec((*x.shape[:2], *size), x.dtype))


row("max_pool", "x -> y index?", "kernel:2 stride:2 padding:2 dilation:2 ceil:1", _max_pool)
row("max_pool_dx", "dy index y? -> dx", "size:2 kernel:2 stride:2 padding:2 dilation:2", _pool_dx)
row("avg_pool", "x -> y", "kernel:2 stride:2 padding:2 ceil:1 count_include_pad:1", _avg_pool)
row("avg_pool_dx", "dy -> dx", "size:2 kernel:2 stride:2 padding:2 count_include_pad:1", _pool_dx)
row("lp_pool", "x -> y", "power:f kernel:2 stride:2 ceil:1", _lp_pool)
row("lp_pool_dx", "x y dy -> dx", "power:f kernel:2 stride:2", _lp_pool_dx)
row("adaptive_avg_pool", "x -> y", "out:2", lambda x, *, out: _adaptive("adaptive_avg_pool2d", "x", x, out))
row("adaptive_avg_pool_dx", "dy -> dx", "size:2", lambda dy, *, size: _adaptive("adaptive_avg_pool_dx", "dy", dy, size))
