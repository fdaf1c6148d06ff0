"""What an algorithm has to do for a problem, and the time it is predicted to take.

    time = sum over the kinds of work of amount x ns, with the ns of NS for the family of kernels and the vector width

The amounts are those of the kernels' own loops: padded register tiles, tiles at the edge counted whole. The constants
were fitted by benchmarks/calibrate.py; they need not be right to the percent, only put algorithms in the right order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass

from striate.kernels.problem import Problem
from striate.kernels.target import Target


@dataclass(frozen=True)
class Work:
    """Amounts; all but the first and last in floats."""

    multiplies: float = 0
    gathered: float = 0  # written by im2col, or by the transform of the input (dW: of both inputs)
    scattered: float = 0  # read by the transform of the output
    packed: float = 0  # filters packed or transformed within the run; dW: sums transformed back
    weights: float = 0  # of packed filters read from memory (dW: of sums written)
    again: float = 0  # of those read from cache, for every other block of pixels
    moved: float = 0  # of the problem's own tensors, and of a pass behind the kernel
    calls: float = 1


# Family -> vector width -> ns for one unit of each kind of work, in the order of Work.
NS: Mapping[str, Mapping[int, tuple[float, ...]]] = {
    "direct": {
        16: (0.0055, 0.02, 0.0, 0.2, 0.25, 0.02, 0.1, 2000),
        8: (0.0105, 0.03, 0.0, 0.3, 0.3, 0.03, 0.15, 2000),
        4: (0.06, 0.06, 0.0, 0.5, 0.35, 0.05, 0.2, 2000),
    },
    "winograd": {
        16: (0.0062, 0.07, 0.06, 0.6, 0.25, 0.02, 0.1, 4000),
        8: (0.0120, 0.12, 0.10, 0.9, 0.3, 0.04, 0.15, 4000),
        4: (0.065, 0.40, 0.30, 2.0, 0.35, 0.05, 0.2, 4000),
    },
    "direct_dw": {
        16: (0.0065, 0.03, 0.0, 0.2, 0.25, 0.02, 0.1, 2000),
        8: (0.0120, 0.05, 0.0, 0.3, 0.3, 0.03, 0.15, 2000),
        4: (0.06, 0.08, 0.0, 0.5, 0.35, 0.05, 0.2, 2000),
    },
    "winograd_dw": {
        16: (0.0070, 0.08, 0.0, 0.5, 0.25, 0.02, 0.1, 6000),
        8: (0.0140, 0.14, 0.0, 0.6, 0.3, 0.04, 0.15, 6000),
        4: (0.07, 0.40, 0.0, 2.0, 0.35, 0.05, 0.2, 6000),
    },
}
UNIT = 48  # tiles between two readings of the transformed filters (winograd.h)
LINE = 16  # channels of a tile are transformed in lines of so many


def microseconds(p: Problem, target: Target, tile: int) -> float:
    """Predicted time of Winograd's algorithm with that tile; tile 0 is the direct algorithm."""
    family = ("winograd" if tile else "direct") + ("_dw" if p.kind == "dw" else "")
    ns = NS[family][target.width]
    amounts: tuple[float, ...] = astuple(work(p, target, tile))
    return sum(amount * each for amount, each in zip(amounts, ns, strict=True)) / 1000


def work(p: Problem, target: Target, tile: int) -> Work:
    """What there is to do."""
    if p.kind == "dw":
        return _winograd_dw(p, target, tile) if tile else _direct_dw(p, target)
    return _winograd(p, target, tile) if tile else _direct(p, target)


def across_images(p: Problem) -> bool:
    """Whether the direct algorithm takes the rows of a tile from several images, and so can pool: csrc/across.h."""
    taps = math.prod(p.kernel)
    return p.groups == 1 and p.n >= 4 and taps > 1 and taps * p.depth <= 512 and p.columns <= 64


def _direct(p: Problem, target: Target) -> Work:
    rows, taps, across = p.n * math.prod(p.pixels), math.prod(p.kernel), across_images(p)
    columns = _whole(p.columns // p.groups, target.width if across else target.nr)
    depth = taps * (p.depth // p.groups) / math.prod(p.stride if p.kind == "dx" else (1, 1))  # dX: by phases
    filters = taps * p.groups * (p.depth // p.groups) * columns
    in_place = across or (taps == 1 and p.stride == (1, 1))
    apart = p.epilogue == "max_pool" and not across  # the pooling is a pass of its own
    return Work(
        multiplies=_whole(rows, target.mr) * p.groups * columns * depth,
        gathered=0 if in_place else rows * p.groups * depth,
        packed=filters if target.training else 0,
        weights=filters,
        again=filters * (math.ceil(rows / target.mc) - 1),
        moved=_tensors(p) + (2 * p.n * p.o * math.prod(p.out) if apart else 0),
    )


def _winograd(p: Problem, target: Target, tile: int) -> Work:
    points = (tile + p.kernel[0] - 1) ** 2
    tiles, columns, depth = _tiles(p, tile), _whole(p.columns, target.nr), _whole(p.depth, LINE)
    filters = points * p.depth * columns
    fused = p.epilogue != "max_pool" or tile % 2 == 0
    return Work(
        multiplies=_whole(tiles, target.mr) * points * p.depth * columns,
        gathered=tiles * points * depth,
        scattered=tiles * points * columns,
        packed=filters if target.training else 0,
        weights=filters,
        again=filters * (math.ceil(tiles / UNIT) - 1),
        moved=_tensors(p) + (0 if fused else 2 * p.n * p.o * math.prod(p.out)),
    )


def _direct_dw(p: Problem, target: Target) -> Work:
    rows, taps = p.n * math.prod(p.out), math.prod(p.kernel)
    depth = taps * (p.c // p.groups)
    columns = p.groups * _whole(p.o // p.groups, target.nr)
    return Work(
        multiplies=rows * _whole(depth, target.mr) * columns,
        gathered=0 if taps == 1 and p.stride == (1, 1) else rows * depth * p.groups,
        weights=depth * columns,
        again=depth * columns * (math.ceil(rows / target.kc) - 1),
        moved=_tensors(p),
    )


def _winograd_dw(p: Problem, target: Target, tile: int) -> Work:
    points, tiles = (tile + p.kernel[0] - 1) ** 2, _tiles(p, tile)
    columns = _whole(p.o, target.nr)
    sums = points * p.c * columns
    return Work(
        multiplies=tiles * points * _whole(p.c, target.mr) * columns,
        gathered=tiles * points * (p.c + columns),
        packed=sums,
        again=sums * (math.ceil(tiles / target.kc) - 1),
        moved=_tensors(p),
    )


def _tiles(p: Problem, tile: int) -> int:
    height, width = p.pixels
    return p.n * -(-height // tile) * -(-width // tile)


def _tensors(p: Problem) -> int:
    return p.n * (p.c * math.prod(p.size) + p.o * math.prod(p.out))


def _whole(amount: int, block: int) -> int:
    """`amount` in whole blocks."""
    return -(-amount // block) * block
