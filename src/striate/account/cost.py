"""The account of a network, operation by operation: what it computes, holds, moves and sees.

It is read off the graph before fusion, so the figures are those of the network, not of how this package runs it: each
operation reads its inputs and parameters once and writes its outputs once, in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from striate.account.conventions import CONVENTIONS, Convention
from striate.account.draw import as_csv, drawn, markdown
from striate.account.field import Field, fields
from striate.errors import ConfigError, StriateError, unknown_name
from striate.graph import Cost, Graph, Node, State, Value, elements
from striate.kernels.contract import Shape, Spec
from striate.models import name_of
from striate.nn import GraphModule, Module
from striate.ops.arguments import Pair, integer

VIEWS = frozenset({"reshape"})  # the same numbers under another shape: nothing moves
NAMED = ("name", "unit", "why")  # of a convention, for programs
PARTS = {
    "conv2d": "convolutions", "linear": "fully connected", "rbf": "fully connected",
    **dict.fromkeys(("max_pool2d", "avg_pool2d", "lp_pool2d", "adaptive_avg_pool2d"), "pooling"),
}


@dataclass(frozen=True)
class Row:
    """One operation. `layer` is the path of its layer, or the operation's own name in the network's own forward.

    Units: flops are 2 * macs; `other` are floating-point operations that are no multiply-accumulates (bias, activation,
    pooling, norm); activation_bytes are the float32 bytes of its outputs; intensity is (flops + other) a byte moved.
    receptive_field, effective_stride and effective_padding are (height, width) in pixels of the image, None if they are
    not known. A parameter used twice counts where it is used first. `counted` is what the convention asked for counts.
    """

    layer: str
    op: str
    output: Shape
    parameters: int
    macs: int
    flops: int
    other: int
    activation_bytes: int
    bytes_moved: int
    intensity: float | None
    receptive_field: Pair | None
    effective_stride: Pair | None
    effective_padding: Pair | None
    counted: int
    part: str


@dataclass(frozen=True)
class Total:
    """The sums over all rows; flops = 2 * macs. `all_parameters` are those of the module, auxiliary heads included."""

    parameters: int
    macs: int
    flops: int
    other: int
    activation_bytes: int
    bytes_moved: int
    counted: int
    all_parameters: int


@dataclass(frozen=True)
class Account:
    """The rows of a network for one input shape (N, C, H, W), and their total; prints as tables of 80 columns."""

    name: str
    input: Shape
    convention: Convention
    rows: tuple[Row, ...]
    total: Total

    @property
    def shares(self) -> dict[str, dict[str, float]]:
        """For each part of the network its share of parameters, multiply-accumulates and bytes of activations.

        An operation without weights that is no pooling belongs to the part that its input comes from.
        """
        found: dict[str, dict[str, float]] = {}
        for part in dict.fromkeys(row.part for row in self.rows):
            rows = [row for row in self.rows if row.part == part]
            found[part] = {of: sum(getattr(row, of) for row in rows) / max(getattr(self.total, of), 1)
                           for of in ("parameters", "macs", "activation_bytes")}
        return found

    def as_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers, as JSON has them."""
        return dict(
            name=self.name, input=self.input, convention={of: getattr(self.convention, of) for of in NAMED},
            rows=[asdict(row) for row in self.rows], total=asdict(self.total), shares=self.shares)

    def csv(self) -> str:
        """The rows and their total as comma-separated values under the names of Row's fields; pairs as HxW."""
        return as_csv(self)

    def markdown(self) -> str:
        """The tables in Markdown."""
        return markdown(self)

    def __str__(self) -> str:
        return drawn(self)


def account(net: Module, input_shape: Sequence[int] | None = None, batch: int = 1, *,
            convention: str = "striate") -> Account:
    """What `net` costs for a batch of images of (C, H, W), known before it runs.

    `convention` names whose way of counting gives the column `counted`; the others do not depend on it.
    Raises: ConfigError for an operation whose cost is not known, UnknownName for a convention.
    >>> account(create("lenet5"), (1, 28, 28)).total.parameters
    61706
    """
    if not isinstance(net, Module):
        raise ConfigError(f"account: needs a Module, got {type(net).__name__}")
    if not isinstance(convention, str) or convention not in CONVENTIONS:
        raise unknown_name("account", "convention", convention, CONVENTIONS)
    image = _image_shape(net, input_shape)
    n = integer("account", "batch", batch)
    rows = _rows(net.graph(image, batch=n), CONVENTIONS[convention])
    held = sum(elements(Spec(s.shape)) for s in net.states().values() if s.parameter)
    sums = {of: sum(getattr(row, of) for row in rows) for of in Total.__dataclass_fields__ if of != "all_parameters"}
    return Account(name_of(net), (n, *image), CONVENTIONS[convention], rows, Total(**sums, all_parameters=held))


def _image_shape(net: Module, given: Sequence[int] | None) -> Shape:
    if given is None and isinstance(net, GraphModule):
        return net.input_shape
    if given is None or len(given) not in (1, 3):
        raise ConfigError(f"account: input_shape must be one image's (C, H, W) or (C,), got {given!r}")
    return tuple(integer("account", "input_shape", size) for size in given)


def _rows(graph: Graph, convention: Convention) -> tuple[Row, ...]:
    seen: set[State] = set()
    found, parts = fields(graph), dict[Value, str]()
    rows = []
    for node in graph.nodes:
        part = PARTS.get(node.op.name) or next((parts[v] for v in node.inputs if v in parts), "other")
        parts.update(dict.fromkeys(node.outputs, part))
        rows.append(_row(node, seen, found[node.outputs[0]], convention, part))
    return tuple(rows)


def _row(node: Node, seen: set[State], field: Field | None, convention: Convention, part: str) -> Row:
    new = {v.source for v in node.inputs if v is not None and isinstance(v.source, State)} - seen
    seen |= new
    cost, moved = _cost(node), _moved(node)
    size, stride, padding = (None, None, None) if field is None else (field.size, field.stride, field.padding)
    operations = 2 * cost.macs + cost.other
    return Row(
        layer=node.path or node.outputs[0].name, op=node.op.name, output=node.outputs[0].spec.shape,
        parameters=sum(elements(Spec(s.shape)) for s in new if s.parameter),
        macs=cost.macs, flops=2 * cost.macs, other=cost.other,
        activation_bytes=sum(map(_bytes, node.outputs)), bytes_moved=moved,
        intensity=operations / moved if moved else None,
        receptive_field=size, effective_stride=stride, effective_padding=padding,
        counted=convention.count(node), part=part,
    )


def _cost(node: Node) -> Cost:
    """The operation's own. Raises: ConfigError, with the layer's path, if it is not known."""
    try:
        return node.cost()
    except StriateError as error:
        error.within(node.path, node.op.name)
        raise


def _moved(node: Node) -> int:
    """Every input read once, every output written once."""
    if node.op.name in VIEWS:
        return 0
    return sum(map(_bytes, {v for v in node.inputs if v is not None})) + sum(map(_bytes, node.outputs))


def _bytes(value: Value) -> int:
    return elements(value.spec) * np.dtype(value.dtype).itemsize

