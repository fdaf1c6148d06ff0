"""Sketch: the bytes alive at the worst moment of a tape with values computed again, and the time that takes.

The planner asks this a hundred times and more for one plan, so the tape is turned into numbers once and walked as such:
a few milliseconds a question for a thousand calls, where writing the tape down and placing it takes thirty times that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from striate.engine.pack import ALIGN, rounded
from striate.engine.tape import Call, Storage, Tape

LATE = ("backward", "update")


@dataclass(frozen=True)
class _Step:
    """A call in numbers: which storages it reads and writes, and the (output, input) pairs that may share memory."""

    reads: tuple[int, ...]
    writes: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]
    scratch: int
    late: bool
    ns: float
    states: frozenset[int] = frozenset()  # that it writes


class Sketch:
    """Answers `peak(dropped)` for one tape. `fixed` storages lie outside the arena."""

    def __init__(self, tape: Tape, scratch: Callable[[Call], int], fixed: Collection[Storage],
                 ns: Callable[[Call], float]) -> None:
        self.numbers: dict[Storage, int] = {}
        self.sizes: list[int] = []
        self.given = [self._number(i.buffer.storage, fixed) for i in tape.inputs]
        self.steps = [self._step(c, scratch(c), fixed, ns(c)) for c in tape.calls]
        self.results = {self._number(b.storage, fixed) for b in tape.outputs.values()}
        self.makers = {s: step for step, c in zip(self.steps, tape.calls, strict=True)
                       if c.section == "forward" and c.row.name != "callback" for s in step.writes}
        read_late = {s for step in self.steps if step.late for s in step.reads}
        self.last = {s: number for number, step in enumerate(self.steps) if step.late for s in step.reads}
        self.transient = set(self.makers) - read_late - self.results
        readers = [set(step.reads) for step in self.steps if step.late]
        self.often = {s for s in self.makers if sum(s in reads for reads in readers) > 1}  # read late

    def fleeting(self, dropped: Collection[Storage]) -> set[Storage]:
        """Those of `dropped` that several calls read late, and whose second call reads nothing that is dropped."""
        numbers = {self.numbers[s] for s in dropped}
        return {s for s in dropped if self.numbers[s] in self.often
                and not numbers.intersection(self.makers[self.numbers[s]].reads)}

    def _number(self, storage: Storage, fixed: Collection[Storage]) -> int:
        if storage not in self.numbers:
            self.numbers[storage] = len(self.sizes)
            self.sizes.append(0 if storage in fixed else rounded(max(storage.nbytes, 1), ALIGN))
        return self.numbers[storage]

    def _step(self, call: Call, scratch: int, fixed: Collection[Storage], ns: float) -> _Step:
        reads = tuple(self._number(s, fixed) for s in call.reads())
        writes = tuple(self._number(s, fixed) for s in call.writes())
        pairs = []
        for o, i in call.overwrites():
            out, given = call.outputs[o], call.inputs[i]
            if out is not None and given is not None and out.storage is not given.storage:
                pair = self.numbers[out.storage], self.numbers[given.storage]
                if self.sizes[pair[0]] == self.sizes[pair[1]] > 0 and reads.count(pair[1]) == 1:
                    pairs.append(pair)
        states = frozenset(self.numbers[s] for s in call.writes() if s.source is not None)
        return _Step(reads, writes, tuple(pairs), rounded(scratch, ALIGN), call.section in LATE, ns, states)

    def peak(self, dropped: Collection[Storage], fleeting: Collection[Storage] = ()) -> tuple[int, float]:
        """(bytes, ns): the most that is alive at once, and what the second calls take; see recomputed."""
        brief = {self.numbers[s] for s in fleeting}
        lost = self.transient | {self.numbers[s] for s in dropped}
        sizes, again, ns = list(self.sizes), dict[int, int](), 0.0
        steps: list[_Step] = []
        roots = self._roots(lost)
        for number, step in enumerate(self.steps):
            if not step.late:
                steps.append(step)
                continue
            spoilt = [s for s in roots if step.states and self.last.get(s, -1) > number and roots[s] & step.states]
            brief.difference_update(spoilt)
            for s in (*step.reads, *spoilt):
                if s in lost and s not in again:
                    ns += self._ensure(s, lost, again, sizes, steps)
            steps.append(_moved(step, step.writes, again) if again.keys() & step.reads else step)
            for s in brief.intersection(step.reads):
                again.pop(s, None)
        return self._crest(steps, sizes), ns

    def _roots(self, lost: Collection[int]) -> dict[int, set[int]]:
        """As in recompute: what the second call of each lost value reads, down to what is there."""
        roots: dict[int, set[int]] = {}
        for s, step in self.makers.items():
            if s in lost:
                roots[s] = set(step.reads).union(*(roots[r] for r in step.reads if r in roots))
        return roots

    def _ensure(self, wanted: int, lost: Collection[int], again: dict[int, int], sizes: list[int],
                steps: list[_Step]) -> float:
        """Appends the steps that make a storage again; returns their time."""
        ns, waiting = 0.0, [wanted]
        while waiting:
            step = self.makers[waiting[-1]]
            missing = [s for s in step.reads if s in lost and s not in again]
            if missing:
                waiting += missing
            elif waiting.pop() not in again:
                fresh = range(len(sizes), len(sizes) + len(step.writes))
                sizes += [sizes[s] for s in step.writes]
                both = again | dict(zip(step.writes, fresh, strict=True))
                steps.append(_moved(step, tuple(fresh), both))
                again.update((old, new) for old, new in zip(step.writes, fresh, strict=True) if old in lost)
                ns += step.ns
        return ns

    def _crest(self, steps: list[_Step], sizes: list[int]) -> int:
        last = [-1] * len(sizes)
        for number, step in enumerate(steps):
            for s in step.reads:
                last[s] = number
            for s in step.writes:
                last[s] = number
        for s in self.results:
            last[s] = len(steps)
        seen = set(self.given)
        alive = worst = sum(sizes[s] for s in self.given)
        for number, step in enumerate(steps):
            handed: dict[int, int] = {}
            for out, given in step.pairs:
                if out not in handed and last[given] == number and given not in handed.values():
                    handed[out] = given
            for s in (*step.writes, *step.reads):
                if s not in seen:
                    seen.add(s)
                    alive += 0 if s in handed else sizes[s]
            worst = max(worst, alive + step.scratch)
            for s in {s for s in (*step.reads, *step.writes) if last[s] == number} - set(handed.values()):
                alive -= sizes[s]
        return worst


def _moved(step: _Step, writes: tuple[int, ...], to: dict[int, int]) -> _Step:
    pairs = tuple((to.get(out, out), to.get(given, given)) for out, given in step.pairs)
    return _Step(tuple(to.get(s, s) for s in step.reads), writes, pairs, step.scratch, step.late, step.ns)
