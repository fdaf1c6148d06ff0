"""Program: a placed tape in the hands of the native core, which runs all of it in one call."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from striate.engine.place import ARENA, place
from striate.engine.profile import Profile, estimated_ns
from striate.engine.results import Results
from striate.engine.tape import Buffer, Call, Tape, TapeInput
from striate.engine.turn import turned
from striate.errors import DtypeError, LimitError, NonFiniteError, ShapeError
from striate.graph import Array, Edits
from striate.kernels import _native
from striate.kernels.callback import call_back
from striate.kernels.contract import DENSE
from striate.kernels.native import DTYPES, encode
from striate.ops.dispatch import check_targets

TEAM_NS = 100_000  # a run below this (about 60 us in truth) is done by one thread sooner than another wakes up
CALL_NS = 3_000  # a call below this costs more to share than to do: a phase is about 1 us

Tensor = tuple[int, int, tuple[int, ...], int, int]  # block, offset, shape, ld, dtype code


class Arena:
    """The memory that all programs of a net share: as large as the largest of them asked for.

    A run holds the block it uses, so that growing or releasing the arena beside it takes nothing away. A run inside a
    callback of another one gets a block of its own.
    """

    def __init__(self) -> None:
        self.block: Any = None
        self.running: set[int] = set()  # threads
        self.checking = threading.RLock()  # runs that guard the block take turns: one's guards are another's memory

    def taken(self, nbytes: int, inner: bool) -> Any:
        """A block of at least `nbytes` for a run; `inner` for one inside another of the same thread."""
        block = reserved(nbytes) if inner else self.block
        if block is None or block.nbytes < nbytes:
            self.block = None  # the old block goes back before the new one is taken
            self.block = block = reserved(nbytes)
        return block

    def release(self) -> None:
        self.block = None


def reserved(nbytes: int) -> Any:
    """A block of memory. Raises: LimitError if there is not so much."""
    try:
        return _native.Block(nbytes)
    except MemoryError:
        raise LimitError(f"program: needs {nbytes} bytes at once, which this machine does not have") from None


class Program:
    """A tape that runs: `run` copies the inputs in, computes, and copies the results out.

    bytes: `plan.peak_bytes` are the states, constants and arena it needs, known before it runs.
    """

    def __init__(self, tape: Tape, *, isa: str, threads: int, arena: Arena | None = None, nest: Any = 0,
                 memory_budget: int | None = None) -> None:
        self.isa, self.threads, self.arena = isa, threads, arena or Arena()
        self.nest = nest  # how the results lie in the tuples, lists and dicts that forward returned
        self.check = os.environ.get("STRIATE_CHECK") == "1"
        self.fingerprint = tape.fingerprint(isa)
        self.plan = place(tape, functools.partial(scratch_bytes, isa, threads), self.check, memory_budget)
        self._constants = reserved(self.plan.constant_bytes) if self.plan.constant_bytes else None
        self._fill_constants()
        self._prelude_seen: tuple[int, int] | None = None
        self._undrawn = [(state, state.path) for state in self.plan.states if state.pending]
        self._inputs = [(i, np.dtype(i.buffer.dtype)) for i in self.plan.tape.inputs]
        self._results = Results(self.plan.tape.outputs)
        self._blocks = [self._constants.address if self._constants else 0,
                        *(s.storage.ctypes.data for s in self.plan.states)]  # all but the arena stay where they are
        self._native = self._bind()

    def run(self, inputs: Mapping[str, Any], profile: bool = False) -> dict[str, Array]:
        """Fresh arrays of the results. Every input that the tape names must be given, in its exact shape.

        Raises: ShapeError, DtypeError, ConfigError for inputs; NonFiniteError if the loss is not finite: then no
        state was changed.
        """
        plan = self.plan
        self._draw()
        feeds = [_feed(inputs[i.name], i, dtype) for i, dtype in self._inputs]
        results = self._results.fresh()
        now = None if Edits.open else (Edits.count, Edits.writes)
        prelude, self._prelude_seen = now is None or now != self._prelude_seen, None
        thread, running = threading.get_ident(), self.arena.running
        inner = thread in running
        block = self.arena.taken(plan.arena_bytes, inner)
        running.add(thread)
        try:
            given = [block.address, *self._blocks], feeds, list(results.values()), prelude, profile
            stopped = self._guarded(block, *given) if self.check else self._native.run(*given)
        finally:
            if not inner:
                running.discard(thread)
        if plan.update_from < len(plan.tape.calls):
            Edits.writes += 1
        self._prelude_seen = now
        if stopped >= 0:
            raise NonFiniteError(f"{plan.tape.calls[stopped].path}: must be finite, got NaN or infinity")
        return results

    def profile(self, inputs: Mapping[str, Any]) -> Profile:
        """One run with the time of every call."""
        self.run(inputs, profile=True)
        return Profile(self.plan, self.call_ns, self.isa, self.threads)

    @property
    def call_ns(self) -> list[int]:
        """Of the last run with profile=True: ns of each call of the plan's tape."""
        return list(self._native.last_profile())

    @property
    def mapped_bytes(self) -> int:
        """What is really held for this program: states, constants and its part of the arena."""
        constants = self._constants.nbytes if self._constants else 0
        arena = self.arena.block.nbytes if self.arena.block else 0
        return self.plan.state_bytes + constants + arena

    def __str__(self) -> str:
        return f"{self.plan}\nisa {self.isa}, threads {self.threads}, fingerprint {self.fingerprint}"

    # ---- binding

    def _bind(self) -> Any:
        plan = self.plan
        calls: list[tuple[Any, ...]] = []
        tape = plan.tape.calls
        for call, (offset, nbytes), *order in zip(tape, plan.scratch, alone(tape), turned(tape), strict=True):
            tensors = [self._tensor(name, b, call) for name, b in call.tensors()]
            if call.row.name == "callback":
                calls.append(("callback", tensors, _checked_callback(call), len(call.inputs)))
                continue
            ints, floats = encode(call.row, call.params)
            calls.append((call.row.name, tensors, ints, floats, ARENA, offset, nbytes, *order))
        inputs = [self._tensor("x", i.buffer) for i in plan.tape.inputs]
        outputs = [self._tensor("y", b) for b in plan.tape.outputs.values()]
        sizes = [plan.arena_bytes, plan.constant_bytes, *(s.nbytes for s in plan.states)]
        return _native.Program(self.isa, self.threads, calls, inputs, outputs, sizes, plan.update_from, plan.prelude)

    def _tensor(self, name: str, b: Buffer | None, call: Call | None = None) -> Tensor | None:
        if b is None:
            return None
        block, offset = self.plan.places[b.storage]
        return (block, offset + b.first * np.dtype(b.dtype).itemsize, *described(name, b, call))

    # ---- running

    def _draw(self) -> None:
        """The first numbers of states that have none, each keyed by the path it had when this was planned."""
        while self._undrawn:
            state, path = self._undrawn.pop()
            if state.pending:
                state.path = path
                state.draw()

    def _fill_constants(self) -> None:
        for storage in self.plan.constants:
            if self._constants and isinstance(storage.source, np.ndarray):
                offset = self.plan.places[storage][1]
                memory = self._constants.array()[offset : offset + storage.nbytes]
                memory[:] = np.ascontiguousarray(storage.source).reshape(-1).view(np.uint8)

    def _guarded(self, block: Any, *given: Any) -> int:
        with self.arena.checking:
            self._poison(block)
            stopped: int = self._native.run(*given)
            self._check_guards(block)
        return stopped

    def _poison(self, block: Any) -> None:
        block.array()[:] = 0xFF  # every float32 is NaN: reading what was not written shows
        for offset, nbytes in self.plan.guards:
            _native.poison(block.address + offset, nbytes)

    def _check_guards(self, block: Any) -> None:
        memory = block.array()
        for offset, nbytes in self.plan.guards:
            _native.unpoison(block.address + offset, nbytes)
            assert (memory[offset : offset + nbytes] == 0xFF).all(), f"a kernel wrote outside its tensors at {offset}"


def scratch_bytes(isa: str, threads: int, call: Call) -> int:
    """What a call needs beside its tensors, while it runs."""
    if call.row.name == "callback":
        return 0
    tensors = [None if b is None else (*described(name, b, call), 1) for name, b in call.tensors()]
    return int(_native.scratch(isa, call.row.name, tensors, *encode(call.row, call.params), threads))


def alone(calls: list[Call]) -> list[bool]:
    """Whether each call is too small to share among threads: one computes it while the others wait."""
    ns = [estimated_ns(c) for c in calls]
    tiny = sum(n for c, n in zip(calls, ns, strict=True) if c.section != "prelude") < TEAM_NS
    return [tiny or n < CALL_NS for n in ns]


def _checked_callback(call: Call) -> Callable[..., tuple[Array, ...]]:
    specs = [b.spec for b in call.outputs if b is not None]
    return lambda *arrays: call_back(call.params["function"], arrays, specs)


def described(name: str, b: Buffer, call: Call | None = None) -> tuple[tuple[int, ...], int, int]:
    """(shape, ld, dtype code) as the native core reads it: dense rank 4 tensors carry ld = 0.

    A dense tensor under a name that means NHWC belongs to a pointwise kernel, for which it is one long row.
    """
    shape = b.shape
    if b.channels is not None:
        return shape, b.channels, DTYPES[b.dtype]
    dense = b.dense or name.rstrip("?*") in DENSE
    if len(shape) == 4 and b.dense and call is not None and name.rstrip("?*") not in DENSE:
        shape = (b.storage.nbytes // np.dtype(b.dtype).itemsize,)
    ld = 0 if len(shape) == 4 and dense else shape[1] if len(shape) in (2, 4) else shape[-1] if shape else 1
    return shape, ld, DTYPES[b.dtype]


def _feed(given: Any, wanted: TapeInput, dtype: np.dtype[Any]) -> Array:
    """`given` as an array that the native core copies in."""
    array, name, buffer = np.asarray(given), wanted.name, wanted.buffer
    if array.dtype is not dtype and array.dtype != dtype:
        if not _converts(array, buffer):
            raise DtypeError(f"{name}: needs an array of {buffer.dtype}, got {array.dtype}")
        array = array.astype(dtype)
    if array.shape != buffer.shape:
        raise ShapeError(f"{name}: needs an array of shape {buffer.shape}, got {array.shape}")
    if wanted.limit:
        check_targets(name, array, wanted.limit)
    return array


def _converts(array: Array, b: Buffer) -> bool:
    """Whether the numbers of `array` are those of `b` in another form: other integers, byte order, or a scalar."""
    integers = array.dtype.kind in "iu" and b.dtype == "int64"
    scalar = array.ndim == 0 and array.dtype.kind in "iuf" and b.shape == ()
    return integers or scalar or array.dtype.newbyteorder("=") == b.dtype
