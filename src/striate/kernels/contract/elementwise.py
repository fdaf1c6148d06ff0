"""Rows of elementwise kernels; a and b broadcast over axes of size 1."""

from __future__ import annotations

from striate.errors import ShapeError
from striate.kernels.contract.row import Spec, checked, row, same


def broadcast(who: str, a: Spec, b: Spec) -> Spec:
    """Shape of an elementwise result: equal ranks, each pair of sizes equal or one of them 1."""
    if len(a.shape) != len(b.shape):
        raise ShapeError(f"{who}: both must have the same rank, got {a.shape} and {b.shape}")
    for i, j in zip(a.shape, b.shape, strict=True):
        if i != j and 1 not in (i, j):
            raise ShapeError(f"{who}: sizes must be equal or 1 on every axis, got {a.shape} and {b.shape}")
    out = tuple(j if i == 1 else i for i, j in zip(a.shape, b.shape, strict=True))
    return checked(who, Spec(out, a.dtype))[0]


def _sum_to(x: Spec, *, axes: int) -> tuple[Spec, ...]:
    return (Spec(tuple(1 if axes >> i & 1 else size for i, size in enumerate(x.shape)), x.dtype),)


for _name in ("relu", "tanh", "sigmoid", "relu6"):
    row(_name, "x -> y", "", same, overwrites=((0, 0),), pointwise=True)
    row(f"{_name}_grad", "y dy -> dx", "", same, overwrites=((0, 0), (0, 1)), pointwise=True)
for _name, _params in (("leaky_relu", "slope:f"), ("hard_swish", ""), ("gelu", "tanh:1")):
    row(_name, "x -> y", _params, same, overwrites=((0, 0),), pointwise=True)
    row(f"{_name}_grad", "x dy -> dx", _params, same, overwrites=((0, 0), (0, 1)), pointwise=True)
row("clip", "x -> y", "low:f high:f", same, overwrites=((0, 0),), pointwise=True)
row("clip_grad", "x dy -> dx", "low:f high:f", same, overwrites=((0, 0), (0, 1)), pointwise=True)
row("scale", "x -> y", "factor:f", same, overwrites=((0, 0),), pointwise=True)
row("copy", "x -> y", "", same, pointwise=True)
for _name in ("add", "sub", "mul", "div"):
    row(_name, "a b -> y", "", lambda a, b, _who=_name: (broadcast(_who, a, b),), overwrites=((0, 0), (0, 1)),
        pointwise=True)
row("sum_to", "x -> y", "axes:1", _sum_to)
row("dropout", "x seed step -> y", "p:f key:1 first:1", same, overwrites=((0, 0),))
