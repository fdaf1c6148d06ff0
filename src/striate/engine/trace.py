"""Trace: a network is called once on Values, and what it does is its Graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from striate.engine.misfit import explained
from striate.errors import ConfigError, ShapeError
from striate.graph import Graph, State, Value
from striate.kernels.contract import Spec

Loss = Callable[[Any, Value], Value]
Metrics = Mapping[str, Callable[[Any, Value], Value]]


class Network(Protocol):
    """What the engine needs of a Module."""

    def __call__(self, x: Any, /) -> Any: ...

    def module_paths(self) -> dict[int, str]: ...

    def structure(self) -> tuple[Any, ...]: ...

    def states(self) -> dict[str, State]: ...


def trace(net: Network, x: Spec, *, training: bool = False, loss: Loss | None = None, targets: Spec | None = None,
          metrics: Metrics | None = None) -> Graph:
    """The graph of net(x); with a loss its scalar is the output "loss", and each metric one under its name.

    Raises: what an operation raises, with the path of the layer.
    """
    graph = Graph(training, paths=net.module_paths())
    given = graph.add_input("x", x)
    leaves: list[Value] = []
    try:
        y = net(given)
    except ShapeError as error:
        raise explained(error, graph, lambda again, image: net(again.add_input("x", replace(x, shape=image)))) from None
    graph.nest = _nest(y, graph, leaves)
    graph.outputs = {"y" if len(leaves) == 1 else f"y{i}": v for i, v in enumerate(leaves)}
    if loss is not None and targets is not None:
        wanted = graph.add_input("targets", targets)
        with graph.scope("loss", "loss"):
            graph.outputs["loss"] = _scalar("loss", loss(y, wanted), graph)
        for name, metric in (metrics or {}).items():
            with graph.scope(name, "metric"):
                graph.outputs[name] = _scalar(name, metric(y, wanted), graph)
    return graph


def _scalar(name: str, value: Any, graph: Graph) -> Value:
    if not isinstance(value, Value) or value.shape != ():
        raise ShapeError(f"{name}: must return a scalar Value (end in ops.mean or ops.sum), got {value!r:.120}")
    return graph.value_of(value)


def _nest(y: Any, graph: Graph, leaves: list[Value]) -> Any:
    """The nest of tuples, lists and dicts of `y` with numbers for Values, which go to `leaves`."""
    if isinstance(y, dict):
        return {key: _nest(item, graph, leaves) for key, item in y.items()}
    if isinstance(y, tuple | list):
        return _alike(y, [_nest(item, graph, leaves) for item in y])
    if not isinstance(y, Value):
        raise ConfigError(f"forward: must return Values or nests of them, got {type(y).__name__}")
    leaves.append(graph.value_of(y))
    return len(leaves) - 1


def unnest(nest: Any, leaves: list[Any]) -> Any:
    """The nest with `leaves` in the place of their numbers."""
    if isinstance(nest, int):  # first: almost every network has one output
        return leaves[nest]
    if isinstance(nest, dict):
        return {key: unnest(item, leaves) for key, item in nest.items()}
    return _alike(nest, [unnest(item, leaves) for item in nest])


def _alike(sequence: Any, items: list[Any]) -> Any:
    """`items` as the kind of sequence that `sequence` is; a named tuple takes them one by one."""
    return type(sequence)(*items) if hasattr(sequence, "_fields") else type(sequence)(items)


