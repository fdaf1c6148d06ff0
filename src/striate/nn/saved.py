"""GraphModule: a graph with its states as a network, and the file it is saved in.

The file is safetensors; its header carries the graph as JSON (`striate.graph`), so one rename replaces both. It loads
without the code that built the network and runs no code: operations come from the registry, every parameter is
checked against a list of names and ranges, and every shape is worked out again by the shape rules.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from striate.atomic import write_tensors
from striate.engine.trace import unnest
from striate.errors import ConfigError, FormatError, StriateError
from striate.graph import OPS, Array, Graph, Node, State, Value
from striate.kernels.contract import Shape, Spec
from striate.nn.module import Module
from striate.ops.arguments import FINITE, MAX_SIZE, integer

VERSION = 1
KEY = "striate.graph"
MODES = {"evaluate": False, "train": True}
MAX_NODES = 100_000
# Every parameter an operation may have in a file, with its smallest and largest value.
RANGES: dict[str, tuple[float, float]] = {
    "stride": (1, MAX_SIZE), "padding": (0, MAX_SIZE), "dilation": (1, MAX_SIZE), "groups": (1, MAX_SIZE),
    "kernel": (1, MAX_SIZE), "flip": (0, 1), "activation": (0, 4), "ceil": (0, 1), "count_include_pad": (0, 1),
    "axis": (0, 3), "start": (0, MAX_SIZE), "stop": (1, MAX_SIZE), "sizes": (1, MAX_SIZE), "shape": (1, MAX_SIZE),
    "channels": (0, MAX_SIZE), "eps": (0, math.inf), "weight": (0, 1), "p": (0, 1), "key": (0, 2**63 - 1),
    "smoothing": (0, 1), "low": (-math.inf, math.inf), "high": (-math.inf, math.inf), "value": (-math.inf, math.inf),
    "slope": FINITE, "tanh": (0, 1), "out": (1, MAX_SIZE), "power": (1, 1000), "size": (1, MAX_SIZE),
    "alpha": (0, FINITE[1]), "beta": (0, FINITE[1]), "offset": (2.0**-126, FINITE[1]),
}
FRACTIONS = frozenset({"eps", "weight", "p", "smoothing", "low", "high", "value", "slope", "power", "alpha", "beta",
                       "offset"})  # all others are integers


class GraphModule(Module):
    """A network that is its graphs, one for evaluation and one for training, over states by path."""

    def __init__(self, graphs: dict[bool, Graph], states: dict[str, State]) -> None:
        super().__init__()
        self.graphs, self.by_path = graphs, states

    @classmethod
    def of(cls, net: Module, input_shape: Shape) -> GraphModule:
        """The graphs of `net` for images of (C, H, W), over the same states."""
        image = tuple(integer("GraphModule", "input_shape", s) for s in input_shape)
        return cls({mode: net.graph(image, training=mode, batch=2) for mode in MODES.values()}, net.states())

    @property
    def input_shape(self) -> Shape:
        return self.graphs[False].inputs[0].shape[1:]

    def forward(self, x: Value) -> Any:
        source, target = self.graphs[x.graph.training], x.graph
        at = {v: x if v.batched else target.scalar(v.name, v.dtype) for v in source.inputs}
        moved = source.inline(target, at)
        for state, value in source.updates:
            target.update(state, moved(value))
        return unnest(source.nest, [moved(v) for v in source.outputs.values()])

    def own_states(self) -> Iterator[tuple[str, State]]:
        yield from self.by_path.items()


# ---- writing

def save(net: Module, path: str | os.PathLike[str], input_shape: Shape | None = None) -> None:
    """Writes `net` for images of (C, H, W) to one safetensors file, whole or not at all.

    Raises: ConfigError if the network has Python callbacks, which no file can hold.
    """
    if not isinstance(net, GraphModule):
        if input_shape is None:
            raise ConfigError("save: needs input_shape=(C, H, W) to trace the network, got none")
        net = GraphModule.of(net, input_shape)
    constants: dict[str, Array] = {}
    net.states()  # gives every state its path in this network
    graphs = {mode: _graph_json(net.graphs[training], constants) for mode, training in MODES.items()}
    states = {p: dict(trainable=s.trainable, parameter=s.parameter) for p, s in net.states().items()}
    header = dict(version=VERSION, image=list(net.input_shape), states=states, graphs=graphs)
    tensors = {p: s.array for p, s in net.states().items()} | constants
    write_tensors(Path(path), tensors, {KEY: json.dumps(header, allow_nan=False)})


def _graph_json(graph: Graph, constants: dict[str, Array]) -> dict[str, Any]:
    names: dict[Value, str] = {v: f"input:{v.name}" for v in graph.inputs}

    def name(value: Value | None) -> str | None:
        if value is None or value in names:
            return names[value] if value is not None else None
        if isinstance(value.source, State):
            return f"state:{value.source.path}"
        label = f"constant:{len(constants)}"
        constants[label] = np.asarray(value.source)
        names[value] = label
        return label

    nodes = []
    for i, node in enumerate(graph.nodes):
        if any(callable(p) for p in node.params.values()):
            raise ConfigError(f"save: {node.path or node.op.name} is a Python callback, which no file can hold")
        nodes.append(dict(op=node.op.name, path=node.path, inputs=[name(v) for v in node.inputs],
                          params={k: _plain(p) for k, p in node.params.items()}))
        names |= {v: f"node:{i}:{j}" for j, v in enumerate(node.outputs)}
    return dict(
        inputs=[dict(name=v.name, dtype=v.dtype, batched=v.batched) for v in graph.inputs], nodes=nodes,
        outputs={k: name(v) for k, v in graph.outputs.items()}, nest=_nest_json(graph.nest),
        updates=[[state.path, name(v)] for state, v in graph.updates],
    )


def _plain(p: Any) -> Any:
    """A parameter as JSON has it; infinities, which JSON lacks, as text."""
    return repr(p) if isinstance(p, float) and not math.isfinite(p) else list(p) if isinstance(p, tuple) else p


def _nest_json(nest: Any) -> Any:
    if isinstance(nest, dict):
        return {"dict": {str(k): _nest_json(v) for k, v in nest.items()}}
    if isinstance(nest, tuple | list):
        return {type(nest).__name__: [_nest_json(v) for v in nest]}
    return nest


# ---- reading

def load(path: str | os.PathLike[str]) -> GraphModule:
    """The network saved in `path`. Raises: FormatError, naming what is wrong with the file."""
    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            header = json.loads((file.metadata() or {})[KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
        raise FormatError(f"load: {path} must be a network saved by striate, got {error!r:.200}") from error
    try:
        return _Reader(header, tensors).module()
    except StriateError as error:
        raise FormatError(f"load: {path} holds a graph that cannot be: {error}") from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
        raise FormatError(f"load: {path} holds a damaged graph: {error!r:.200}") from error


class _Reader:
    """Rebuilds the graphs of a file; whatever is not exactly as `save` writes it raises."""

    def __init__(self, header: dict[str, Any], tensors: dict[str, Array]) -> None:
        if header["version"] != VERSION:
            raise FormatError(f"format version must be {VERSION}, got {header['version']!r:.40}")
        self.header, self.tensors = header, tensors
        self.image = tuple(integer("load", "image", size) for size in header["image"])
        self.states = {p: self._state(p, traits) for p, traits in header["states"].items()}

    def _state(self, path: str, traits: dict[str, bool]) -> State:
        if self.tensors[path].dtype != np.float32:
            raise FormatError(f"state {path} must be float32, got {self.tensors[path].dtype}")
        state = State(self.tensors[path], trainable=bool(traits["trainable"]), path=path)
        state.parameter = bool(traits["parameter"])
        return state

    def module(self) -> GraphModule:
        graphs = {training: self._graph(self.header["graphs"][mode], training) for mode, training in MODES.items()}
        return GraphModule(graphs, self.states)

    def _graph(self, data: dict[str, Any], training: bool) -> Graph:
        graph, known = Graph(training), dict[str, Value]()
        for given in data["inputs"]:
            batched = bool(given["batched"])
            shape = (2, *self.image) if batched else ()
            dtype = "float32" if batched else "int64"
            known[f"input:{given['name']}"] = graph.add_input(str(given["name"]), Spec(shape, dtype), batched)
        if len(data["nodes"]) > MAX_NODES:
            raise FormatError(f"a graph must have at most {MAX_NODES} nodes, got {len(data['nodes'])}")
        for i, node in enumerate(data["nodes"]):
            outputs = self._node(graph, node, known).outputs
            known |= {f"node:{i}:{j}": v for j, v in enumerate(outputs)}
        graph.outputs = {str(k): self._value(graph, v, known) for k, v in data["outputs"].items()}
        graph.updates = [(self.states[p], self._value(graph, v, known)) for p, v in data["updates"]]
        graph.nest = _nest_of(data["nest"], len(graph.outputs))
        return graph

    def _node(self, graph: Graph, data: dict[str, Any], known: dict[str, Value]) -> Node:
        name = data["op"]
        if name not in OPS or name == "callback":
            raise FormatError(f"no operation named {name!r:.60}")
        params = {k: _parameter(k, v) for k, v in data["params"].items()}
        inputs = [None if v is None else self._value(graph, v, known) for v in data["inputs"]]
        with graph.scope(str(data["path"]), name):
            graph.apply(OPS[name], inputs, params)
        return graph.nodes[-1]

    def _value(self, graph: Graph, name: str, known: dict[str, Value]) -> Value:
        if name in known:
            return known[name]
        kind, _, label = name.partition(":")
        if kind == "state":
            return graph.value_of(self.states[label])
        if kind == "constant":
            known[name] = graph.value_of(self.tensors[name])
            return known[name]
        raise FormatError(f"a value {name!r:.60} is used before it is made")


def _parameter(name: str, value: Any) -> Any:
    if isinstance(value, list) and len(value) <= 1000:
        return tuple(_parameter(name, v) for v in value)
    number = float(value) if value in ("inf", "-inf") else value
    low, high = RANGES[name]
    kinds = int | float if name in FRACTIONS else int
    if not isinstance(number, kinds) or not low <= number <= high:
        raise FormatError(f"parameter {name} must be from {low} to {high}, got {value!r:.60}")
    return number


def _nest_of(data: Any, leaves: int) -> Any:
    if isinstance(data, dict):
        ((kind, items),) = data.items()
        if kind == "dict":
            return {k: _nest_of(v, leaves) for k, v in items.items()}
        return {"tuple": tuple, "list": list}[kind](_nest_of(v, leaves) for v in items)
    if not isinstance(data, int) or not 0 <= data < leaves:
        raise FormatError(f"an output must be one of {leaves}, got {data!r:.40}")
    return data
