"""Node and Graph: what a network computes, traced once.

A Graph is nodes of operations over Values. It changes nothing; what a step changes is named as updates, pairs (state,
new value). Axis 0 of every input is the batch, so the graph of another batch size is the shape rules run again
(`rebatch`), never the user's Python.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from striate.errors import ConfigError, DtypeError, StriateError, unknown_name
from striate.graph.op import Cost, Op, Params, find_op
from striate.graph.state import State
from striate.graph.table import table
from striate.graph.value import BatchSize, Value
from striate.kernels.contract import Spec


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
    failed: Node | None = None  # whose shape rule refused
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
            self.failed = node
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
