"""Value: a tensor of a graph that has not been computed, and what Python may not do with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from striate.errors import ConfigError
from striate.graph.state import Array, State
from striate.kernels.contract import Shape, Spec

if TYPE_CHECKING:
    from striate.graph.graph import Graph, Node


class BatchSize(int):
    """The batch size of a traced value: to be looked at; a number made from it would be wrong for other batches."""

    def refuse(self, *_: Any) -> NoReturn:
        raise ConfigError(
            "the batch size cannot be computed with while a network is traced: the trace serves every batch size; "
            "use ops.mean for a mean over images"
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = refuse
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = refuse
    __mod__ = __rmod__ = __pow__ = __rpow__ = __neg__ = __float__ = refuse


@dataclass(eq=False)
class Value:
    """A tensor of a graph that has not been computed: shape, dtype, name, and where it comes from."""

    graph: Graph
    spec: Spec
    name: str
    source: Node | State | Array | None = None  # a node's output, a state, a constant, or (None) an input
    batched: bool = True  # an input whose axis 0 is the batch
    limit: int = 0  # exclusive upper bound of an integer input, 0 if there is none

    @property
    def shape(self) -> Shape:
        """The shape; of what depends on the batch, axis 0 is a BatchSize, which cannot be computed with."""
        sizes = self.spec.shape
        fixed = not sizes or not self.batched or isinstance(self.source, State | np.ndarray)
        return sizes if fixed else (BatchSize(sizes[0]), *sizes[1:])

    @property
    def dtype(self) -> str:
        return self.spec.dtype

    @property
    def ndim(self) -> int:
        return len(self.spec.shape)

    def __repr__(self) -> str:
        return f"Value({self.name}, {self.shape}, {self.dtype})"

    def __bool__(self) -> NoReturn:
        raise ConfigError(
            f"{self!r} has no truth value while a network is traced: the graph is recorded once for all inputs, "
            "so Python cannot branch on data; use an operation (clip, relu, mul by a mask) instead"
        )

    def __add__(self, other: Any) -> Value:
        return self.graph.binary("add", self, other)

    def __radd__(self, other: Any) -> Value:
        return self.graph.binary("add", other, self)

    def __sub__(self, other: Any) -> Value:
        return self.graph.binary("sub", self, other)

    def __rsub__(self, other: Any) -> Value:
        return self.graph.binary("sub", other, self)

    def __mul__(self, other: Any) -> Value:
        return self.graph.binary("mul", self, other)

    def __rmul__(self, other: Any) -> Value:
        return self.graph.binary("mul", other, self)

    def __truediv__(self, other: Any) -> Value:
        return self.graph.binary("div", self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return self.graph.binary("div", other, self)

    def __neg__(self) -> Value:
        return self.graph.binary("mul", self, -1.0)

    def _no_comparison(self, other: Any) -> NoReturn:
        raise ConfigError(
            f"{self!r} cannot be compared while a network is traced: it has no data yet; use ops.relu or ops.clip"
        )

    __lt__ = __le__ = __gt__ = __ge__ = _no_comparison

    def __eq__(self, other: object) -> bool:
        return self is other if other is None or isinstance(other, Value) else self._no_comparison(other)

    __hash__ = object.__hash__

    def __iter__(self) -> NoReturn:
        raise ConfigError(f"{self!r} cannot be iterated while a network is traced; use ops.split or ops.slice")

    def __getitem__(self, index: Any) -> NoReturn:
        raise ConfigError(f"{self!r} cannot be indexed while a network is traced; use ops.slice or ops.split")

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise ConfigError(f"{self!r} has no data while a network is traced; use striate.ops instead of NumPy on it")


setattr(Value, "__array_ufunc__", None)  # noqa: B010  # array + Value asks Value, not NumPy; no annotation has it
