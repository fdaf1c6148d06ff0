"""Published layer tables, recomputed: which of their cells cannot be right, and what they should be.

A table is a CSV file: lines that begin with # say what it is; then columns `row`, `network` (of the registry), `layers`
(paths of layers that the row covers, "*" for all, "input" for the image) and any of the quantities below, each cell as
it was printed or empty. The rule for numbers is that of `printed`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from striate.account.cost import PARTS
from striate.account.draw import cut
from striate.account.printed import Printed
from striate.errors import FormatError, StriateError, unknown_name
from striate.graph import Graph, Node, State, Value, elements, sizes, table
from striate.kernels.contract import Shape
from striate.models import build, find
from striate.nn import Module

FLOAT_BYTES = 4
TABLES = ("vgg1", "vgg2", "lecture-vgg16", "googlenet1", "resnet1", "cifar-resnet")
KEYS = ("row", "network", "layers")
WIDEST = 30  # columns of a printed cell that is right
HEADS = ("row", "quantity", "printed", "", "exact")
Networks = Callable[[str], tuple[Module, Shape]]  # a name -> the network and the shape of its images
Parts = Mapping[str, Sequence[int]]  # way of counting -> one number a layer


@dataclass(frozen=True)
class Table:
    """A published table as it was printed: each row a dict of column -> text."""

    title: str
    source: str
    rows: tuple[Mapping[str, str], ...]


@dataclass(frozen=True)
class Finding:
    """One cell: what was printed, what is exact, and whether the one can stand for the other."""

    row: str
    quantity: str
    printed: str
    exact: str
    right: bool


@dataclass(frozen=True)
class Audit:
    """All cells of a table; prints as one, wrong cells marked."""

    title: str
    source: str
    findings: tuple[Finding, ...]

    @property
    def wrong(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if not f.right)

    def as_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers, as JSON has them."""
        return asdict(self) | {"wrong": len(self.wrong)}

    def __str__(self) -> str:
        rows = [(f.row, f.quantity, cut(f.printed, WIDEST), "", "" if f.quantity in WORDS else f.exact) if f.right
                else (f.row, f.quantity, f.printed, "WRONG", f.exact) for f in self.findings]
        end = f"{len(self.findings)} cells, {len(self.wrong)} cannot be right"
        return "\n".join([self.title, self.source, "", table(HEADS, rows), "", end])


def audit(given: str, networks: Networks | None = None) -> Audit:
    """Recomputes a published table: the name of one of TABLES, or the path of a CSV file.

    `networks` opens those that are not in the registry.
    Raises: UnknownName, FormatError with the line.
    >>> [f.quantity for f in audit("googlenet1").wrong if f.row == "convolution 7x7/2"]
    ['parameters', 'operations']
    """
    read, opened = read_table(given), dict[str, Graph]()
    findings = []
    for row in read.rows:
        name = row["network"]
        try:
            if name not in opened:
                net, image = (networks or registered)(name)
                opened[name] = net.graph(image)
            nodes, with_input = _covered(opened[name], row["layers"])
            findings += [_finding(row, quantity, opened[name], nodes, with_input)
                         for quantity in QUANTITIES if row.get(quantity)]
        except StriateError as error:
            error.within("", f"row {row['row']!r} of {given}")
            raise
    return Audit(read.title, read.source, tuple(findings))


def registered(name: str) -> tuple[Module, Shape]:
    """A network of the registry, its weights zero, and the shape of the images it is for."""
    return build(name), find(name).input_shape


# ---- reading

def read_table(given: str) -> Table:
    """The table of that name, or in that CSV file."""
    if given in TABLES:
        text = (files("striate.account") / "published" / f"{given}.csv").read_text(encoding="utf-8")
    elif Path(given).suffix == ".csv":
        text = _text(Path(given))
    else:
        raise unknown_name("audit", "table", given, TABLES)
    lines = text.splitlines()
    comments = [line[1:].strip() for line in lines if line.startswith("#")] + ["", ""]
    reader = csv.DictReader(io.StringIO("\n".join(line for line in lines if not line.startswith("#"))))
    heads = reader.fieldnames or []
    missing = [key for key in KEYS if key not in heads]
    if missing:
        raise FormatError(f"{given}: needs the columns {', '.join(KEYS)}, missing {', '.join(missing)}")
    for head in heads:
        if head not in (*KEYS, *QUANTITIES):
            raise unknown_name(given, "column", head, (*KEYS, *QUANTITIES))
    rows = tuple(reader)
    for number, row in enumerate(rows, 1):
        if None in row or None in row.values():
            raise FormatError(f"{given}: row {number} must have {len(heads)} cells; quote numbers with commas")
    if not rows:
        raise FormatError(f"{given}: needs a row for each layer, got none")
    return Table(comments[0] or given, comments[1], rows)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # spreadsheets write the mark
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: must be text in UTF-8, got byte {error.object[error.start]:#04x} at "
                          f"{error.start}") from None


def _covered(graph: Graph, layers: str) -> tuple[list[Node], bool]:
    """The nodes of the layers named, and whether the input is meant too."""
    paths = layers.split()
    nodes: list[Node] = []
    for path in paths:
        within = [n for n in graph.nodes if path == "*" or n.path == path or n.path.startswith(f"{path}.")]
        if not within and path != "input":
            raise unknown_name("audit", "layer", path, {n.path for n in graph.nodes if n.path})
        nodes += within
    return nodes, "input" in paths


# ---- recomputing

def _finding(row: Mapping[str, str], quantity: str, graph: Graph, nodes: list[Node], with_input: bool) -> Finding:
    printed = row[quantity]
    if quantity in WORDS:
        exact = WORDS[quantity](graph, nodes)
        return Finding(row["row"], quantity, printed, exact[0], _plain(printed) in map(_plain, exact))
    parts = COUNTS[quantity](graph, nodes, with_input)
    wanted = Printed.of(printed)
    sums: dict[int, list[str]] = {}
    for way, numbers in parts.items():
        sums.setdefault(sum(numbers), []).append(way)
    exact_text = ", ".join(f"{total:,} {'' if len(ways) > 1 else ways[0]}".rstrip() for total, ways in sums.items())
    return Finding(row["row"], quantity, printed, exact_text, any(wanted.can_be(p) for p in parts.values()))


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _output(graph: Graph, nodes: list[Node]) -> list[str]:
    """The last output's shape, and the other ways to write it: channels last, without channels, one pixel left out."""
    c, *size = (nodes[-1].outputs[0] if nodes else graph.inputs[0]).spec.shape[1:]
    if not size:
        return [str(c), f"1x1x{c}", f"{c}x1x1"]
    return [sizes((*size, c)), sizes((c, *size)), sizes(tuple(size))]


def _convolutions(_: Graph, nodes: list[Node]) -> list[str]:
    """The convolutions in the words of VGG's table: conv3-64 for 3x3 kernels and 64 maps."""
    filters = [n.inputs[1] for n in nodes if n.op.name == "conv2d"]
    return [" ".join(f"conv{w.spec.shape[2]}-{w.spec.shape[0]}" for w in filters if w is not None)]


def _parameters(_: Graph, nodes: list[Node], __: bool) -> Parts:
    seen: set[Value] = set()
    weights, everything = [], []
    for node in nodes:
        new = [v for v in node.inputs if v is not None and v not in seen
               and isinstance(v.source, State) and v.source.parameter]
        seen.update(new)
        weights.append(sum(elements(v.spec) for v in new if v.ndim > 1))
        everything.append(sum(elements(v.spec) for v in new))
    return {"weights": weights, "with biases and norms": everything}


def _macs(_: Graph, nodes: list[Node], __: bool) -> Parts:
    return {"MACs": [n.cost().macs for n in nodes]}


def _flops(_: Graph, nodes: list[Node], __: bool) -> Parts:
    return {"FLOPs": [2 * n.cost().macs for n in nodes]}


def _operations(graph: Graph, nodes: list[Node], with_input: bool) -> Parts:
    return {**_macs(graph, nodes, with_input), **_flops(graph, nodes, with_input)}


def _activations(graph: Graph, nodes: list[Node], with_input: bool) -> Parts:
    """Numbers held: the outputs of layers and poolings, and with those of activations and norms if they are apart."""
    first = [elements(graph.inputs[0].spec)] if with_input else []
    alone = [n for n in nodes if n.op.name in PARTS]
    apart = [n for n in nodes if n.op.name != "reshape"]
    return {"in place": first + [_outputs(n) for n in alone], "activations apart": first + [_outputs(n) for n in apart]}


def _memory(graph: Graph, nodes: list[Node], with_input: bool) -> Parts:
    return {f"bytes {way}": [FLOAT_BYTES * n for n in numbers]
            for way, numbers in _activations(graph, nodes, with_input).items()}


def _weight_layers(_: Graph, nodes: list[Node], __: bool) -> Parts:
    return {"": [1 for n in nodes if n.op.name in ("conv2d", "linear")]}


def _outputs(node: Node) -> int:
    return sum(elements(v.spec) for v in node.outputs)


WORDS: dict[str, Callable[[Graph, list[Node]], list[str]]] = {"output": _output, "convolutions": _convolutions}
COUNTS: dict[str, Callable[[Graph, list[Node], bool], Parts]] = {
    "parameters": _parameters, "macs": _macs, "flops": _flops, "operations": _operations,
    "activations": _activations, "memory": _memory, "weight_layers": _weight_layers,
}
QUANTITIES = (*WORDS, *COUNTS)
