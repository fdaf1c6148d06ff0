"""The row of Winograd's weight gradient, one way to compute conv2d_dw (lower.py)."""

from __future__ import annotations

from striate.errors import ShapeError
from striate.kernels.contract.row import ROWS, Shape, Spec, row

TILES = {3: (2, 3, 4), 5: (2, 4)}  # kernel size -> outputs along a side of a tile


def _conv2d_dw_winograd(x: Spec, dy: Spec, *, kernel: int, tile: int, padding: Shape) -> tuple[Spec | None, ...]:
    who = "conv2d_dw_winograd"
    if tile not in TILES.get(kernel, ()):
        raise ShapeError(f"{who}: kernel and tile must be 3 and 2, 3 or 4, or 5 and 2 or 4, got {kernel} and {tile}")
    if not all(0 <= p < kernel for p in padding):
        raise ShapeError(f"{who}: padding must be 0 to {kernel - 1} a side, got {tuple(padding)}")
    return ROWS["conv2d_dw"].shapes(x, dy, kernel=(kernel, kernel), stride=(1, 1), padding=padding, dilation=(1, 1),
                                    groups=1)


row("conv2d_dw_winograd", "x dy -> dw", "kernel:1 tile:1 padding:4", _conv2d_dw_winograd, algorithm=True)
