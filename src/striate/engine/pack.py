"""Pack: storages that live from one call to another get offsets in one arena.

Finding the smallest arena is bin packing; first fit comes within a few percent of the bytes alive at the worst moment
(`crest`, which nothing can beat) if the order is right. Which order is depends on the network, so a few are tried and
the first of the best is kept: the result is a function of the tape alone.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from striate.engine.tape import Storage

ALIGN = 64  # a cache line


@dataclass(frozen=True)
class Wanted:
    """A storage and the first and last call that needs it."""

    storage: Storage
    first: int
    last: int

    @property
    def nbytes(self) -> int:
        return rounded(max(self.storage.nbytes, 1), ALIGN)


@dataclass
class Packed:
    """Offsets in an arena of `top` bytes; (offset, bytes) that nobody may write."""

    offsets: dict[Storage, int]
    top: int
    guards: list[tuple[int, int]]


def rounded(n: int, to: int) -> int:
    return -(-n // to) * to


ORDERS: tuple[Callable[[Wanted], tuple[int, ...]], ...] = (
    lambda w: (-w.nbytes, w.first),
    lambda w: (-w.nbytes * (w.last - w.first + 1), w.first),
    lambda w: (w.first - w.last, -w.nbytes),
    lambda w: (w.first, -w.last),
)


def pack(wanted: Sequence[Wanted], guard: int = 0) -> Packed:
    """Each storage at the lowest offset that none alive at the same time holds, in the best of a few orders."""
    least = crest(wanted)
    best: Packed | None = None
    for order in ORDERS if guard == 0 else ORDERS[:1]:
        found = _first_fit(sorted(wanted, key=lambda w: (*order(w), w.storage.name)), guard,
                           None if best is None else best.top)
        best = found or best
        if best is not None and best.top <= least:
            break
    assert best is not None
    return best


def crest(wanted: Sequence[Wanted]) -> int:
    """The largest number of bytes alive at the same time."""
    changes: dict[int, int] = {}
    for w in wanted:
        changes[w.first] = changes.get(w.first, 0) + w.nbytes
        changes[w.last + 1] = changes.get(w.last + 1, 0) - w.nbytes
    return max(itertools.accumulate(changes[at] for at in sorted(changes)), default=0)


def _first_fit(wanted: Sequence[Wanted], guard: int, below: int | None) -> Packed | None:
    """Packed in the order given; None as soon as that needs `below` bytes or more."""
    placed: list[tuple[int, int, int, int]] = []  # offset, end, first, last; by rising offset
    packed = Packed({}, 0, [])
    for w in wanted:
        size, offset, first, last = w.nbytes, guard, w.first, w.last
        for low, high, start, stop in placed:
            if start <= last and first <= stop:
                if low - offset >= size + guard:
                    break
                if high + guard > offset:  # max() here makes packing take twice as long
                    offset = high + guard
        bisect.insort(placed, (offset, offset + size, first, last))
        packed.offsets[w.storage] = offset
        packed.top = max(packed.top, offset + size + guard)
        if below is not None and packed.top >= below:
            return None
        if guard:
            end = offset + w.storage.nbytes
            packed.guards += [(offset - guard, guard), (end, offset + size + guard - end)]
    return packed
