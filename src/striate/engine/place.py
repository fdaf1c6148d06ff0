"""Place: every storage's first and last use is known, so memory is handed out like registers, before anything runs.

A tensor may take over the memory of one that dies in the same call where the contract allows it; an update of a state
is written straight into the state, and may move to just behind its gradient. What is left gets an offset in one arena.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from striate.engine.advance import advanced
from striate.engine.join import joined
from striate.engine.pack import ALIGN, Packed, Wanted, crest, pack, rounded
from striate.engine.recompute import fitted, thrifty
from striate.engine.sketch import Sketch
from striate.engine.tape import Buffer, Call, Storage, Tape
from striate.graph import State, table
from striate.kernels.contract import ROWS

PAGE = 4096
LARGE = 1 << 30  # bytes of an arena from which on values are computed again that cost next to nothing
GUARD = 256  # bytes between buffers under STRIATE_CHECK
ARENA, CONSTANTS = 0, 1  # block numbers; states follow

ScratchBytes = Callable[[Call], int]


@dataclass(eq=False)
class Plan:
    """A tape with a place for every tensor: (block, offset) of each storage and of each call's scratch."""

    tape: Tape
    places: dict[Storage, tuple[int, int]]
    scratch: list[tuple[int, int]]  # (offset in the arena, bytes), one a call
    states: list[State]
    constants: list[Storage]  # held from run to run: constants, then what the prelude computes
    arena_bytes: int
    constant_bytes: int
    prelude: int  # how many calls belong to the prelude
    update_from: int  # number of the first call that writes a state
    guards: list[tuple[int, int]]  # (offset, bytes) in the arena that nobody may write, under STRIATE_CHECK

    @property
    def state_bytes(self) -> int:
        return sum(s.nbytes for s in self.states)

    @property
    def peak_bytes(self) -> int:
        """States, constants and arena together: all that a run of this program needs."""
        return self.state_bytes + self.constant_bytes + self.arena_bytes

    def __str__(self) -> str:
        rows = []
        for i, (call, (_, scratch)) in enumerate(zip(self.tape.calls, self.scratch, strict=True)):
            reads, writes = (_placed(self, bs) for bs in (call.inputs, call.outputs))
            rows.append((i, call.section, call.path, call.row.name, reads, writes, scratch or ""))
        heads = ("#", "section", "layer", "kernel", "reads", "writes: name @ offset + bytes", "scratch")
        blocks = f"states {self.state_bytes} B + constants {self.constant_bytes} B + arena {self.arena_bytes} B"
        return f"{table(heads, rows, right=('#', 'scratch'))}\n{blocks} = peak {self.peak_bytes} B"


def _placed(plan: Plan, buffers: tuple[Buffer | None, ...]) -> str:
    blocks = {ARENA: "", CONSTANTS: "constants "}
    texts = []
    for b in buffers:
        if b is None:
            texts.append("-")
            continue
        block, offset = plan.places[b.storage]
        texts.append(b.name if block > CONSTANTS else f"{b.name} @ {blocks[block]}{offset} + {b.storage.nbytes}")
    return ", ".join(texts if len(texts) <= 4 else [*texts[:3], f"... {len(texts)} in all"])


def place(tape: Tape, scratch_bytes: ScratchBytes, check: bool = False, memory_budget: int | None = None) -> Plan:
    """A plan of `tape`. With check, every storage is apart from the others, guarded, and filled with NaN when dead.

    Raises: LimitError if what a run needs cannot be brought down to `memory_budget` bytes.
    """
    _place_updates(tape)
    states, constants = _state_storages(tape), _constants(tape)
    places = {s: (CONSTANTS + 1 + number, 0) for number, s in enumerate(states)}
    constant_bytes = rounded(_stack(constants, places), PAGE)
    bench = _Bench(scratch_bytes, set(places))
    if memory_budget is not None:
        held = sum(s.nbytes for s in states) + constant_bytes
        tape = fitted(advanced(tape), bench.sketch, bench.mapped, memory_budget, held)
    laid = bench.laid(tape)
    if memory_budget is None and crest(laid.wanted) >= LARGE:
        laid = bench.laid(thrifty(advanced(tape), bench.sketch))
    if check:
        laid = bench.apart(_with_nan_fills(laid.tape))
    packed = laid.packed(GUARD if check else 0)
    places.update((s, (ARENA, o)) for s, o in packed.offsets.items())
    for storage in laid.shared:
        places[storage] = places[_root(storage, laid.shared)]
    tape = laid.tape
    return Plan(
        tape, places, [(packed.offsets.get(m, 0), m.nbytes) for m in laid.scratch],
        [s.source for s in states if isinstance(s.source, State)], constants,
        rounded(packed.top, PAGE), constant_bytes,
        sum(c.section == "prelude" for c in tape.calls),
        next((i for i, c in enumerate(tape.calls) if c.section == "update"), len(tape.calls)), packed.guards,
    )


@dataclass(frozen=True)
class _Laid:
    """What a tape wants of the arena, and which outputs take over an input's memory."""

    tape: Tape
    wanted: list[Wanted]
    shared: dict[Storage, Storage]
    scratch: list[Storage]  # one a call

    def packed(self, guard: int = 0) -> Packed:
        return pack(self.wanted, guard)


class _Bench:
    """Lays tapes out: the same one is tried with its updates early and late, and with more and more computed again."""

    def __init__(self, scratch_bytes: ScratchBytes, fixed: Collection[Storage]) -> None:
        self.scratch_bytes, self.fixed = scratch_bytes, fixed
        self._sizes: dict[Hashable, int] = {}

    def laid(self, tape: Tape) -> _Laid:
        """`tape` with its updates where they were, or early if that needs less memory."""
        tape = joined(tape)
        late, early = self._laid(tape), self._laid(advanced(tape))
        return early if crest(early.wanted) < crest(late.wanted) else late

    def mapped(self, tape: Tape) -> int:
        """Bytes of the arena for `tape`, in whole pages."""
        return rounded(self.laid(tape).packed().top, PAGE)

    def sketch(self, tape: Tape, ns: Callable[[Call], float]) -> Sketch:
        return Sketch(tape, self._scratch, self.fixed, ns)

    def apart(self, tape: Tape) -> _Laid:
        """`tape` with every storage alive from beginning to end."""
        laid, calls = self._laid(tape, share=False), len(tape.calls)
        return replace(laid, wanted=[Wanted(w.storage, -1, calls) for w in laid.wanted])

    def _laid(self, tape: Tape, share: bool = True) -> _Laid:
        life = _lifetimes(tape)
        shared = _shared(tape, life, self.fixed) if share else {}
        wanted = [Wanted(s, *ends) for s, ends in life.items() if s not in self.fixed and s not in shared]
        scratch = [Storage(f"scratch{i}", self._scratch(c)) for i, c in enumerate(tape.calls)]
        wanted += [Wanted(mark, i, i) for i, mark in enumerate(scratch) if mark.nbytes]
        return _Laid(tape, wanted, shared, scratch)

    def _scratch(self, call: Call) -> int:
        if call.row.name == "callback":
            return 0
        shapes = tuple(b and (b.shape, b.dtype, b.dense) for _, b in call.tensors())
        key = (call.row.name, shapes, *call.params.values())
        if key not in self._sizes:
            self._sizes[key] = self.scratch_bytes(call)
        return self._sizes[key]


# ---- updates go straight into their states

def _place_updates(tape: Tape) -> None:
    """Every update ends in its state: in place where the contract allows, by a copy at the end elsewhere."""
    taken: dict[Storage, Storage] = {}
    _save_old_values(tape)
    writer = {s: number for number, c in enumerate(tape.calls) for s in c.writes()}
    last_reader = {s: number for number, c in enumerate(tape.calls) for s in c.reads()}
    in_place = {pair for c in tape.calls if c.section == "update" for pair in _shareable(c)}
    for state, new in tape.updates:
        old = tape.states[state].storage
        read_later = last_reader.get(old, -1) > writer.get(new.storage, -1)
        if (new.storage, old) in in_place and not read_later and old not in taken.values():
            taken[new.storage] = old
        else:
            tape.calls.append(Call(ROWS["copy"], (new,), (new.at(old),), {}, "update", state.path))
    for call in tape.calls:
        call.inputs = tuple(b and b.at(taken.get(b.storage, b.storage)) for b in call.inputs)
        call.outputs = tuple(b and b.at(taken.get(b.storage, b.storage)) for b in call.outputs)
    tape.outputs = {n: b.at(taken.get(b.storage, b.storage)) for n, b in tape.outputs.items()}
    tape.updates = []


def _save_old_values(tape: Tape) -> None:
    """Results and updates that are a state's old value are copied before the first state is written."""
    written = {tape.states[state].storage for state, _ in tape.updates}
    first = next((i for i, c in enumerate(tape.calls) if c.section == "update"), len(tape.calls))

    def saved(b: Buffer) -> Buffer:
        if b.storage not in written:
            return b
        old = replace(b, storage=Storage(f"old {b.name}", b.storage.nbytes))
        tape.calls.insert(first, Call(ROWS["copy"], (b,), (old,), {}, "update", b.name))
        return old

    tape.updates = [(state, saved(new)) for state, new in tape.updates if new.storage is not tape.states[state].storage]
    tape.outputs = {name: saved(b) for name, b in tape.outputs.items()}


def _shareable(call: Call) -> Iterator[tuple[Storage, Storage]]:
    """(output, input) storages of a call that may be the same memory."""
    for o, i in call.overwrites():
        out, given = call.outputs[o], call.inputs[i]
        if out is not None and given is not None:
            yield out.storage, given.storage


# ---- lifetimes

def _lifetimes(tape: Tape) -> dict[Storage, tuple[int, int]]:
    """First and last call of every storage; inputs live from before the first call, results to the end."""
    life = {i.buffer.storage: (-1, -1) for i in tape.inputs}
    for number, call in enumerate(tape.calls):
        for storage in (*call.reads(), *call.writes()):
            life[storage] = (life.get(storage, (number, 0))[0], number)
    for b in tape.outputs.values():
        life[b.storage] = (life.get(b.storage, (-1, 0))[0], len(tape.calls))
    return life


def _shared(tape: Tape, life: dict[Storage, tuple[int, int]], fixed: Collection[Storage]) -> dict[Storage, Storage]:
    """Outputs that take over an input's memory: both of one size, the input dying in that call."""
    shared: dict[Storage, Storage] = {}
    owners: set[Storage] = set()
    for number, call in enumerate(tape.calls):
        for o, i in call.overwrites():
            out, given = call.outputs[o], call.inputs[i]
            if out is None or given is None or out.storage in fixed or given.storage in fixed or out.storage in shared:
                continue
            if out.channels is not None or given.channels is not None:
                continue
            alone = sum(s is given.storage for s in call.reads()) == 1
            free = life[given.storage][1] == number and given.storage not in owners
            if alone and free and out.storage.nbytes == given.storage.nbytes and out.storage is not given.storage:
                shared[out.storage] = given.storage
                owners.add(given.storage)
    for storage, owner in shared.items():
        root = _root(owner, shared)
        life[root] = (life[root][0], max(life[root][1], life[storage][1]))
    return shared


def _root(storage: Storage, shared: dict[Storage, Storage]) -> Storage:
    while storage in shared:
        storage = shared[storage]
    return storage


def _state_storages(tape: Tape) -> list[Storage]:
    return [b.storage for b in tape.states.values()]


def _constants(tape: Tape) -> list[Storage]:
    found = {s: None for c in tape.calls for s in c.reads() if isinstance(s.source, np.ndarray)}
    found |= {s: None for c in tape.calls if c.section == "prelude" for s in c.writes()}
    found |= {b.storage: None for b in tape.outputs.values() if isinstance(b.storage.source, np.ndarray)}
    return list(found)


def _stack(storages: list[Storage], places: dict[Storage, tuple[int, int]]) -> int:
    """Places storages one behind the other in the constants; returns the bytes taken."""
    top = 0
    for storage in storages:
        places[storage] = (CONSTANTS, top)
        top += rounded(max(storage.nbytes, 1), ALIGN)
    return top


# ---- STRIATE_CHECK

def _with_nan_fills(tape: Tape) -> Tape:
    """`tape` with a call behind each storage's last use that fills it with NaN."""
    kept = {b.storage for b in tape.outputs.values()} | set(_state_storages(tape)) | set(_constants(tape))
    seen: dict[Storage, Buffer] = {i.buffer.storage: i.buffer for i in tape.inputs}
    seen |= {b.storage: b for c in tape.calls for b in c.outputs if b is not None}
    whole = {s: Buffer(s, (s.nbytes // 4,), "float32") for s, b in seen.items() if b.dtype == "float32"}
    last = {s: n for s, (_, n) in _lifetimes(tape).items() if n >= 0}
    calls = []
    for number, call in enumerate(tape.calls):
        calls.append(call)
        dead = [s for s in (*call.reads(), *call.writes()) if last[s] == number and s not in kept and s in whole]
        for storage in dict.fromkeys(dead):
            calls.append(Call(ROWS["fill_nan"], (whole[storage],), (), {}, call.section, call.path))
    return Tape(calls, tape.inputs, tape.outputs, tape.updates, tape.states)
