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


# Family -> vector width -> ns for one unit of each kind of work, in the order of Work. Width 8 was fitted (AMD EPYC,
# Zen 3, 2 threads of AVX2, 206 problems); the others follow from it: half the time for what computes with 16, 4 times
# with 4 (2 for NEON, which has FMA: the order is the same), the same for what moves memory.
NS: Mapping[str, Mapping[int, tuple[float, ...]]] = {
    "direct": {
        16: (0.00505, 0.00884, 0, 0.0225, 0.914, 0.0346, 0.11, 42.6),
        8: (0.0116, 0.00123, 0, 0.0229, 0.321, 0.0332, 0.0276, 10100),
        4: (0.0464, 0.004, 0, 0.05, 0.321, 0.0332, 0.0276, 12000),
    },
    "winograd": {
        16: (0.00555, 0.0055, 0.056, 0.225, 0.237, 0.0245, 0.123, 607),
        8: (0.0117, 0.002, 0.101, 0.415, 0.0789, 0.11, 0.281, 7370),
        4: (0.0468, 0.008, 0.3, 1.2, 0.0789, 0.11, 0.281, 9000),
    },
    "direct_dw": {
        16: (0.0043, 0.05, 0, 0.361, 0.447, 1.99, 0.0126, 212),
        8: (0.00864, 0.068, 0, 0.361, 0.447, 1.99, 0.0126, 212),
        4: (0.0346, 0.15, 0, 0.361, 0.447, 1.99, 0.0126, 212),
    },
    "patches": {  # 3.3 and 4 times what a multiply-add of a register tile takes: each loads its patch
        16: (0.0191, 0, 0, 0, 0, 0, 0.0276, 8000),
        8: (0.0383, 0, 0, 0, 0, 0, 0.0276, 10100),
        4: (0.153, 0, 0, 0, 0, 0, 0.0276, 12000),
    },
    "patches_dw": {
        16: (0.0172, 0, 0, 0, 0, 0, 0.0126, 212),
        8: (0.0346, 0, 0, 0, 0, 0, 0.0126, 212),
        4: (0.138, 0, 0, 0, 0, 0, 0.0126, 212),
    },
    "winograd_dw": {
        16: (0.00733, 0.00923, 0, 0.314, 0.357, 0.0824, 0.244, 3990),
        8: (0.0146, 0.0881, 0, 0.226, 0.361, 0.0806, 0.26, 22600),
        4: (0.0584, 0.3, 0, 0.5, 0.361, 0.0806, 0.26, 26000),
    },
}
UNIT = 48  # tiles between two readings of the transformed filters from L3 (a unit of a stage in winograd.h)
PIXELS = 256  # or tiles that dW sums up at a time
PATCHED = 1 << 16  # floats of an image of dx that stays in L2 while patches are added to it
LINE = 16  # channels of a tile are transformed in lines of so many


def microseconds(p: Problem, target: Target, tile: int) -> float:
    """Predicted time of Winograd's algorithm with that tile; tile 0 is the direct algorithm."""
    ns = NS[family_of(p, tile)][target.width]
    amounts: tuple[float, ...] = astuple(work(p, target, tile))
    return sum(amount * each for amount, each in zip(amounts, ns, strict=True)) / 1000


def family_of(p: Problem, tile: int) -> str:
    """The kernels that share constants."""
    name = "winograd" if tile else "patches" if sends_patches(p) else "direct"
    return f"{name}_dw" if p.kind == "dw" else name


def work(p: Problem, target: Target, tile: int) -> Work:
    """What there is to do."""
    if p.kind == "dw":
        return _winograd_dw(p, target, tile) if tile else _direct_dw(p, target)
    return _winograd(p, target, tile) if tile else _direct(p, target)


def across_images(p: Problem) -> bool:
    """Whether the direct algorithm takes the rows of a tile from several images, and so can pool: csrc/across.h."""
    taps = math.prod(p.kernel)
    return p.groups == 1 and p.n >= 4 and taps > 1 and taps * p.depth <= 512 and p.columns <= 64


def reads_in_place(p: Problem) -> bool:
    """Whether the direct algorithm of dW reads the columns of its product in the image: csrc/dw_in_place.h."""
    return p.groups == 1 and math.prod(p.kernel) > 1 and p.dilation[1] == 1 and p.o <= 16 and p.c <= 15


def sends_patches(p: Problem) -> bool:
    """Whether the direct algorithm goes from the gradient of a pooled map to patches of x: csrc/conv_pool_dw.h."""
    top, bottom, left, right = p.padding
    image = (p.size[0] + top + bottom) * (p.size[1] + left + right) * p.c
    few = p.groups == 1 and math.prod(p.kernel) > 1 and p.dilation == (1, 1) and p.o <= 32 and p.c <= 31
    return few and image <= PATCHED and p.kind != "forward" and p.epilogue == "max_pool"


def _patches(p: Problem, target: Target) -> Work:
    """One of the four pixels of a window has a gradient."""
    windows = p.n * (p.out[0] // 2) * (p.out[1] // 2)
    lanes = windows * p.o * p.kernel[0] * _whole(p.kernel[1] * p.c, target.width)
    return Work(multiplies=lanes, moved=p.n * p.c * math.prod(p.size) + 2 * windows * p.o)


def _apart(p: Problem) -> float:
    """Floats moved by a pass of its own between a convolution and its pool."""
    return 2 * p.n * p.o * math.prod(p.out) if p.epilogue == "max_pool" else 0


def _direct(p: Problem, target: Target) -> Work:
    if sends_patches(p):
        return _patches(p, target)
    rows, taps, across = p.n * math.prod(p.pixels), math.prod(p.kernel), across_images(p)
    columns = _whole(p.columns // p.groups, target.width)
    depth = taps * (p.depth // p.groups) / math.prod(p.stride if p.kind == "dx" else (1, 1))  # dX: by phases
    filters = taps * p.groups * (p.depth // p.groups) * columns
    in_place = across or (taps == 1 and p.stride == (1, 1))
    pooled = across and p.kind == "forward"  # within the kernel
    return Work(
        multiplies=_whole(rows, target.mr) * p.groups * columns * depth,
        gathered=0 if in_place else rows * p.groups * depth,
        packed=filters if target.training else 0,
        weights=filters,
        again=filters * (math.ceil(rows / target.mc) - 1),
        moved=_tensors(p) + (0 if pooled else _apart(p)),
    )


def _winograd(p: Problem, target: Target, tile: int) -> Work:
    points = (tile + p.kernel[0] - 1) ** 2
    tiles, columns, depth = _tiles(p, tile), _whole(p.columns, target.width), _whole(p.depth, LINE)
    filters = points * p.depth * columns
    pooled = p.kind == "forward" and tile % 2 == 0
    return Work(
        multiplies=_whole(tiles, target.mr) * points * p.depth * columns,
        gathered=tiles * points * depth,
        scattered=tiles * points * columns,
        packed=filters if target.training else 0,
        weights=filters,
        again=filters * (math.ceil(tiles / UNIT) - 1),
        moved=_tensors(p) + (0 if pooled else _apart(p)),
    )


def _direct_dw(p: Problem, target: Target) -> Work:
    if sends_patches(p):
        return _patches(p, target)
    rows, taps = p.n * math.prod(p.out), math.prod(p.kernel)
    depth = taps * (p.c // p.groups)
    columns = p.groups * _whole(p.o // p.groups, target.nr)
    return Work(
        multiplies=rows * _whole(depth, target.mr) * columns,
        gathered=0 if (taps == 1 and p.stride == (1, 1)) or reads_in_place(p) else rows * depth * p.groups,
        weights=depth * columns,
        again=depth * columns * (math.ceil(rows / PIXELS) - 1),
        moved=_tensors(p) + _apart(p),
    )


def _winograd_dw(p: Problem, target: Target, tile: int) -> Work:
    points, tiles = (tile + p.kernel[0] - 1) ** 2, _tiles(p, tile)
    columns = _whole(p.o, target.nr)
    sums = points * p.c * columns
    return Work(
        multiplies=tiles * points * _whole(p.c, target.mr) * columns,
        gathered=tiles * points * (_whole(p.c, LINE) + columns),
        packed=sums,
        again=sums * (math.ceil(tiles / PIXELS) - 1),
        moved=_tensors(p) + _apart(p),
    )


def _tiles(p: Problem, tile: int) -> int:
    height, width = p.pixels
    return p.n * -(-height // tile) * -(-width // tile)


def _tensors(p: Problem) -> int:
    return p.n * (p.c * math.prod(p.size) + p.o * math.prod(p.out))


def _whole(amount: int, block: int) -> int:
    """`amount` in whole blocks."""
    return -(-amount // block) * block
