"""Results: fresh arrays for what a run gives back; the memory of large ones comes back when nobody holds them.

A new large array is new memory from the system, and the first touch of a page costs more than the copy into it: the
gradients of VGG-16 are 0.5 GB a step. So a large result lies in a block of the program's own, which is lent out: when
the array and all its views are gone, the next run takes the block again. The caller may keep and change it for good.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from striate.engine.tape import Buffer
from striate.errors import LimitError
from striate.graph import Array
from striate.kernels import _native

LARGE = 1 << 20  # bytes; the C library keeps smaller ones itself


class Results:
    """Makes the arrays of one program's results. Raises: LimitError if there is not so much memory."""

    def __init__(self, outputs: dict[str, Buffer]) -> None:
        self.shelf: list[Any] = []  # blocks that came back
        self.makers = {name: _maker(b, np.dtype(b.dtype), self.shelf) for name, b in outputs.items()}

    def fresh(self) -> dict[str, Array]:
        """Name -> array, its contents anything."""
        try:
            return {name: make() for name, make in self.makers.items()}
        except MemoryError as error:
            raise LimitError(f"program: needs more memory for its results than there is; {error}") from None


def _maker(b: Buffer, dtype: np.dtype[Any], shelf: list[Any]) -> Callable[[], Array]:
    if b.nbytes >= LARGE:
        return functools.partial(_lent, b, dtype, shelf)
    if len(b.shape) != 4 or b.dense:
        return functools.partial(np.empty, b.shape, dtype)
    return lambda: in_memory(b.shape, b.dense, np.empty(math.prod(b.shape), dtype))


def _lent(b: Buffer, dtype: np.dtype[Any], shelf: list[Any]) -> Array:
    block = next((block for block in shelf if block.nbytes == b.nbytes), None)
    try:
        shelf.remove(block)
    except ValueError:  # none of this size, or another thread was quicker
        block = _native.Block(b.nbytes)
    flat = np.asarray(_Loan(block, shelf)).view(dtype)
    return in_memory(b.shape, b.dense, flat)


class _Loan:
    """What an array over a block holds on to; when the last view of it is gone, the block goes back to the shelf."""

    def __init__(self, block: Any, shelf: list[Any]) -> None:
        self.block, self.shelf = block, shelf
        self.__array_interface__ = {
            "data": (block.address, False), "shape": (block.nbytes,), "typestr": "|u1", "version": 3,
        }

    def __del__(self) -> None:
        self.shelf.append(self.block)


def in_memory(shape: tuple[int, ...], dense: bool, flat: Array) -> Array:
    """`flat` under a shape: rank 4 lies in memory as NHWC and is seen as NCHW, unless it is dense."""
    if len(shape) != 4 or dense:
        return flat.reshape(shape)
    n, c, h, w = shape
    return flat.reshape(n, h, w, c).transpose(0, 3, 1, 2)
