"""Record: the forward and backward of a graph's operations, written down as kernel calls instead of computed.

The operations do not know: the Recorder is a kernel set like any other, whose arrays are buffers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from striate.engine.absorb import absorb
from striate.engine.tape import Buffer, Call, Storage, Tape, TapeInput
from striate.errors import ConfigError, StriateError
from striate.graph import Array, Graph, Node, State, Value, elements
from striate.kernels.contract import DENSE, ROWS, Row, Spec
from striate.kernels.target import Target

CALLBACK = Row("callback", "xs* -> ys*", "", lambda *_: ())


class Optimizer(Protocol):
    """What a training step needs of an optimiser; it is written against a kernel set, like an operation."""

    @property
    def scalars(self) -> Mapping[str, str]: ...

    def slots(self, state: State) -> tuple[State, ...]:
        """The states the optimiser keeps for a parameter."""

    def update(self, k: Any, w: Any, g: Any, slots: tuple[Any, ...], scalars: dict[str, Any]) -> tuple[Any, ...]:
        """The new w and the new slots."""


class Recorder:
    """A kernel set that computes nothing: every call is written down and gives buffers.

    With `once` a call that stands there already is not written down again: its buffers are given a second time.
    """

    def __init__(self, target: Target, once: bool = False) -> None:
        self.target = target
        self.calls: list[Call] = []
        self._known: dict[Any, Any] | None = {} if once else None
        self.section, self.path = "forward", ""
        self._count: dict[str, int] = {}
        self._named: set[Storage] = set()

    def __getattr__(self, name: str) -> Any:
        if name not in ROWS:
            raise AttributeError(name)
        return functools.partial(self._record, ROWS[name])

    def buffer(self, stem: str, spec: Spec, dense: bool = False, source: State | Array | None = None) -> Buffer:
        """A new buffer with a name of its own."""
        count = self._count[stem] = self._count.get(stem, 0) + 1
        name = stem if count == 1 else f"{stem}#{count}"
        buffer = Buffer(Storage(name, elements(spec) * np.dtype(spec.dtype).itemsize, source), spec.shape, spec.dtype)
        return replace(buffer, dense=dense and not buffer.flat)

    def named(self, buffer: Buffer, name: str) -> Buffer:
        """`buffer`; its storage takes the name of the value it holds unless it has one already."""
        if buffer.storage.source is None and buffer.storage not in self._named:
            self._named.add(buffer.storage)
            buffer.storage.name = name
        return buffer

    def callback(self, function: Any, xs: Sequence[Buffer], specs: Sequence[Spec]) -> tuple[Buffer, ...]:
        outputs = tuple(self.buffer(self._stem("callback"), s) for s in specs)
        given = tuple(self._laid_out(x, False) for x in xs)
        self.calls.append(Call(CALLBACK, given, outputs, {"function": function}, self.section, self.path))
        return outputs

    def flatten(self, x: Buffer) -> Buffer:
        rows = (x.shape[0], math.prod(x.shape[1:]))
        if x.flat:
            return x.reshape(rows)
        flat: Buffer = self._record(ROWS["flatten"], x)
        return flat

    def unflatten(self, x: Buffer, *, shape: tuple[int, ...]) -> Buffer:
        image = (x.shape[0], *shape)
        if shape[0] == 1 or shape[1:] == (1, 1):
            return replace(x, shape=image)
        maps: Buffer = self._record(ROWS["unflatten"], x, shape=shape)
        return maps

    def _record(self, row: Row, *inputs: Buffer | None, **params: Any) -> Any:
        pointwise = row.pointwise and len({b.shape for b in inputs if b is not None}) == 1
        dense = pointwise and any(b.dense for b in inputs if b is not None)
        names = row.inputs * len(inputs) if row.inputs[0].endswith("*") else row.inputs
        laid = tuple(
            b if b is None else self._laid_out(b, dense or name.rstrip("?*") in DENSE)
            for b, name in zip(inputs, names, strict=False)
        )
        key = (row.name, laid, tuple(params.items()))
        if self._known is not None and key in self._known:
            return self._known[key]
        specs = row.shapes(*(None if b is None else b.spec for b in laid), **params)
        outputs = tuple(
            None if spec is None else self.buffer(self._stem(name), spec, dense=dense or name.rstrip("?") in DENSE)
            for name, spec in zip(row.outputs, specs, strict=True)
        )
        self.calls.append(Call(row, laid, outputs, params, self.section, self.path))
        given = outputs[0] if len(outputs) == 1 else outputs
        if self._known is not None:
            self._known[key] = given
        return given

    def _laid_out(self, b: Buffer, dense: bool) -> Buffer:
        """`b` in the layout a kernel wants, by a call that rearranges it if need be."""
        if len(b.shape) != 4 or b.dense == dense or b.flat:
            return b
        moved: Buffer = self._record(ROWS["to_dense" if dense else "from_dense"], b)
        return moved

    def _stem(self, name: str) -> str:
        output = name.rstrip("?*")
        return f"{self.path}.{output}" if self.path else output


def forward(k: Recorder, nodes: Iterable[Node], env: dict[Value, Buffer]) -> dict[Node, Any]:
    """Puts the outputs of `nodes` into `env`; returns what each node saved for its backward."""
    saved = {}
    for node in nodes:
        k.path = node.path
        inputs = [None if v is None else env[v] for v in node.inputs]
        ys, saved[node] = node.op.forward(k, *inputs, **node.params)
        for value, y in zip(node.outputs, ys if isinstance(ys, tuple) else (ys,), strict=True):
            env[value] = k.named(y, value.name)
    return saved


def backward(k: Recorder, nodes: Sequence[Node], saved: dict[Node, Any], grads: dict[Value, Buffer],
             wanted: Iterable[Value]) -> dict[Value, Buffer]:
    """`grads` of some values carried back through `nodes` to every value that `wanted` ones depend on."""
    live = set(wanted)
    for node in nodes:
        if any(v in live for v in node.inputs):
            live.update(node.outputs)
    for node in reversed(nodes):
        dys = [grads.get(v) for v in node.outputs]
        if all(dy is None for dy in dys) or not any(v in live for v in node.inputs):
            continue
        for value, dx in zip(node.inputs, _through(k, node, saved[node], dys), strict=True):
            if value in live and dx is not None:
                grads[value] = k.named(k.add(grads[value], dx) if value in grads else dx, f"d {value.name}")
    return grads


def _through(k: Recorder, node: Node, saved: Any, dys: list[Any]) -> tuple[Any, ...]:
    if node.op.backward is None:
        raise ConfigError(f"{node.op.name}: has no derivative").within(node.path, node.op.name)
    k.path = node.path
    try:
        return node.op.backward(k, saved, *dys, **node.params)
    except StriateError as error:
        error.within(node.path, node.op.name)
        raise


def record(graph: Graph, target: Target, *, loss: Value | None = None, gradients: bool = False,
           optimizer: Optimizer | None = None) -> Tape:
    """The tape of `graph`: forward; with a loss also backward, and the updates of its states and of `optimizer`.

    With gradients=True the gradient of every trainable state is an output under "grad." + its path.
    """
    k = Recorder(target)
    tape = Tape()
    env: dict[Value, Buffer] = _sources(k, graph, tape)
    first, last = _split(graph)
    saved = forward(k, first, env)
    grads: dict[Value, Buffer] = {}
    if loss is not None:
        k.path = "loss"
        k.check_finite(env[loss])
        k.section = "backward"
        grads = {loss: k.buffer("dloss", loss.spec, source=np.ones((), np.float32))}
        backward(k, first, saved, grads, [v for s, v in graph.states.items() if s.trainable])
    k.section = "update"
    forward(k, last, env)
    tape.outputs = {name: env[v] for name, v in graph.outputs.items()}
    tape.updates = [(state, env[v]) for state, v in graph.updates]
    found = [(s, env[v], grads[v]) for s, v in graph.states.items() if s.trainable and v in grads]
    if gradients:
        tape.outputs |= {f"grad.{s.path}": g for s, _, g in found}
    if optimizer is not None:
        _optimize(k, tape, found, optimizer)
    tape.calls = k.calls
    return absorb(tape.prune())


def _sources(k: Recorder, graph: Graph, tape: Tape) -> dict[Value, Buffer]:
    """Buffers of the inputs, states and constants."""
    env = {v: k.named(k.buffer(v.name, v.spec), v.name) for v in graph.inputs}
    tape.inputs = [TapeInput(v.name, env[v], v.limit) for v in graph.inputs]
    for state, value in graph.states.items():
        tape.states[state] = env[value] = k.buffer(value.name, value.spec, dense=True, source=state)
    named = [*graph.outputs.values(), *(v for _, v in graph.updates)]
    for value in (*(v for n in graph.nodes for v in n.inputs if v is not None), *named):
        if value not in env and not isinstance(value.source, Node):
            constant = value.source
            env[value] = k.buffer(value.name, value.spec, dense=True, source=constant)
    return env


def _split(graph: Graph) -> tuple[list[Node], list[Node]]:
    """Nodes that outputs depend on, and those that only updates do: these run last, when the loss is known finite."""
    needed = set(graph.outputs.values())
    first = []
    for node in reversed(graph.nodes):
        if any(v in needed for v in node.outputs):
            needed.update(v for v in node.inputs if v is not None)
            first.append(node)
    chosen = set(first)
    return first[::-1], [n for n in graph.nodes if n not in chosen]


def _optimize(k: Recorder, tape: Tape, found: list[tuple[State, Any, Any]], optimizer: Optimizer) -> None:
    scalars = {}
    for name, dtype in optimizer.scalars.items():
        known = [i.buffer for i in tape.inputs if i.name == name]
        scalars[name] = known[0] if known else k.buffer(name, Spec((), dtype))
        if not known:
            tape.inputs.append(TapeInput(name, scalars[name], 0))
    for state, w, g in found:
        k.path = state.path
        slots = optimizer.slots(state)
        for slot in slots:
            tape.states[slot] = k.buffer(slot.path, Spec(slot.shape), dense=True, source=slot)
        new = optimizer.update(k, w, g, tuple(tape.states[s] for s in slots), scalars)
        tape.updates += zip((state, *slots), new, strict=True)
