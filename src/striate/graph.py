"""The nouns of the engine: Value, Op, Node, State and Graph. This file knows no operation by name.

A Graph is what a network computes, traced once: nodes of operations over Values. It changes nothing; what a step
changes is named as updates, pairs (state, new value). Axis 0 of every input is the batch, so the graph of another
batch size is the shape rules run again (`rebatch`), never the user's Python.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from striate.errors import ConfigError, DtypeError, ShapeError, StriateError, unknown_name
from striate.kernels.contract import Shape, Spec

Array = np.ndarray[Any, Any]
Params = dict[str, Any]


@dataclass(frozen=True)
class Cost:
    """What one execution of an operation takes: multiply-accumulates, and other floating-point operations."""

    macs: int = 0
    other: int = 0


@dataclass(frozen=True)
class Op:
    """Everything about one operation.

    shape(*specs, **params) -> specs of the outputs; forward(k, *xs, **params) -> (y or ys, saved);
    backward(k, saved, *dys, **params) -> one gradient or None per input; cost(*specs, **params) -> Cost.
    `limits(*specs, **params)` maps an integer input's position to its exclusive upper bound.
    """

    name: str
    shape: Callable[..., tuple[Spec, ...]]
    forward: Callable[..., tuple[Any, tuple[Any, ...]]]
    backward: Callable[..., tuple[Any, ...]] | None
    cost: Callable[..., Cost]
    limits: Callable[..., dict[int, int]] | None = None
    optional: tuple[int, ...] = ()  # positions of inputs that may be None

    def __post_init__(self) -> None:
        OPS[self.name] = self

    def infer(self, *specs: Spec | None, **params: Any) -> tuple[Spec, ...]:
        """The shape rule; Raises: also DtypeError for a missing input and ShapeError for a fifth axis."""
        for i, spec in enumerate(specs):
            if spec is None and i not in self.optional:
                raise DtypeError(f"{self.name}: input {i + 1} must be a tensor, got None")
        outputs = self.shape(*specs, **params)
        for spec in specs:
            if spec is not None and len(spec.shape) > 4:
                raise ShapeError(f"{self.name}: a tensor must have rank 4 at most, got shape {spec.shape}")
        return outputs


OPS: dict[str, Op] = {}


def find_op(name: str) -> Op:
    if name not in OPS:
        raise unknown_name("graph", "operation", name, OPS)
    return OPS[name]


class Edits:
    """Process-wide counters: `count` of edits of states and Module attributes, `writes` of runs that wrote states."""

    count = 0
    writes = 0
    open = 0  # `with net.edit()` blocks under way: states may change at any time

    @classmethod
    def advance(cls) -> None:
        cls.count += 1


class State:
    """Something that outlives a run: a parameter, a statistic, an optimiser slot.

    Its memory stays where it is for life; `array` is a read-only view of it. Change it by `assign`. With an
    `initializer` (shape, seed, path) -> array it gets its first numbers when they are first needed: by then its path
    in the network, which is part of the random key, is known.
    """

    def __init__(self, array: Array, *, trainable: bool, path: str = "",
                 initializer: Callable[[Shape, int, str], Array] | None = None) -> None:
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        self.storage = aligned_copy(array)
        self.initializer = initializer
        self.pending = initializer is not None
        self.parameter = trainable  # what it is
        self.trainable = trainable  # whether gradients are computed for it now
        self.path = path

    def initialize(self, seed: int = 0) -> None:
        """Draws the state anew from its initializer, keyed by (seed, path)."""
        if self.initializer is not None:
            self.pending = False
            self.assign(self.initializer(self.shape, seed, self.path))

    @property
    def array(self) -> Array:
        if self.pending and not self.path:
            raise ConfigError(
                "state: has no numbers yet, they are drawn with its path in the network; use the network once, or call "
                "its initialize(seed)"
            )
        if self.pending:
            self.initialize()
        view: Array = self.storage.view()
        view.flags.writeable = False
        return view

    shape = property(lambda self: self.storage.shape)
    dtype = property(lambda self: self.storage.dtype)

    def assign(self, array: Any) -> None:
        """Copies `array` in; Raises: ConfigError if its shape is another one."""
        new = np.asarray(array)
        if new.shape != self.shape:
            raise ConfigError(f"state {self.path}: needs an array of shape {self.shape}, got {new.shape}")
        if new.dtype.kind not in "fiub":
            raise DtypeError(f"state {self.path}: needs numbers, got dtype {new.dtype}")
        self.pending = False
        self.storage[...] = new
        Edits.advance()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.array, dtype=dtype) if copy or dtype is not None else self.array

    def __deepcopy__(self, memo: dict[int, Any]) -> State:
        twin = State(self.storage, trainable=self.trainable, path=self.path, initializer=self.initializer)
        twin.parameter, twin.pending = self.parameter, self.pending
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (np.array(self.array), self.trainable, self.parameter, self.path)

    def __repr__(self) -> str:
        return f"State({self.path or 'unnamed'}, {self.shape}, {'trainable' if self.trainable else 'fixed'})"


def _restored(array: Array, trainable: bool, parameter: bool, path: str) -> State:
    state = State(array, trainable=trainable, path=path)
    state.parameter = parameter
    return state


def aligned_copy(array: Array) -> Array:
    """A C-contiguous copy of `array` that starts on a cache line."""
    nbytes = max(array.nbytes, 1)
    raw = np.zeros(nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    out: Array = raw[start : start + array.nbytes].view(array.dtype.newbyteorder("=")).reshape(array.shape)
    out[...] = array
    return out


class BatchSize(int):
    """The batch size of a traced value: to be looked at; a number made from it would be wrong for other batches."""

    def refuse(self, *_: Any) -> NoReturn:
        raise ConfigError(
            "the batch size cannot be computed with while a network is traced: the trace serves every batch size; "
            "use ops.mean for a mean over images"
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = refuse
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = refuse
    __mod__ = __rmod__ = __pow__ = __rpow__ = __neg__ = __float__ = refuse


@dataclass(eq=False)
class Value:
    """A tensor of a graph that has not been computed: shape, dtype, name, and where it comes from."""

    graph: Graph
    spec: Spec
    name: str
    source: Node | State | Array | None = None  # a node's output, a state, a constant, or (None) an input
    batched: bool = True  # an input whose axis 0 is the batch
    limit: int = 0  # exclusive upper bound of an integer input, 0 if there is none

    @property
    def shape(self) -> Shape:
        """The shape; of what depends on the batch, axis 0 is a BatchSize, which cannot be computed with."""
        sizes = self.spec.shape
        fixed = not sizes or not self.batched or isinstance(self.source, State | np.ndarray)
        return sizes if fixed else (BatchSize(sizes[0]), *sizes[1:])

    @property
    def dtype(self) -> str:
        return self.spec.dtype

    @property
    def ndim(self) -> int:
        return len(self.spec.shape)

    def __repr__(self) -> str:
        return f"Value({self.name}, {self.shape}, {self.dtype})"

    def __bool__(self) -> NoReturn:
        raise ConfigError(
            f"{self!r} has no truth value while a network is traced: the graph is recorded once for all inputs, "
            "so Python cannot branch on data; use an operation (clip, relu, mul by a mask) instead"
        )

    def __add__(self, other: Any) -> Value:
        return self.graph.binary("add", self, other)

    def __radd__(self, other: Any) -> Value:
        return self.graph.binary("add", other, self)

    def __sub__(self, other: Any) -> Value:
        return self.graph.binary("sub", self, other)

    def __rsub__(self, other: Any) -> Value:
        return self.graph.binary("sub", other, self)

    def __mul__(self, other: Any) -> Value:
        return self.graph.binary("mul", self, other)

    def __rmul__(self, other: Any) -> Value:
        return self.graph.binary("mul", other, self)

    def __truediv__(self, other: Any) -> Value:
        return self.graph.binary("div", self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return self.graph.binary("div", other, self)

    def __neg__(self) -> Value:
        return self.graph.binary("mul", self, -1.0)

    def _no_comparison(self, other: Any) -> NoReturn:
        raise ConfigError(
            f"{self!r} cannot be compared while a network is traced: it has no data yet; use ops.relu or ops.clip"
        )

    __lt__ = __le__ = __gt__ = __ge__ = _no_comparison

    def __eq__(self, other: object) -> bool:
        return self is other if other is None or isinstance(other, Value) else self._no_comparison(other)

    __hash__ = object.__hash__

    def __iter__(self) -> NoReturn:
        raise ConfigError(f"{self!r} cannot be iterated while a network is traced; use ops.split or ops.slice")

    def __getitem__(self, index: Any) -> NoReturn:
        raise ConfigError(f"{self!r} cannot be indexed while a network is traced; use ops.slice or ops.split")

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise ConfigError(f"{self!r} has no data while a network is traced; use striate.ops instead of NumPy on it")


setattr(Value, "__array_ufunc__", None)  # noqa: B010  # array + Value asks Value, not NumPy; no annotation has it


@dataclass(eq=False)
class Node:
    """One operation applied: its inputs, its parameters, its outputs and the layer it belongs to."""

    op: Op
    inputs: tuple[Value | None, ...]
    params: Params
    outputs: tuple[Value, ...] = ()
    path: str = ""

    def input_specs(self) -> tuple[Spec | None, ...]:
        return tuple(v.spec if v is not None else None for v in self.inputs)

    def cost(self) -> Cost:
        return self.op.cost(*self.input_specs(), **self.params)


@dataclass(eq=False)
class Graph:
    """What a network computes. `training` is how it was traced; `outputs` are named; `updates` change states."""

    training: bool = False
    inputs: list[Value] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    outputs: dict[str, Value] = field(default_factory=dict)
    updates: list[tuple[State, Value]] = field(default_factory=list)
    states: dict[State, Value] = field(default_factory=dict)
    paths: dict[int, str] = field(default_factory=dict)  # id(module) -> path, while tracing
    path: str = ""
    kind: str = ""
    nest: Any = None  # how the outputs lie in the tuples, lists and dicts that forward returned
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _keys: dict[str, int] = field(default_factory=dict)

    # ---- growing it

    def add_input(self, name: str, spec: Spec, batched: bool = True) -> Value:
        value = Value(self, spec, name, None, batched)
        self.inputs.append(value)
        return value

    def scalar(self, name: str, dtype: str) -> Value:
        """The run-time scalar `name` (seed, step, lr): an input of rank 0, the same wherever it is asked for."""
        found = [v for v in self.inputs if v.name == name]
        return found[0] if found else self.add_input(name, Spec((), dtype), batched=False)

    def value_of(self, x: Any) -> Value:
        """`x` as a Value of this graph: a Value, a State, or an array or number, which becomes a constant."""
        if isinstance(x, Value):
            if x.graph is not self:
                raise ConfigError(f"{x!r} belongs to another trace; values cannot be kept between calls")
            return x
        if isinstance(x, State):
            if x not in self.states:
                self.states[x] = Value(self, Spec(x.shape, str(x.dtype)), x.path or "state", x, batched=False)
            return self.states[x]
        array = np.array(x)
        if array.dtype.kind not in "fiu":
            raise DtypeError(f"graph: a constant must be a number or an array of numbers, got {type(x).__name__}")
        kept = array.astype(np.float32) if array.dtype.kind == "f" else array.astype(np.int64)
        return Value(self, Spec(array.shape, str(kept.dtype)), f"constant{next(self._numbers)}", kept, batched=False)

    def apply(self, op: Op, inputs: Sequence[Any], params: Params) -> tuple[Value, ...]:
        """Adds a node; Raises: what the op's shape rule raises, with the layer's path."""
        node = Node(op, tuple(None if x is None else self.value_of(x) for x in inputs), params, path=self.path)
        try:
            specs = op.infer(*node.input_specs(), **params)
        except StriateError as error:
            error.within(self.path, self.kind)
            raise
        self.finish(node, specs)
        return node.outputs

    def finish(self, node: Node, specs: tuple[Spec, ...]) -> None:
        stem = f"{node.path}.{node.op.name}" if node.path else node.op.name
        number = self._keys[stem] = self._keys.get(stem, -1) + 1
        name = stem if number == 0 else f"{stem}#{number}"
        names = [name] if len(specs) == 1 else [f"{name}[{i}]" for i in range(len(specs))]
        node.outputs = tuple(Value(self, s, n, node) for s, n in zip(specs, names, strict=True))
        self.nodes.append(node)
        if node.op.limits is not None:
            for i, bound in node.op.limits(*node.input_specs(), **node.params).items():
                target = node.inputs[i]
                if target is not None:
                    target.limit = min(target.limit or bound, bound)

    def binary(self, name: str, a: Any, b: Any) -> Value:
        """a (op) b with numbers as constants of the other's rank; Python's operators on Values come here."""
        for x in (a, b):
            if isinstance(x, BatchSize):
                x.refuse()
        rank = len((a if isinstance(a, Value | State) else b).shape)
        a, b = (np.full((1,) * rank, x, np.float32) if isinstance(x, int | float | np.number) else x for x in (a, b))
        return self.apply(find_op(name), (a, b), {})[0]

    def update(self, state: State, value: Value) -> None:
        """Names the new value of a state; a second update of it takes the place of the first."""
        self.updates = [(s, v) for s, v in self.updates if s is not state] + [(state, value)]

    def latest(self, state: State) -> Value:
        """What the state will be by the updates named so far: what a second use of a layer goes on from."""
        pending = [v for s, v in self.updates if s is state]
        return pending[0] if pending else self.value_of(state)

    @contextmanager
    def scope(self, path: str, kind: str) -> Iterator[None]:
        """Nodes added inside belong to the layer at `path`."""
        before = self.path, self.kind
        self.path, self.kind = path, kind
        try:
            yield
        except StriateError as error:
            error.within(path, kind)
            raise
        finally:
            self.path, self.kind = before

    # ---- reading it

    def values(self) -> Iterator[Value]:
        yield from self.inputs
        for node in self.nodes:
            yield from node.outputs

    def find(self, name: str) -> Value:
        """The value called `name`, or the last output of the layer of that path."""
        for value in self.values():
            if value.name == name:
                return value
        layer = [n for n in self.nodes if n.path == name or n.path.startswith(name + ".")]
        if not layer:
            raise unknown_name("watch", "value or layer", name, [n.path for n in self.nodes if n.path])
        return layer[-1].outputs[0]

    def inline(self, new: Graph, at: dict[Value, Value]) -> Callable[[Value], Value]:
        """Replays the nodes in `new`, the shape rules run again; `at` maps this graph's inputs to values of `new`.

        Returns the function that maps any value of this graph to its counterpart.
        """

        def moved(value: Value) -> Value:
            if value not in at:
                at[value] = new.value_of(value.source)
            return at[value]

        for node in self.nodes:
            with new.scope(node.path, node.op.name):
                outputs = new.apply(node.op, [None if v is None else moved(v) for v in node.inputs], node.params)
            at.update(zip(node.outputs, outputs, strict=True))
        return moved

    def rebatch(self, n: int) -> Graph:
        """The same graph for a batch of `n`."""
        new, at = Graph(self.training, nest=self.nest), dict[Value, Value]()
        for v in self.inputs:
            at[v] = new.add_input(v.name, Spec((n, *v.shape[1:]), v.dtype) if v.batched else v.spec, v.batched)
        moved = self.inline(new, at)
        new.outputs = {name: moved(v) for name, v in self.outputs.items()}
        new.updates = [(state, moved(v)) for state, v in self.updates]
        return new

    def __str__(self) -> str:
        rows = [
            (v.name, n.op.name, *map(str, (v.shape, v.dtype)), ", ".join(i.name for i in n.inputs if i is not None))
            for n in self.nodes
            for v in n.outputs
        ]
        heads = ("value", "operation", "shape", "dtype", "from")
        ends = [f"outputs: {', '.join(f'{k} = {v.name}' for k, v in self.outputs.items())}"]
        ends += [f"update:  {state.path} <- {value.name}" for state, value in self.updates]
        return "\n".join([table(heads, rows), *ends])


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[str] = ()) -> str:
    """Aligned text columns under `heads`; the heads named in `right` are right-aligned."""
    cells = [tuple(heads), *(tuple(map(str, r)) for r in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(c.rjust(w) if h in right else c.ljust(w) for c, w, h in zip(r, widths, heads, strict=True)).rstrip()
        for r in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def elements(spec: Spec) -> int:
    """How many numbers a tensor holds."""
    return math.prod(spec.shape)
