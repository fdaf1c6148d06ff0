"""What a row of the contract is, the checks shape rules are made of, and the size formulas.

A signature reads `x w b? -> y index?`: a tensor marked `?` may be absent, one marked `*` is a list of any length.
Parameters read `stride:2 eps:f`: a number is how many integers, `f` is a float. csrc/kernels.inc repeats both
strings and a test holds them equal. Shapes are logical (NCHW, OIHW); letters are those of the style guide.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from striate.errors import LimitError, ShapeError

Shape = tuple[int, ...]
MAX_BYTES = 1 << 46
MAX_WINDOW = 65535


@dataclass(frozen=True)
class Spec:
    """Shape and dtype of a tensor, without its data."""

    shape: Shape
    dtype: str = "float32"


@dataclass(frozen=True)
class Row:
    """The contract of one kernel."""

    name: str
    signature: str
    parameters: str
    shapes: Callable[..., tuple[Any, ...]]  # a Spec an output; None for an optional one that is not asked for
    overwrites: tuple[tuple[int, int], ...] = ()  # (output, input) pairs that may share memory
    mergeable: bool = False  # neighbouring calls with equal parameters may become one native call
    pointwise: bool = False  # element i of an output depends on element i of the inputs alone, whatever the layout
    algorithm: bool = False  # only `lower` writes it: one way to compute another row
    inputs: tuple[str, ...] = field(init=False)
    outputs: tuple[str, ...] = field(init=False)
    params: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        left, right = self.signature.split("->")
        object.__setattr__(self, "inputs", tuple(left.split()))
        object.__setattr__(self, "outputs", tuple(right.split()))
        pairs = (p.split(":") for p in self.parameters.split())
        object.__setattr__(self, "params", dict(pairs))


# Tensors under these names are dense and row-major at any rank (weights OIHW, their gradients and optimiser slots);
# under any other name a rank 4 tensor lies in memory as NHWC with a pixel stride.
DENSE = frozenset({"w", "dw", "w2", "g", "v", "v2", "m", "m2", "wp", "u"})

ROWS: dict[str, Row] = {}


def row(name: str, signature: str, parameters: str, shapes: Callable[..., Any], **traits: Any) -> None:
    ROWS[name] = Row(name, signature, parameters, shapes, **traits)


# ---- the size formulas: the only place they are written

def conv_size(who: str, axis: str, size: int, kernel: int, stride: int, low: int, high: int, dilation: int) -> int:
    """Output size of a convolution or pooling along one axis: (size + low + high - d(kernel - 1) - 1) // stride + 1."""
    effective = dilation * (kernel - 1) + 1
    if size + low + high < effective:
        raise ShapeError(
            f"{who}: the kernel must fit into the padded input, got effective kernel {axis} {effective} "
            f"over padded input {axis} {size + low + high} ({size} + {low} + {high})"
        )
    return (size + low + high - effective) // stride + 1


def pool_size(who: str, axis: str, size: int, kernel: int, stride: int, pad: int, dilation: int, ceil: bool) -> int:
    """As conv_size; with `ceil` the last partial window counts if it starts inside the input or its left padding."""
    out = conv_size(who, axis, size, kernel, stride, pad, pad, dilation)
    if ceil:
        effective = dilation * (kernel - 1) + 1
        out = -(-(size + 2 * pad - effective) // stride) + 1
        if (out - 1) * stride >= size + pad:
            out -= 1
    return out


def checked(who: str, *specs: Spec) -> tuple[Spec, ...]:
    """`specs`, unless one is larger than memory can be."""
    for spec in specs:
        if math.prod(spec.shape) * 8 > MAX_BYTES:
            raise LimitError(f"{who}: a result of shape {spec.shape} is larger than this machine can address")
    return specs


def same(x: Spec, *_: Spec | None, **__: Any) -> tuple[Spec, ...]:
    """The shape rule of most kernels: the output is like the first input."""
    return (x,)


def need_rank(who: str, name: str, spec: Spec, *ranks: int) -> None:
    if len(spec.shape) not in ranks:
        wanted = " or ".join(map(str, ranks))
        raise ShapeError(f"{who}: {name} must have rank {wanted}, got rank {len(spec.shape)} with shape {spec.shape}")


def need_shape(who: str, name: str, spec: Spec | None, shape: Shape, letters: str) -> None:
    if spec is not None and spec.shape != shape:
        raise ShapeError(f"{who}: {name} must have shape {letters} = {shape}, got {spec.shape}")


def need_pixels(who: str, spec: Spec) -> None:
    if 0 in spec.shape[1:]:
        raise ShapeError(f"{who}: only the batch may be empty, got an axis of size 0 in shape {spec.shape}")
