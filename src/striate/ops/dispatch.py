"""One door to every operation: on Values it adds a node to their graph, on arrays it computes at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from striate.errors import ConfigError, DtypeError, LimitError, unknown_name
from striate.graph import Op, Params, State, Value
from striate.kernels import native, reference
from striate.kernels.contract import Spec, checked

KERNEL_SETS: dict[str, Callable[[], Any]] = {"native": native.kernels, "reference": reference.kernels}


def run(op: Op, inputs: Sequence[Any], params: Params | None = None, kernels: str = "native") -> Any:
    """The output of `op`, or the tuple of them: Values if any input is a Value, else arrays.

    Raises: DtypeError, ShapeError, ConfigError, each naming the operation.
    """
    params = params or {}
    traced = next((x for x in inputs if isinstance(x, Value)), None)
    if traced is not None:
        outputs: Any = traced.graph.apply(op, inputs, params)
        return outputs if len(outputs) > 1 else outputs[0]
    return compute(op, inputs, params, kernels)


def compute(op: Op, inputs: Sequence[Any], params: Params, kernels: str) -> Any:
    """`op` on arrays, by the kernel set of that name."""
    if kernels not in KERNEL_SETS:
        raise unknown_name(op.name, "kernel set", kernels, KERNEL_SETS)
    arrays = [None if x is None else as_array(op.name, x, kernels) for x in inputs]
    specs = [None if a is None else Spec(a.shape, str(a.dtype)) for a in arrays]
    checked(op.name, *(spec for spec in specs if spec is not None))
    floats = sorted({spec.dtype for spec in specs if spec is not None and spec.dtype.startswith("float")})
    if len(floats) > 1:
        raise DtypeError(f"{op.name}: tensors must be of one dtype, got {' and '.join(floats)}")
    op.infer(*specs, **params)
    for i, bound in (op.limits(*specs, **params) if op.limits else {}).items():
        check_targets(op.name, arrays[i], bound)
    try:
        y, _ = op.forward(KERNEL_SETS[kernels](), *arrays, **params)
    except MemoryError as error:
        raise LimitError(f"{op.name}: needs more memory than there is; {error}") from None
    return y


def as_array(who: str, x: Any, kernels: str = "native") -> np.ndarray[Any, Any]:
    """`x` as an array the kernel set computes with; integers become int64, nothing else is converted."""
    try:
        array = np.asarray(x.array if isinstance(x, State) else x)
    except ValueError:
        raise DtypeError(f"{who}: needs an array of numbers, got {type(x).__name__} of uneven rows") from None
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    wanted = ("float32",) if kernels == "native" else ("float32", "float64")
    name = array.dtype.newbyteorder("=").name
    if name not in wanted:
        hint = '; float64 needs kernels="reference"' if name == "float64" else ""
        raise DtypeError(f"{who}: needs arrays of {' or '.join(wanted)}, got {array.dtype}{hint}")
    return array.astype(name, copy=False)


def check_targets(who: str, targets: Any, bound: int) -> None:
    """Raises: DtypeError, ConfigError unless `targets` are integers in [0, bound)."""
    if targets.dtype.kind not in "iu":
        raise DtypeError(f"{who}: targets must be integers, got dtype {targets.dtype}")
    bad = (targets < 0) | (targets >= bound)
    if bad.any():
        at = int(np.argmax(bad.ravel()))
        raise ConfigError(f"{who}: target {targets.ravel()[at]} out of range [0, {bound}) at index {at}")


def spec_of(who: str, x: Any) -> tuple[int, ...]:
    """The shape of a Value, a State or anything NumPy can hold."""
    if isinstance(x, Value):
        return x.spec.shape
    return tuple(x.shape if hasattr(x, "shape") else as_array(who, x, "reference").shape)


def need_float(who: str, *specs: Spec | None) -> None:
    """Raises: DtypeError if one of `specs` does not hold floating-point numbers."""
    for spec in specs:
        if spec is not None and not spec.dtype.startswith("float"):
            raise DtypeError(f"{who}: needs floating-point tensors, got {spec.dtype} of shape {spec.shape}")
