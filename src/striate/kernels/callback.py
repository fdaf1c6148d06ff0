"""Calling a user's Python function as a kernel, and checking what it gives back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from striate.errors import DtypeError, ShapeError
from striate.kernels.contract import Spec

Array = np.ndarray[Any, Any]


def call_back(function: Callable[..., Any], arrays: Sequence[Array], specs: Sequence[Spec]) -> tuple[Array, ...]:
    """function(*contiguous copies of arrays) as a tuple of arrays of `specs`.

    Raises: ShapeError, DtypeError if the function returns another number of arrays, shape or kind of numbers.
    """
    given = function(*(np.array(a, order="C") for a in arrays))
    results = given if isinstance(given, tuple) else (given,)
    if len(results) != len(specs):
        raise ShapeError(f"callback: {_name(function)} must return {len(specs)} arrays, got {len(results)}")
    return tuple(_checked(function, r, s, arrays) for r, s in zip(results, specs, strict=True))


def _checked(function: Callable[..., Any], result: Any, spec: Spec, arrays: Sequence[Array]) -> Array:
    out = np.asarray(result)
    if out.dtype.kind != "f":
        raise DtypeError(f"callback: {_name(function)} must return floating-point numbers, got dtype {out.dtype}")
    if out.shape != spec.shape:
        raise ShapeError(f"callback: {_name(function)} must return shape {spec.shape}, got {out.shape}")
    return np.ascontiguousarray(out, arrays[0].dtype if arrays else spec.dtype)


def _name(function: Callable[..., Any]) -> str:
    if isinstance(function, functools.partial):  # a pooling function, wrapped with the windows it pools
        return next((_name(a) for a in function.args if callable(a)), _name(function.func))
    return getattr(function, "__name__", type(function).__name__)
