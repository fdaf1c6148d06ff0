"""Op: everything about one operation in one place, and the registry that finds it by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from striate.errors import DtypeError, ShapeError, unknown_name
from striate.kernels.contract import Spec

Params = dict[str, Any]


@dataclass(frozen=True)
class Cost:
    """What one execution of an operation takes: multiply-accumulates, and other floating-point operations."""

    macs: int = 0
    other: int = 0


@dataclass(frozen=True)
class Op:
    """Everything about one operation.

    shape(*specs, **params) -> specs of the outputs; forward(k, *xs, **params) -> (y or ys, saved);
    backward(k, saved, *dys, **params) -> one gradient or None per input; cost(*specs, **params) -> Cost.
    `limits(*specs, **params)` maps an integer input's position to its exclusive upper bound.
    """

    name: str
    shape: Callable[..., tuple[Spec, ...]]
    forward: Callable[..., tuple[Any, tuple[Any, ...]]]
    backward: Callable[..., tuple[Any, ...]] | None
    cost: Callable[..., Cost]
    limits: Callable[..., dict[int, int]] | None = None
    optional: tuple[int, ...] = ()  # positions of inputs that may be None

    def __post_init__(self) -> None:
        OPS[self.name] = self

    def infer(self, *specs: Spec | None, **params: Any) -> tuple[Spec, ...]:
        """The shape rule; Raises: also DtypeError for a missing input and ShapeError for a fifth axis."""
        for i, spec in enumerate(specs):
            if spec is None and i not in self.optional:
                raise DtypeError(f"{self.name}: input {i + 1} must be a tensor, got None")
        outputs = self.shape(*specs, **params)
        for spec in specs:
            if spec is not None and len(spec.shape) > 4:
                raise ShapeError(f"{self.name}: a tensor must have rank 4 at most, got shape {spec.shape}")
        return outputs


OPS: dict[str, Op] = {}


def find_op(name: str) -> Op:
    if name not in OPS:
        raise unknown_name("graph", "operation", name, OPS)
    return OPS[name]


def elements(spec: Spec) -> int:
    """How many numbers a tensor holds."""
    return math.prod(spec.shape)
