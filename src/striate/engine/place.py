"""Place: every storage's first and last use is known, so memory is handed out like registers, before anything runs.

A tensor may take over the memory of one that dies in the same call where the contract allows it; an update of a state
is written straight into the state. What is left gets an offset in one arena: largest first, each at the lowest offset
that no storage alive at the same time holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from striate.engine.tape import Buffer, Call, Storage, Tape
from striate.graph import State, table
from striate.kernels.contract import ROWS

ALIGN = 64  # a cache line
PAGE = 4096
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
        return sum(s.storage.nbytes for s in self.states)

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


def place(tape: Tape, scratch_bytes: ScratchBytes, check: bool = False) -> Plan:
    """A plan of `tape`. With check, every storage is apart from the others, guarded, and filled with NaN when dead."""
    _place_updates(tape)
    if check:
        tape = _with_nan_fills(tape)
    life = _lifetimes(tape)
    shared = {} if check else _shared(tape, life)
    sizes = [scratch_bytes(c) for c in tape.calls]
    constants = _constants(tape)
    places: dict[Storage, tuple[int, int]] = {}
    constant_bytes = _stack(constants, places)
    for number, storage in enumerate(_state_storages(tape)):
        places[storage] = (CONSTANTS + 1 + number, 0)
    arena = _Arena(len(tape.calls), GUARD if check else 0, check)
    for storage, (first, last) in life.items():
        if storage not in places and storage not in shared:
            arena.add(storage, storage.nbytes, first, last)
    marks = [Storage(f"scratch{i}", size) for i, size in enumerate(sizes)]
    for i, mark in enumerate(marks):
        if mark.nbytes:
            arena.add(mark, mark.nbytes, i, i)
    offsets = arena.offsets()
    places.update((s, (ARENA, o)) for s, o in offsets.items())
    for storage, owner in shared.items():
        places[storage] = places[_root(owner, shared)]
    return Plan(
        tape, places, [(offsets.get(m, 0), m.nbytes) for m in marks],
        [s.source for s in _state_storages(tape) if isinstance(s.source, State)], constants,
        _round(arena.top, PAGE), _round(constant_bytes, PAGE),
        sum(c.section == "prelude" for c in tape.calls),
        next((i for i, c in enumerate(tape.calls) if c.section == "update"), len(tape.calls)), arena.guards,
    )


def _round(n: int, to: int) -> int:
    return -(-n // to) * to


# ---- updates go straight into their states

def _place_updates(tape: Tape) -> None:
    """Every update ends in its state: in place where the contract allows, by a copy at the end elsewhere."""
    taken: dict[Storage, Storage] = {}
    _save_old_values(tape)
    for state, new in tape.updates:
        old = tape.states[state].storage
        writer = next((i for i, c in enumerate(tape.calls) if new.storage in c.writes()), -1)
        if writer >= 0 and _may_overwrite(tape, writer, new.storage, old) and old not in taken.values():
            taken[new.storage] = old
        else:
            copied = replace(new, storage=old)
            tape.calls.append(Call(ROWS["copy"], (new,), (copied,), {}, "update", state.path))
    for call in tape.calls:
        call.inputs = tuple(b and replace(b, storage=taken.get(b.storage, b.storage)) for b in call.inputs)
        call.outputs = tuple(b and replace(b, storage=taken.get(b.storage, b.storage)) for b in call.outputs)
    tape.outputs = {n: replace(b, storage=taken.get(b.storage, b.storage)) for n, b in tape.outputs.items()}
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


def _may_overwrite(tape: Tape, writer: int, new: Storage, old: Storage) -> bool:
    call = tape.calls[writer]
    allowed = any(_holds(call.outputs[o], new) and _holds(call.inputs[i], old) for o, i in call.overwrites())
    reads_later = any(old in c.reads() for c in tape.calls[writer + 1 :])
    return call.section == "update" and allowed and not reads_later


def _holds(b: Buffer | None, storage: Storage) -> bool:
    return b is not None and b.storage is storage


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


def _shared(tape: Tape, life: dict[Storage, tuple[int, int]]) -> dict[Storage, Storage]:
    """Outputs that take over an input's memory: both of one size, the input dying in that call."""
    shared: dict[Storage, Storage] = {}
    fixed = set(_state_storages(tape)) | set(_constants(tape))
    for number, call in enumerate(tape.calls):
        for o, i in call.overwrites():
            out, given = call.outputs[o], call.inputs[i]
            if out is None or given is None or {out.storage, given.storage} & fixed or out.storage in shared:
                continue
            alone = sum(s is given.storage for s in call.reads()) == 1
            free = life[given.storage][1] == number and given.storage not in shared.values()
            if alone and free and out.storage.nbytes == given.storage.nbytes and out.storage is not given.storage:
                shared[out.storage] = given.storage
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
        top += _round(max(storage.nbytes, 1), ALIGN)
    return top


# ---- the arena

class _Arena:
    """Interval packing: storages with lifetimes, largest first, each at the lowest free offset."""

    def __init__(self, calls: int, guard: int, apart: bool) -> None:
        self.calls, self.guard, self.apart = calls, guard, apart
        self.wanted: list[tuple[int, int, int, Storage]] = []
        self.guards: list[tuple[int, int]] = []
        self.top = 0

    def add(self, storage: Storage, nbytes: int, first: int, last: int) -> None:
        life = (-1, self.calls) if self.apart else (first, last)
        self.wanted.append((_round(max(nbytes, 1), ALIGN), *life, storage))

    def offsets(self) -> dict[Storage, int]:
        placed: list[tuple[int, int, int, int]] = []  # offset, end, first, last
        found: dict[Storage, int] = {}
        for size, first, last, storage in sorted(self.wanted, key=lambda w: (-w[0], w[1], w[3].name)):
            offset = self.guard
            for low, high, start, stop in sorted(placed):
                if start <= last and first <= stop:
                    if low - offset >= size + self.guard:
                        break
                    offset = max(offset, high + self.guard)
            placed.append((offset, offset + size, first, last))
            found[storage] = offset
            self.top = max(self.top, offset + size + self.guard)
            if self.guard:
                end = offset + storage.nbytes
                self.guards += [(offset - self.guard, self.guard), (end, offset + size + self.guard - end)]
        return found


# ---- STRIATE_CHECK

def _with_nan_fills(tape: Tape) -> Tape:
    """`tape` with a call behind each storage's last use that fills it with NaN."""
    kept = {b.storage for b in tape.outputs.values()} | set(_state_storages(tape)) | set(_constants(tape))
    seen: dict[Storage, Buffer] = {i.buffer.storage: i.buffer for i in tape.inputs}
    seen |= {b.storage: b for c in tape.calls for b in c.outputs if b is not None}
    last = {s: n for s, (_, n) in _lifetimes(tape).items() if n >= 0}
    calls = []
    for number, call in enumerate(tape.calls):
        calls.append(call)
        dead = [s for s in (*call.reads(), *call.writes()) if last[s] == number and s not in kept and s in seen]
        for storage in dict.fromkeys(dead):
            if seen[storage].dtype == "float32":
                calls.append(Call(ROWS["fill_nan"], (seen[storage],), (), {}, call.section, call.path))
    return Tape(calls, tape.inputs, tape.outputs, tape.updates, tape.states)
