"""What to say when a network does not fit its input: the shapes on the way, and the smallest input that would fit.

The smallest square input is found by tracing again, bisecting between a size that is too small and one that is not. A
size is too small if a window does not fit its map or a linear layer gets too few features: both only grow with it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

from striate.errors import ShapeError
from striate.graph import Graph, Node, sizes
from striate.kernels.contract import Shape

LARGEST = 1024  # pixels a side; larger images are not tried
SHOWN = 8  # shapes on the way
SCANNED = 64  # sizes tried one by one where the maps of two branches do not meet


class Size(Enum):
    """What a size of the input is for the network; ODD: the maps of branches do not meet, or it refuses otherwise."""

    SMALL, FITS, LARGE, ODD = range(4)


def explained(error: ShapeError, graph: Graph, attempt: Callable[[Graph, Shape], Any]) -> ShapeError:
    """`error` with what led to it. `attempt` traces the network into a new graph, for images of one more shape."""
    n, *image = graph.inputs[0].spec.shape
    error.hint = f"; on the way: {_way(graph)}"
    if len(image) != 3 or any(node.op.name == "callback" for node in graph.nodes):
        return error  # a user's code is not run on sizes that nobody asked for

    def judged(size: int) -> Size:
        again = Graph(graph.training, paths=graph.paths)
        return _judged(again, lambda: attempt(again, (n, image[0], size, size)))

    smallest = _smallest(judged)
    if smallest is not None:
        error.hint += f"; the smallest square input that fits is {image[0]}x{smallest}x{smallest}"
    return error


def _way(graph: Graph) -> str:
    """Where the shape changed, from the input to the layer that failed."""
    image = sizes(graph.inputs[0].spec.shape[1:])
    stations, last = [f"input {image}"], image
    for node in graph.nodes:
        shape = sizes(node.outputs[0].spec.shape[1:])
        if shape != last and node.outputs[0].ndim > 1:  # not the statistics of a batch
            stations.append(f"{node.path or node.op.name} {shape}")
            last = shape
    if len(stations) > SHOWN:
        stations = [*stations[:2], "...", *stations[3 - SHOWN :]]
    return ", ".join(stations)


def _judged(graph: Graph, attempt: Callable[[], Any]) -> Size:
    try:
        attempt()
    except ShapeError:
        return _verdict(graph.failed)
    except Exception:  # a user's forward may refuse a size in its own way: only the first error is shown
        return Size.ODD
    return Size.FITS


def _verdict(node: Node | None) -> Size:
    """Whether a larger input would help the operation that refused."""
    if node is None:
        return Size.ODD
    x, *others = (spec for spec in node.input_specs() if spec is not None)
    if node.op.name == "linear" and others:
        return Size.SMALL if x.shape[-1] < others[0].shape[-1] else Size.LARGE
    windowed = "kernel" in node.params or node.op.name in ("conv2d", "slice", "batch_moments")
    return Size.SMALL if windowed else Size.ODD


def _smallest(judged: Callable[[int], Size]) -> int | None:
    """The smallest size that fits, as far as is looked; None if there is none."""
    small, size = 0, 1
    while judged(size) is Size.SMALL:
        if size >= LARGEST:
            return None
        small, size = size, 2 * size
    while size - small > 1:
        middle = (small + size) // 2
        small, size = (middle, size) if judged(middle) is Size.SMALL else (small, middle)
    if judged(size) is Size.ODD:
        return next((s for s in range(size + 1, size + SCANNED) if judged(s) is Size.FITS), None)
    return size if judged(size) is Size.FITS else None
