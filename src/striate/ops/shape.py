"""Operations that move elements without computing: concat, split, slice, pads, shuffle, reshape. Axes are logical."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from striate.errors import ConfigError, ShapeError
from striate.graph import Cost, Op
from striate.kernels.contract import ROWS, Shape, Spec, checked, need_rank
from striate.ops.arguments import axis_of, integer, number, sides
from striate.ops.dispatch import need_float, run, spec_of

Kernels = Any
T = Any


def _free(*_: Any, **__: Any) -> Cost:
    return Cost()


def _four(sizes: Sequence[int], fill: int) -> tuple[int, int, int, int]:
    a, b, c, d = (*sizes, *(fill,) * (4 - len(sizes)))
    return a, b, c, d


def _window(k: Kernels, x: T, start: Sequence[int], shape: Sequence[int], fill: float = 0.0) -> T:
    return k.window(x, start=_four(start, 0), shape=_four(shape, 1), fill=fill)


def _ranked(who: str, x: Any) -> Shape:
    need_rank(who, "x", Spec(spec_of(who, x)), 1, 2, 3, 4)
    return spec_of(who, x)


# ---- slice

def slice_shape(x: Spec, *, axis: int, start: int, stop: int) -> tuple[Spec, ...]:
    need_float("slice", x)
    if axis == 0:
        raise ConfigError("slice: axis 0 is the batch; slice the array before it enters the network")
    if not 0 <= start < stop <= x.shape[axis]:
        raise ShapeError(
            f"slice: needs 0 <= start < stop <= {x.shape[axis]} on axis {axis}, got start = {start} and stop = {stop} "
            f"(x {x.shape})"
        )
    return (Spec((*x.shape[:axis], stop - start, *x.shape[axis + 1 :]), x.dtype),)


def _offset(axis: int, start: int) -> tuple[int, ...]:
    return (0,) * axis + (start,) + (0,) * (3 - axis)


def slice_forward(k: Kernels, x: T, *, axis: int, start: int, stop: int) -> tuple[T, Any]:
    shape = (*x.shape[:axis], stop - start, *x.shape[axis + 1 :])
    return _window(k, x, _offset(axis, start), shape), (x.shape,)


def slice_backward(k: Kernels, saved: Any, dy: T, *, axis: int, start: int, stop: int) -> tuple[T, ...]:
    (shape,) = saved
    return (_window(k, dy, _offset(axis, -start), shape),)


slice_op = Op("slice", slice_shape, slice_forward, slice_backward, _free)


def slice(x: T, start: int, stop: int, axis: int = 1, *, kernels: str = "native") -> T:
    """x[start:stop] along `axis` (not the batch).

    Raises: ShapeError unless 0 <= start < stop <= the axis' size.
    """
    at = axis_of("slice", axis, len(_ranked("slice", x)))
    params = dict(axis=at, start=integer("slice", "start", start, 0), stop=integer("slice", "stop", stop, 0))
    return run(slice_op, (x,), params, kernels)


# ---- split and concat

def split_shape(x: Spec, *, axis: int, sizes: Shape) -> tuple[Spec, ...]:
    need_float("split", x)
    if axis == 0:
        raise ConfigError("split: axis 0 is the batch; split the array before it enters the network")
    if sum(sizes) != x.shape[axis]:
        raise ShapeError(f"split: sizes must sum to {x.shape[axis]} on axis {axis}, got {sizes} (x {x.shape})")
    return tuple(Spec((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype) for size in sizes)


def split_forward(k: Kernels, x: T, *, axis: int, sizes: Shape) -> tuple[Any, Any]:
    parts = [
        slice_forward(k, x, axis=axis, start=sum(sizes[:i]), stop=sum(sizes[: i + 1]))[0] for i in range(len(sizes))
    ]
    return tuple(parts), (x.shape,)


def split_backward(k: Kernels, saved: Any, *dys: T, axis: int, sizes: Shape) -> tuple[T, ...]:
    (shape,) = saved
    given = next(dy for dy in dys if dy is not None)
    parts = []
    for dy, size in zip(dys, sizes, strict=True):
        part = (*shape[:axis], size, *shape[axis + 1 :])
        # an unused output has no gradient: a window that starts behind `given` holds only zeros
        parts.append(dy if dy is not None else _window(k, given, given.shape, part))
    return (k.concat(*parts, axis=axis),)


split_op = Op("split", split_shape, split_forward, split_backward, _free)


def split(x: T, sizes: Sequence[int], axis: int = 1, *, kernels: str = "native") -> tuple[T, ...]:
    """x cut along `axis` into parts of the given sizes.

    Raises: ShapeError if the sizes do not sum to the axis' size.
    """
    if isinstance(sizes, str) or not isinstance(sizes, Sequence) or not sizes:
        raise ConfigError(f"split: sizes must be a list of integers, got {sizes!r}")
    at = axis_of("split", axis, len(_ranked("split", x)))
    parts = run(split_op, (x,), dict(axis=at, sizes=tuple(integer("split", "sizes", s) for s in sizes)), kernels)
    return parts if isinstance(parts, tuple) else (parts,)


def concat_shape(*xs: Spec, axis: int) -> tuple[Spec, ...]:
    need_float("concat", *xs)
    return ROWS["concat"].shapes(*xs, axis=axis)


def concat_forward(k: Kernels, *xs: T, axis: int) -> tuple[T, Any]:
    return k.concat(*xs, axis=axis), tuple(x.shape[axis] for x in xs)


def concat_backward(k: Kernels, saved: Any, dy: T, *, axis: int) -> tuple[T, ...]:
    sizes = saved
    return tuple(split_forward(k, dy, axis=axis, sizes=sizes)[0])


concat_op = Op("concat", concat_shape, concat_forward, concat_backward, _free)


def concat(values: Sequence[T], axis: int = 1, *, kernels: str = "native") -> T:
    """The values one behind the other along `axis` (not the batch); their other sizes must agree."""
    if not isinstance(values, Sequence) or not values:
        raise ConfigError(f"concat: needs a list of at least one value, got {values!r:.80}")
    at = axis_of("concat", axis, len(_ranked("concat", values[0])))
    if at == 0:
        raise ConfigError("concat: axis 0 is the batch; join the arrays before they enter the network")
    return run(concat_op, tuple(values), dict(axis=at), kernels)


# ---- pad

def pad_shape(x: Spec, *, padding: Shape, value: float) -> tuple[Spec, ...]:
    need_float("pad", x)
    need_rank("pad", "x", x, 4)
    top, bottom, left, right = padding
    n, c, h, w = x.shape
    return checked("pad", Spec((n, c, h + top + bottom, w + left + right), x.dtype))


def pad_forward(k: Kernels, x: T, *, padding: Shape, value: float) -> tuple[T, Any]:
    top, bottom, left, right = padding
    n, c, h, w = x.shape
    return _window(k, x, (0, 0, -top, -left), (n, c, h + top + bottom, w + left + right), value), (x.shape,)


def pad_backward(k: Kernels, saved: Any, dy: T, *, padding: Shape, value: float) -> tuple[T, ...]:
    (shape,) = saved
    return (_window(k, dy, (0, 0, padding[0], padding[2]), shape),)


pad_op = Op("pad", pad_shape, pad_forward, pad_backward, _free)


def pad(x: T, padding: Any, value: float = 0.0, *, kernels: str = "native") -> T:
    """Maps with a border of `value`; padding as conv2d's: p, (height, width) or ((top, bottom), (left, right)).

    Shapes: x (N, C, H, W) -> (N, C, top + H + bottom, left + W + right).
    """
    params = dict(padding=sides("pad", "padding", padding), value=number("pad", "value", value))
    return run(pad_op, (x,), params, kernels)


# ---- maps of zeros behind those there are: the shortcut without parameters of He et al. 2015, option A

def pad_channels_shape(x: Spec, *, channels: int) -> tuple[Spec, ...]:
    need_float("pad_channels", x)
    need_rank("pad_channels", "x", x, 4)
    n, c, h, w = x.shape
    return checked("pad_channels", Spec((n, c + channels, h, w), x.dtype))


def pad_channels_forward(k: Kernels, x: T, *, channels: int) -> tuple[T, Any]:
    n, c, h, w = x.shape
    return _window(k, x, (0, 0, 0, 0), (n, c + channels, h, w)), (x.shape,)


def pad_channels_backward(k: Kernels, saved: Any, dy: T, *, channels: int) -> tuple[T, ...]:
    (shape,) = saved
    return (_window(k, dy, (0, 0, 0, 0), shape),)


pad_channels_op = Op("pad_channels", pad_channels_shape, pad_channels_forward, pad_channels_backward, _free)


def pad_channels(x: T, channels: int, *, kernels: str = "native") -> T:
    """x and `channels` maps of zeros behind its own. Shapes: (N, C, H, W) -> (N, C + channels, H, W)."""
    return run(pad_channels_op, (x,), dict(channels=integer("pad_channels", "channels", channels, 0)), kernels)


# ---- channel shuffle

def channel_shuffle_shape(x: Spec, *, groups: int) -> tuple[Spec, ...]:
    need_float("channel_shuffle", x)
    return ROWS["channel_shuffle"].shapes(x, groups=groups)


def channel_shuffle_forward(k: Kernels, x: T, *, groups: int) -> tuple[T, Any]:
    return k.channel_shuffle(x, groups=groups), ()


def channel_shuffle_backward(k: Kernels, saved: Any, dy: T, *, groups: int) -> tuple[T, ...]:
    return (k.channel_shuffle(dy, groups=dy.shape[1] // groups),)  # a matrix transposed again


channel_shuffle_op = Op("channel_shuffle", channel_shuffle_shape, channel_shuffle_forward, channel_shuffle_backward,
                        _free)


def channel_shuffle(x: T, groups: int, *, kernels: str = "native") -> T:
    """The channels in the order: the first of every group, the second of every group, ...

    Shapes: x (N, C, H, W) or (N, C) -> the same. Raises: ShapeError unless C is a multiple of groups.
    Ref: Zhang et al. 2017, arXiv 1707.01083, section 3.1.
    """
    params = dict(groups=integer("channel_shuffle", "groups", groups))
    return run(channel_shuffle_op, (x,), params, kernels)


# ---- flatten and reshape, in NCHW order as PyTorch has it

def _to_rows(k: Kernels, x: T) -> T:
    return k.flatten(x) if len(x.shape) == 4 else x.reshape((x.shape[0], math.prod(x.shape[1:])))


def _from_rows(k: Kernels, rows: T, shape: Shape) -> T:
    return k.unflatten(rows, shape=shape) if len(shape) == 3 else rows.reshape((rows.shape[0], *shape))


def reshape_shape(x: Spec, *, shape: Shape) -> tuple[Spec, ...]:
    need_float("reshape", x)
    need_rank("reshape", "x", x, 2, 3, 4)
    if math.prod(shape) != math.prod(x.shape[1:]):
        raise ShapeError(
            f"reshape: the shape per image must have {math.prod(x.shape[1:])} elements, got {shape} with "
            f"{math.prod(shape)} (x {x.shape})"
        )
    return (Spec((x.shape[0], *shape), x.dtype),)


def reshape_forward(k: Kernels, x: T, *, shape: Shape) -> tuple[T, Any]:
    return _from_rows(k, _to_rows(k, x), shape), (x.shape,)


def reshape_backward(k: Kernels, saved: Any, dy: T, *, shape: Shape) -> tuple[T, ...]:
    (before,) = saved
    return (_from_rows(k, _to_rows(k, dy), before[1:]),)


reshape_op = Op("reshape", reshape_shape, reshape_forward, reshape_backward, _free)


def reshape(x: T, shape: Sequence[int], *, kernels: str = "native") -> T:
    """Each image's elements, in NCHW order, under another shape.

    Shapes: x (N, ...) -> (N, *shape); `shape` has 1 to 3 sizes and excludes the batch.
    """
    sizes = tuple(integer("reshape", "shape", s) for s in (shape if isinstance(shape, Sequence) else (shape,)))
    if not 1 <= len(sizes) <= 3:
        raise ConfigError(f"reshape: shape must have 1 to 3 sizes without the batch, got {sizes}")
    return run(reshape_op, (x,), dict(shape=sizes), kernels)


def flatten(x: T, *, kernels: str = "native") -> T:
    """Each image as one row. Shapes: x (N, C, H, W) -> (N, C*H*W) in NCHW order."""
    need_rank("flatten", "x", Spec(spec_of("flatten", x)), 2, 3, 4)
    return reshape(x, (math.prod(spec_of("flatten", x)[1:]),), kernels=kernels)
