"""The account of a network, operation by operation: parameters, multiply-accumulates, bytes of activations.

It is read off the graph before fusion, so the figures are those of the network, not of how this package runs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from striate.errors import ConfigError
from striate.graph import Graph, Node, State, elements, table
from striate.kernels.contract import Shape, Spec
from striate.models import name_of
from striate.nn import GraphModule, Module
from striate.ops.arguments import integer

WIDTH = 80  # columns of the printed table
HEADS = ("layer", "operation", "output", "parameters", "MACs", "activation bytes")
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Row:
    """One operation. `layer` is the path of its layer, or the operation's own name in the network's own forward.

    Units: activation_bytes are the float32 bytes of its output. A parameter used twice counts where it is used first.
    """

    layer: str
    op: str
    output: Shape
    parameters: int
    macs: int
    activation_bytes: int


@dataclass(frozen=True)
class Total:
    """The sums over all rows; flops = 2 * macs."""

    parameters: int
    macs: int
    flops: int
    activation_bytes: int


@dataclass(frozen=True)
class Summary:
    """The rows of a network for one input shape (N, C, H, W), and their total; prints as a table."""

    name: str
    input: Shape
    rows: tuple[Row, ...]
    total: Total

    def as_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers, as JSON has them."""
        return asdict(self)

    def __str__(self) -> str:
        sums = ("total", "", "", self.total.parameters, self.total.macs, self.total.activation_bytes)
        cells = [(r.layer, r.op, sizes(r.output), r.parameters, r.macs, r.activation_bytes) for r in self.rows]
        lines = table(HEADS, _narrowed([_grouped(c) for c in [*cells, sums]]), right=HEADS[3:]).splitlines()
        lines.insert(-1, lines[1])  # a rule above the total
        head = f"{self.name}, input {sizes(self.input)} (batch {self.input[0]})"
        end = f"{self.total.macs:,} MACs = {self.total.flops:,} FLOPs forward (2 a multiply-accumulate)"
        return "\n".join([head, "", *lines, "", end])


def summary(net: Module, input_shape: Sequence[int] | None = None, batch: int = 1) -> Summary:
    """What `net` costs for a batch of images of (C, H, W).

    >>> summary(create("lenet5"), (1, 28, 28)).total.parameters
    61706
    """
    if not isinstance(net, Module):
        raise ConfigError(f"summary: needs a Module, got {type(net).__name__}")
    image = _image_shape(net, input_shape)
    n = integer("summary", "batch", batch)
    rows = _rows(net.graph(image, batch=n))
    parameters, macs, nbytes = (sum(r) for r in zip(*((r.parameters, r.macs, r.activation_bytes) for r in rows),
                                                     strict=True)) if rows else (0, 0, 0)
    return Summary(name_of(net), (n, *image), rows, Total(parameters, macs, 2 * macs, nbytes))


def sizes(shape: Shape) -> str:
    """A shape as it is written on the command line: 1x28x28."""
    return "x".join(map(str, shape)) or "scalar"


def _image_shape(net: Module, given: Sequence[int] | None) -> Shape:
    if given is None and isinstance(net, GraphModule):
        return net.input_shape
    if given is None or len(given) not in (1, 3):
        raise ConfigError(f"summary: input_shape must be one image's (C, H, W) or (C,), got {given!r}")
    return tuple(integer("summary", "input_shape", size) for size in given)


def _rows(graph: Graph) -> tuple[Row, ...]:
    seen: set[State] = set()
    return tuple(_row(node, seen) for node in graph.nodes)


def _row(node: Node, seen: set[State]) -> Row:
    new = {v.source for v in node.inputs if v is not None and isinstance(v.source, State)} - seen
    seen |= new
    parameters = sum(elements(Spec(s.shape)) for s in new if s.parameter)
    nbytes = sum(FLOAT_BYTES * elements(v.spec) for v in node.outputs)
    layer = node.path or node.outputs[0].name
    return Row(layer, node.op.name, node.outputs[0].shape, parameters, node.cost().macs, nbytes)


def _grouped(cells: Sequence[Any]) -> tuple[str, ...]:
    return tuple(f"{c:,}" if isinstance(c, int) else c for c in cells)


def _narrowed(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The rows with long layer names cut in their middle, so that the table fits the width of a terminal."""
    columns = list(zip(HEADS, *rows, strict=True))
    others = sum(max(map(len, c)) + 2 for c in columns[1:])
    room = max(WIDTH - others, len(HEADS[0]) + 6)
    return [(_cut(r[0], room), *r[1:]) for r in rows]


def _cut(text: str, room: int) -> str:
    head = (room - 3) // 3
    return text if len(text) <= room else f"{text[:head]}...{text[len(text) - (room - 3 - head):]}"
