"""What of the image a value sees: receptive field, effective stride and padding, by the field's arithmetic.

A window of size k, stride s and padding p on values that see r pixels, j pixels apart, that begin p' pixels outside:

    r <- r + (k - 1) j,    p' <- p' + p j,    j <- j s

The receptive field may be larger than the image: the rest of it is padding. Where branches meet, the larger counts.
Ref: Araujo, Norris and Sim 2019, Computing receptive fields of convolutional neural networks, Distill, eqs. 1-4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from striate.graph import Graph, Node, Value
from striate.kernels.contract import Shape
from striate.ops.arguments import Pair

Window = tuple[Pair, Pair, Pair]  # size, stride, padding at the top and left
POINT: Window = ((1, 1), (1, 1), (0, 0))


@dataclass(frozen=True)
class Field:
    """Each (height, width) in pixels of the image: the receptive field, how far apart two are, where the first begins.

    `padding` is how many pixels outside the image the first one begins.
    """

    size: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)

    def seen_through(self, window: Window) -> Field:
        """The field of a value that is computed from windows of this one's."""
        axes = [(r + (k - 1) * j, j * s, p + q * j)
                for r, j, p, k, s, q in zip(self.size, self.stride, self.padding, *window, strict=True)]
        (r, j, p), (r2, j2, p2) = axes
        return Field((r, r2), (j, j2), (p, p2))

    def joined(self, other: Field) -> Field:
        """The field where two branches meet."""
        size, stride, padding = (
            (max(a[0], b[0]), max(a[1], b[1]))
            for a, b in ((self.size, other.size), (self.stride, other.stride), (self.padding, other.padding)))
        return Field(size, stride, padding)


def fields(graph: Graph) -> dict[Value, Field | None]:
    """The field of every value computed from the images; None where an operation's window is not known."""
    found: dict[Value, Field | None] = {v: Field() for v in graph.inputs if v.ndim == 4}
    for node in graph.nodes:
        found.update(dict.fromkeys(node.outputs, _of(node, found)))
    return found


def _of(node: Node, found: Mapping[Value, Field | None]) -> Field | None:
    window = window_of(node)
    inputs = [found.get(v) for v in node.inputs if v is not None and _computed(v)]
    if window is None or not inputs:
        return None
    joined: Field | None = None
    for field in inputs:
        if field is None:
            return None
        joined = field if joined is None else joined.joined(field)
    return joined and joined.seen_through(window)


def _computed(value: Value) -> bool:
    return isinstance(value.source, Node) or (value.source is None and value.ndim > 1)


def window_of(node: Node) -> Window | None:
    """The window of its input that each output of `node` sees; None if that is not known."""
    rule = WINDOWS.get(node.op.name)
    if rule is not None:
        return rule(node)
    maps, after = [_map(v) for v in node.inputs if v is not None and _computed(v)], _map(node.outputs[0])
    if after in maps or not any(maps):
        return POINT
    return None if after else _everything(node)


def _map(value: Value | None) -> Shape:
    return () if value is None else value.spec.shape[2:]


def _everything(node: Node) -> Window:
    h, w = (*_map(node.inputs[0]), 1, 1)[:2]
    return (h, w), (1, 1), (0, 0)


def _convolution(node: Node) -> Window:
    filters, p = node.inputs[1], node.params
    assert filters is not None
    (kh, kw), (dh, dw) = filters.shape[2:], p["dilation"]
    top, _, left, _ = p["padding"]
    return (dh * (kh - 1) + 1, dw * (kw - 1) + 1), p["stride"], (top, left)


def _pooling(node: Node) -> Window:
    p: dict[str, Any] = node.params
    (kh, kw), (dh, dw) = p["kernel"], p.get("dilation", (1, 1))
    return (dh * (kh - 1) + 1, dw * (kw - 1) + 1), p["stride"], p.get("padding", (0, 0))


def _adaptive(node: Node) -> Window:
    """The largest of its windows; they overlap by at most a pixel where the output does not divide the input."""
    sizes = zip(_map(node.inputs[0]), _map(node.outputs[0]), strict=True)
    (kh, sh), (kw, sw) = ((max(-(-(i + 1) * n // m) - i * n // m for i in range(m)), n // m) for n, m in sizes)
    return (kh, kw), (sh, sw), (0, 0)


def _padded(node: Node) -> Window:
    top, _, left, _ = node.params["padding"]
    return (1, 1), (1, 1), (top, left)


def _sliced(node: Node) -> Window:
    start, axis = -node.params["start"], node.params["axis"]
    return (1, 1), (1, 1), (start if axis == 2 else 0, start if axis == 3 else 0)


WINDOWS: dict[str, Callable[[Node], Window | None]] = {
    "conv2d": _convolution, "max_pool2d": _pooling, "avg_pool2d": _pooling, "lp_pool2d": _pooling,
    "adaptive_avg_pool2d": _adaptive, "pad": _padded, "slice": _sliced, "callback": lambda node: None,
}
