"""How long ago each byte that a call reads or writes was touched last, in bytes: what decides where it comes from.

A run is walked twice over its placed tensors, page by page, so that the second walk finds the memory as the first left
it. The clock is the bytes touched so far. A byte touched 1 MB ago is in a near cache, one touched 100 MB ago is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from striate.engine.place import ARENA, CONSTANTS, Plan
from striate.engine.tape import Buffer, Call

PAGE = 4096  # bytes
NEVER = -1e18  # on the clock
# Distances in bytes between which the price of a byte rises, linearly in their logarithm.
KNOTS = (1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26, 1 << 28)

Floats = npt.NDArray[np.float64]
STEPS: Floats = np.log2(KNOTS)
WIDTHS = np.diff(STEPS)


@dataclass(frozen=True)
class Traffic:
    """Bytes of one call: all of them, then those beyond each pair of KNOTS, those between counted in part."""

    read: Floats
    written: Floats


def traffic(plan: Plan) -> list[Traffic]:
    """One entry a call, as in a run that follows another; a prelude does not run then and is nothing."""
    memory = _Memory(plan)
    memory.walk()
    return memory.walk()


class _Memory:
    """When each page of each block was touched last."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.clock = plan, 0.0
        sizes = [plan.arena_bytes, plan.constant_bytes, *(s.nbytes for s in plan.states)]
        assert (ARENA, CONSTANTS) == (0, 1)
        self.touched = [np.full(size // PAGE + 2, NEVER) for size in sizes]

    def walk(self) -> list[Traffic]:
        found = []
        for given in self.plan.tape.inputs:
            self._touch([given.buffer], [])
        for call, scratch in zip(self.plan.tape.calls, self.plan.scratch, strict=True):
            found.append(Traffic(_none(), _none()) if call.section == "prelude" else self._call(call, scratch))
        self._touch(list(self.plan.tape.outputs.values()), [])
        return found

    def _call(self, call: Call, scratch: tuple[int, int]) -> Traffic:
        read, written = ([b for b in bs if b is not None] for bs in (call.inputs, call.outputs))
        return self._touch(read, written, scratch)

    def _touch(self, read: list[Buffer], written: list[Buffer], scratch: tuple[int, int] = (0, 0)) -> Traffic:
        """All tensors are walked side by side from beginning to end."""
        total = sum(b.nbytes for b in (*read, *written)) + scratch[1]
        spans = [(self._pages(b), b.nbytes) for b in (*read, *written)]
        sums = [_beyond(self.clock + total * _places(len(p)) - p, size) for p, size in spans]
        for pages, _ in spans:
            pages[:] = self.clock + total * _places(len(pages))
        if scratch[1]:
            self.touched[ARENA][scratch[0] // PAGE : (sum(scratch) - 1) // PAGE + 1] = self.clock + total
        self.clock += total
        return Traffic(sum(sums[: len(read)], _none()), sum(sums[len(read) :], _none()))

    def _pages(self, b: Buffer) -> Floats:
        block, offset = self.plan.places[b.storage]
        size = b.storage.nbytes if b.channels is not None else b.nbytes
        return self.touched[block][offset // PAGE : (offset + max(size, 1) - 1) // PAGE + 1]


def _none() -> Floats:
    return np.zeros(len(KNOTS))


def _places(count: int) -> Floats:
    return np.arange(count) / max(count, 1)


def _beyond(distance: Floats, nbytes: int) -> Floats:
    """`nbytes` in all, and the part of them beyond each step from a knot to the next."""
    logs = np.log2(np.maximum(distance, 1.0))
    parts = np.clip((logs[:, None] - STEPS[:-1]) / WIDTHS, 0, 1).mean(axis=0)
    return nbytes * np.concatenate(([1.0], parts))
