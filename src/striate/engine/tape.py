"""The Tape: kernel calls over named buffers, not yet placed in memory.

A storage is written by one call and read by later ones. A buffer is a storage seen under a shape; rank 4 buffers are
NHWC in memory unless they are `dense` (weights, OIHW). A tape is played call by call by any kernel set, or placed and
compiled to a Program.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from striate.graph import Array, State, table
from striate.kernels.contract import Row, Shape, Spec
from striate.kernels.problem import Problem

SECTIONS = ("prelude", "forward", "backward", "update")


@dataclass(eq=False)
class Storage:
    """Memory for one tensor. `source` is the state or constant that it holds; None is memory of the arena."""

    name: str
    nbytes: int
    source: State | Array | None = None


@dataclass(frozen=True)
class Buffer:
    """A storage under a shape and dtype; this is what forward and backward get from the recorder instead of arrays.

    With `channels` it is a part of wider pixels: so many channels lie in each, and its own begin at number `first`.
    """

    storage: Storage
    shape: Shape
    dtype: str
    dense: bool = False
    first: int = 0
    channels: int | None = None

    @property
    def spec(self) -> Spec:
        return Spec(self.shape, self.dtype)

    @property
    def name(self) -> str:
        return self.storage.name

    @property
    def nbytes(self) -> int:
        """Of its own elements: a part of wider pixels has fewer than its storage."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def flat(self) -> bool:
        """Whether NHWC and row-major are the same memory: rank below 4, one channel, or one pixel."""
        return len(self.shape) != 4 or self.shape[1] == 1 or self.shape[2] == self.shape[3] == 1

    def at(self, storage: Storage) -> Buffer:
        """The same view of another storage."""
        return self if storage is self.storage else replace(self, storage=storage)

    def reshape(self, *shape: Any) -> Buffer:
        """The same memory under another shape; row-major memory only."""
        sizes: Shape = tuple(shape[0]) if shape and isinstance(shape[0], tuple) else shape
        assert math.prod(sizes) == math.prod(self.shape), (self.shape, sizes)
        seen = replace(self, shape=sizes, dense=len(sizes) == 4 and not replace(self, shape=sizes).flat)
        assert self.dense or self.flat, f"{self.name}: {self.shape} is not row-major"
        return seen


@dataclass(eq=False)
class Call:
    """One kernel call. A merged call holds the tensors of `repeat` calls one behind the other."""

    row: Row
    inputs: tuple[Buffer | None, ...]
    outputs: tuple[Buffer | None, ...]
    params: dict[str, Any]
    section: str
    path: str = ""
    repeat: int = 1
    problem: Problem | None = None  # what a product computes, or packs filters for

    def reads(self) -> Iterator[Storage]:
        yield from (b.storage for b in self.inputs if b is not None)

    def writes(self) -> Iterator[Storage]:
        yield from (b.storage for b in self.outputs if b is not None)

    def overwrites(self) -> Iterator[tuple[int, int]]:
        """(output, input) positions that may share memory."""
        ins, outs = len(self.inputs) // self.repeat, len(self.outputs) // self.repeat
        for group in range(self.repeat):
            yield from ((group * outs + o, group * ins + i) for o, i in self.row.overwrites)

    def tensors(self) -> Iterator[tuple[str, Buffer | None]]:
        """(contract name, buffer) in the order the native core wants: inputs, then outputs, group by group."""
        if self.row.signature.startswith("xs*"):
            yield from (("xs", b) for b in self.inputs)
            yield from ((self.row.outputs[0], b) for b in self.outputs)  # one, or those of a callback
            return
        ins, outs = len(self.row.inputs), len(self.row.outputs)
        for group in range(self.repeat):
            yield from zip(self.row.inputs, self.inputs[group * ins : (group + 1) * ins], strict=True)
            yield from zip(self.row.outputs, self.outputs[group * outs : (group + 1) * outs], strict=True)


@dataclass(eq=False)
class TapeInput:
    """What a run is given: the buffer it goes to, and the upper bound of an integer input (0: none)."""

    name: str
    buffer: Buffer
    limit: int


@dataclass(eq=False)
class Tape:
    """Calls in order, what they are given, what they result in, and which states they replace."""

    calls: list[Call] = field(default_factory=list)
    inputs: list[TapeInput] = field(default_factory=list)
    outputs: dict[str, Buffer] = field(default_factory=dict)
    updates: list[tuple[State, Buffer]] = field(default_factory=list)
    states: dict[State, Buffer] = field(default_factory=dict)

    def prune(self) -> Tape:
        """Without the calls and optional outputs that no result and no update needs."""
        needed = {b.storage for b in self.outputs.values()} | {b.storage for _, b in self.updates}
        kept = []
        for call in reversed(self.calls):
            if call.outputs and not any(s in needed for s in call.writes()):
                continue
            names = call.row.outputs * len(call.outputs)  # the pattern repeats; zip takes as much as there is
            call.outputs = tuple(
                b if b is None or b.storage in needed or not name.endswith("?") else None
                for b, name in zip(call.outputs, names, strict=False)
            )
            needed.update(call.reads())
            kept.append(call)
        self.calls = kept[::-1]
        used = {s for c in self.calls for s in c.reads()} | needed
        self.states = {state: b for state, b in self.states.items() if b.storage in used}
        return self

    def play(self, kernels: Any, inputs: dict[str, Array], dtype: str = "float32") -> dict[str, Array]:
        """The results, each call by `kernels` on arrays; updates are returned under their states' paths.

        States are read where they stand and not changed.
        """
        at: dict[Storage, Array] = {}
        for given in self.inputs:
            at[given.buffer.storage] = inputs[given.name]

        def value(b: Buffer | None) -> Array | None:
            if b is None:
                return None
            if b.storage not in at:
                source = b.storage.source
                array = np.asarray(source.array if isinstance(source, State) else source)
                at[b.storage] = array.astype(dtype) if array.dtype.kind == "f" else array
            return at[b.storage].reshape(b.shape)

        for call in self.calls:
            results = play_call(kernels, call, [value(b) for b in call.inputs])
            at.update((b.storage, r) for b, r in zip(call.outputs, results, strict=True) if b is not None)
        wanted = [*self.outputs.items(), *((state.path, b) for state, b in self.updates)]
        return {name: np.asarray(value(b)) for name, b in wanted}

    def fingerprint(self, isa: str) -> str:
        """A hash of what is computed and how: the same fingerprint and inputs give the same bits."""
        numbers: dict[Storage, int] = {}
        text = [isa]
        for call in self.calls:
            shapes = [b and (numbers.setdefault(b.storage, len(numbers)), b.shape, b.dtype) for _, b in call.tensors()]
            params = {k: v for k, v in call.params.items() if not callable(v)}
            text.append(f"{call.row.name}{shapes}{sorted(params.items(), key=str)}")
        return hashlib.sha256("\n".join(text).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        rows = [
            (i, c.section, c.path, c.row.name, _buffers(c.inputs), _buffers(c.outputs), _shapes(c.outputs))
            for i, c in enumerate(self.calls)
        ]
        heads = ("#", "section", "layer", "kernel", "reads", "writes", "shape")
        return table(heads, rows, right=("#",))


def play_call(kernels: Any, call: Call, arrays: list[Any]) -> list[Any]:
    """The outputs of `call` computed by `kernels`, a merged call group by group."""
    if call.row.name == "callback":
        specs = tuple(b.spec for b in call.outputs if b is not None)
        return list(kernels.callback(call.params["function"], arrays, specs))
    results: list[Any] = []
    size = len(arrays) // call.repeat
    for group in range(call.repeat):
        given = getattr(kernels, call.row.name)(*arrays[group * size : (group + 1) * size], **call.params)
        results += given if isinstance(given, tuple) else [] if given is None else [given]
    return results


def _buffers(buffers: tuple[Buffer | None, ...]) -> str:
    names = [b.name if b is not None else "-" for b in buffers]
    return ", ".join(names if len(names) <= 6 else [*names[:5], f"... {len(names)} in all"])


def _shapes(buffers: tuple[Buffer | None, ...]) -> str:
    shapes = [str(b.shape).replace(" ", "") for b in buffers if b is not None]
    return " ".join(shapes if len(shapes) <= 3 else [*shapes[:2], "..."])
