"""Recompute: values that the backward reads are dropped behind the forward and computed again just before.

A dropped value's call is written down a second time, with the same kernel and the same inputs, so gradients keep their
bits. What that call reads is either still there, or dropped too and computed again before it. Values that the backward
never reads (packed filters, a norm in front of its activation) are computed again wherever a second call needs them.

Which values are dropped: all are sorted by the time a second call costs for each byte it saves, and a beginning of that
list is taken. If everything were dropped, the whole forward would be computed again at once and nothing saved; so the
same is tried with the forward cut into 2, 3, 4, ... segments, at whose ends everything is kept. Of what fits the
budget, the cheapest counts. Ref: Chen, Xu, Zhang and Guestrin 2016, arXiv 1604.06174, for the segments.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from striate.engine.profile import estimated_ns
from striate.engine.sketch import LATE, Sketch
from striate.engine.tape import Buffer, Call, Storage, Tape
from striate.errors import LimitError

SMALLEST = 1 / 2000  # of the memory needed: smaller values are not looked at
ATTEMPTS = 12
SPENT = 0.03  # of the time of a step, without being asked, where the arena is large
SEGMENTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)
GRID = 8  # beginnings of a list that are tried before the best two are looked between
UNKNOWN_NS = 10.0  # for each byte of a result, where the work of a call is not known


Sketcher = Callable[[Tape, Callable[[Call], float]], Sketch]


def fitted(tape: Tape, sketch: Sketcher, packed: Callable[[Tape], int], budget: int, held: int) -> Tape:
    """`tape` with so much computed again that it fits: held + packed(tape) <= budget.

    `sketch` makes the tape's sketch. Raises: LimitError that says how much is missing.
    """
    least = packed(tape)
    if held + least <= budget:
        return tape
    search = _Search(tape, sketch(tape, _ns))
    wanted = budget - held
    for _ in range(ATTEMPTS):  # each asks for less of the sketch, by as much as packing came out above the budget
        choice = search.chosen(wanted)
        again = recomputed(tape, *choice)
        need = packed(again)
        if held + need <= budget:
            return again
        least = min(least, need)
        if search.sketch.peak(*choice)[0] > wanted:
            break
        wanted -= max(held + need - budget, budget // 100)
    batch, short = tape.inputs[0].buffer.shape[0], held + least - budget
    raise LimitError(
        f"memory_budget: needs at least {held + least} bytes for a batch of {batch}, {held} of them weights, optimiser "
        f"slots and constants, got {budget}: {short} bytes short"
    )


def thrifty(tape: Tape, sketch: Sketcher) -> Tape:
    """`tape` with what saves most computed again within SPENT of the predicted time: a pass over memory, mostly."""
    search = _Search(tape, sketch(tape, _ns))
    return recomputed(tape, *search.saving(SPENT * sum(map(_ns, tape.calls))))


def recomputed(tape: Tape, dropped: Collection[Storage], fleeting: Collection[Storage] = ()) -> Tape:
    """`tape` with the calls that make the values in `dropped` written down again before the backward reads them.

    Those that are `fleeting` too are dropped again behind each call that reads them. An update may write a state that a
    second call reads: then that call comes before the update, and its value stays.
    """
    makers = _makers(tape)
    lost = set(dropped) | (set(makers) - _read_late(tape) - {b.storage for b in tape.outputs.values()})
    roots = _roots(makers, lost)
    last = {s: number for number, call in enumerate(tape.calls) if call.section in LATE for s in call.reads()}
    again, calls, brief = dict[Storage, Storage](), list[Call](), set(fleeting)

    def moved(b: Buffer | None) -> Buffer | None:
        return b and b.at(again.get(b.storage, b.storage))

    def ensure(storage: Storage) -> None:
        """Writes down the call that makes `storage` again, behind those that make what it reads."""
        waiting = [storage]
        while waiting:
            call = makers[waiting[-1]]
            missing = [s for s in call.reads() if s in lost and s not in again]
            if missing:
                waiting += missing
                continue
            if waiting.pop() in again:
                continue
            fresh = {s: Storage(f"{s.name} again", s.nbytes) for s in call.writes()}
            outputs = tuple(b and b.at(fresh[b.storage]) for b in call.outputs)
            calls.append(replace(call, inputs=tuple(map(moved, call.inputs)), outputs=outputs, section="backward"))
            again.update((old, new) for old, new in fresh.items() if old in lost)

    for number, call in enumerate(tape.calls):
        if call.section not in LATE:
            calls.append(call)
            continue
        written = {s for s in call.writes() if s.source is not None}
        spoilt = [s for s in dropped if written and last[s] > number and roots[s] & written]
        brief.difference_update(spoilt)
        for storage in (*call.reads(), *spoilt):
            if storage in lost and storage not in again:
                ensure(storage)
        calls.append(replace(call, inputs=tuple(map(moved, call.inputs))))
        for storage in brief.intersection(call.reads()):
            again.pop(storage, None)
    return replace(tape, calls=calls)


# ---- what can be dropped

def _makers(tape: Tape) -> dict[Storage, Call]:
    """Value of the forward -> its call; what the user's own code computes is no value that can be computed again."""
    return {s: c for c in tape.calls if c.section == "forward" and c.row.name != "callback" for s in c.writes()}


def _read_late(tape: Tape) -> set[Storage]:
    return {s for c in tape.calls if c.section in LATE for s in c.reads()}


def _roots(makers: Mapping[Storage, Call], lost: Collection[Storage]) -> dict[Storage, set[Storage]]:
    """For each lost value all that its second call reads, and the second calls before it, down to what is there."""
    roots: dict[Storage, set[Storage]] = {}
    for storage, call in makers.items():  # in the order of the forward
        if storage in lost:
            reads = list(call.reads())
            roots[storage] = set(reads).union(*(roots[s] for s in reads if s in roots))
    return roots


def _droppable(tape: Tape, smallest: float) -> list[Storage]:
    """Values that live from forward to backward, by rising time that a second call costs for each byte saved."""
    makers, late = _makers(tape), _read_late(tape)
    results = {b.storage for b in tape.outputs.values()}
    costs: dict[Storage, float] = {}

    def cost(storage: Storage) -> float:
        """Of computing it again, with what nobody keeps for the backward."""
        if storage not in costs:
            call = makers[storage]
            inner = sum(cost(s) for s in dict.fromkeys(call.reads()) if s in makers and s not in late)
            costs[storage] = inner + _ns(call)
        return costs[storage]

    found = [s for s in makers if s in late and s not in results and s.nbytes > smallest]
    return sorted(found, key=lambda s: cost(s) / s.nbytes)


def _ns(call: Call) -> float:
    ns = estimated_ns(call)
    return ns if math.isfinite(ns) else UNKNOWN_NS * sum(s.nbytes for s in call.writes())


def _crossing(tape: Tape, segments: int) -> set[Storage]:
    """Values that are handed on at the ends of segments: cuts lie where little is handed on, and far apart."""
    forward = [c for c in tape.calls if c.section == "forward"]
    made: dict[Storage, int] = {}
    last: dict[Storage, int] = {}
    for number, call in enumerate(forward):
        last.update((s, number) for s in call.reads() if s in made)
        made.update((s, number) for s in call.writes())
    open_at: list[list[Storage]] = [[] for _ in forward]  # what is handed over the end of each call
    for storage, number in last.items():
        for place in range(made[storage], number):
            open_at[place].append(storage)
    weight = list(itertools.accumulate(sum(s.nbytes for s in c.writes()) for c in forward))
    cuts = []
    for i in range(1, segments):
        middle, half = weight[-1] * i / segments, weight[-1] / segments / 2
        near = [p for p, w in enumerate(weight) if abs(w - middle) <= half]
        cuts += [min(near, key=lambda p: (sum(s.nbytes for s in open_at[p]), abs(weight[p] - middle)))] if near else []
    return {s for p in cuts for s in open_at[p]}


# ---- which are

Choice = tuple[list[Storage], set[Storage]]  # dropped, and those of them that are fleeting


class _Search:
    """The choices that were tried, with the bytes and the time of each.

    A choice is a beginning of one of the lists, its values computed again once, or (`each`) for each call that reads
    them; its key is (list, values, each).
    """

    def __init__(self, tape: Tape, sketch: Sketch) -> None:
        self.sketch = sketch
        droppable = _droppable(tape, sketch.peak(())[0] * SMALLEST)
        kept = [_crossing(tape, n) if n > 1 else set() for n in SEGMENTS]
        self.orders = [[s for s in droppable if s not in k] for k in kept]
        self.tried: dict[tuple[int, int, bool], tuple[int, float]] = {}
        self.peak(0, 0, False)

    def chosen(self, wanted: int) -> Choice:
        """The cheapest values to drop so that the peak is at most `wanted`; if there are none, those that save most."""
        for each in (False, True):
            counts = [(order, self.shortest(order, each, wanted)) for order in range(len(self.orders))]
            fitting = [(order, count, each) for order, count in counts if count is not None]
            if fitting:
                return self.spared(self.choice(*min(fitting, key=lambda at: self.peak(*at)[1])), wanted)
        return self.choice(*min(self.tried, key=lambda at: self.tried[at]))

    def saving(self, ns: float) -> Choice:
        """The values whose second calls take at most `ns` and save most; none that saves nothing."""
        for order, values in enumerate(self.orders):
            for i in range(1, GRID + 1):
                self.peak(order, len(values) * i // GRID, False)
        best = min((at for at in self.tried if self.tried[at][1] <= ns), key=lambda at: self.tried[at])
        return self.spared(self.choice(*best), self.tried[best][0])

    def choice(self, order: int, count: int, each: bool) -> Choice:
        dropped = self.orders[order][:count]
        return dropped, self.sketch.fleeting(dropped) if each else set()

    def peak(self, order: int, count: int, each: bool) -> tuple[int, float]:
        if (order, count, each) not in self.tried:
            self.tried[order, count, each] = self.sketch.peak(*self.choice(order, count, each))
        return self.tried[order, count, each]

    def shortest(self, order: int, each: bool, wanted: int) -> int | None:
        """The shortest beginning of an order that fits, as far as a grid and halving find it."""
        total = len(self.orders[order])
        grid = sorted({total * i // GRID for i in range(GRID + 1)})
        count = next((n for n in grid if self.peak(order, n, each)[0] <= wanted), None)
        if count is None or count == 0:
            return count
        below = grid[grid.index(count) - 1]
        while count - below > 1:
            middle = (below + count) // 2
            below, count = (below, middle) if self.peak(order, middle, each)[0] <= wanted else (middle, count)
        return count

    def spared(self, choice: Choice, wanted: int) -> Choice:
        """`choice` without values, the dearest first, that may stay as well."""
        dropped, fleeting = choice
        ns = self.sketch.peak(dropped, fleeting)[1]
        for storage in dropped[::-1]:
            fewer = [s for s in dropped if s is not storage]
            bytes_, taken = self.sketch.peak(fewer, fleeting - {storage})
            if bytes_ <= wanted and taken <= ns:
                dropped, fleeting, ns = fewer, fleeting - {storage}, taken
        for storage in [s for s in dropped if s in fleeting]:
            if self.sketch.peak(dropped, fleeting - {storage})[0] <= wanted:
                fleeting = fleeting - {storage}
        return dropped, fleeting
