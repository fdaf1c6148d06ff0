"""Fuse: rewrites of a graph that compute the same with fewer passes over memory.

Convolution or linear + activation becomes one operation; in inference a batch norm behind a convolution or linear
layer is folded into its weights. A value that is watched, or used twice, is not fused away.
"""

from __future__ import annotations

from collections.abc import Collection

from striate.graph import Graph, Node, Params, State, Value, find_op
from striate.ops.conv import ACTIVATIONS

PRODUCERS = ("conv2d", "linear")
NORM = "scale_shift"


def fuse(graph: Graph, keep: Collection[Value] = ()) -> Graph:
    """`graph` with chains of producer, norm and activation as single nodes; the values in `keep` stay values."""
    absorbed = _absorbed(graph, {*keep, *graph.outputs.values(), *(v for _, v in graph.updates)})
    new, at = Graph(graph.training, nest=graph.nest), dict[Value, Value]()

    def moved(value: Value) -> Value:
        if value not in at:
            at[value] = new.value_of(value.source)
        return at[value]

    for v in graph.inputs:
        at[v] = new.add_input(v.name, v.spec, v.batched)
        at[v].limit = v.limit
    inner = set(absorbed.values())
    for node in graph.nodes:
        if node in inner:
            continue
        chain = _chain(node, absorbed)
        name, inputs, params = _combined(chain)
        with new.scope(chain[0].path, name):
            outputs = new.apply(find_op(name), [None if v is None else moved(v) for v in inputs], params)
        at.update(zip(node.outputs, outputs, strict=True))
    new.outputs = {name: moved(v) for name, v in graph.outputs.items()}
    new.updates = [(state, moved(v)) for state, v in graph.updates]
    return new


def _absorbed(graph: Graph, kept: Collection[Value]) -> dict[Node, Node]:
    """consumer -> the node that it takes in."""
    users: dict[Value, int] = {}
    for node in graph.nodes:
        for v in node.inputs:
            if v is not None:
                users[v] = users.get(v, 0) + 1
    found: dict[Node, Node] = {}
    for node in graph.nodes:
        x = node.inputs[0] if node.inputs else None
        if x is None or x in kept or users[x] != 1 or not isinstance(x.source, Node):
            continue
        producer = x.source
        if _fits(node, producer, graph.training, normed=producer in found):
            found[node] = producer
    return found


def _fits(node: Node, producer: Node, training: bool, normed: bool) -> bool:
    plain = producer.op.name in PRODUCERS and producer.params["activation"] == 0
    if node.op.name in ACTIVATIONS:
        return plain or (producer.op.name == NORM and normed)
    statistics = all(v is None or isinstance(v.source, State) for v in (*node.inputs[1:], *producer.inputs[1:3]))
    return node.op.name == NORM and plain and not training and statistics


def _chain(node: Node, absorbed: dict[Node, Node]) -> list[Node]:
    """The nodes that `node` stands for, first to last."""
    chain = [node]
    while chain[0] in absorbed:
        chain.insert(0, absorbed[chain[0]])
    return chain


def _combined(chain: list[Node]) -> tuple[str, tuple[Value | None, ...], Params]:
    """Operation, inputs and parameters of a chain as one node."""
    first, *rest = chain
    name, inputs, params = first.op.name, first.inputs, dict(first.params)
    for node in rest:
        if node.op.name == NORM:
            name, inputs = f"{name}_norm", (*inputs, *node.inputs[1:])
            params["eps"] = node.params["eps"]
        else:
            params["activation"] = ACTIVATIONS.index(node.op.name)
    return name, inputs, params
