"""Arguments are checked and brought to one form here, at the boundary, before anything is computed from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from striate.errors import ConfigError, DtypeError

MAX_SIZE = 2**31 - 1
FINITE = (-float(np.finfo(np.float32).max), float(np.finfo(np.float32).max))
Pair = tuple[int, int]


def integer(who: str, name: str, value: Any, low: int = 1, high: int = MAX_SIZE) -> int:
    """`value` as an int in [low, high]; booleans, floats and strings are not integers."""
    if type(value) is not int and (isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer)):
        raise DtypeError(f"{who}: {name} must be an integer, got {_shown(value)}")
    if not low <= value <= high:
        bound = "positive" if low == 1 else f"at least {low}"
        limit = f"{name} must be {bound}" if value < low else f"{name} must be at most {high}"
        raise ConfigError(f"{who}: {limit}, got {value}")
    return int(value)


def number(who: str, name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """`value` as a float in [low, high]; NaN, booleans and strings are refused."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise DtypeError(f"{who}: {name} must be a number, got {_shown(value)}")
    if not low <= value <= high:
        raise ConfigError(f"{who}: {name} must be a number from {low:g} to {high:g}, got {value}")
    return float(value)


def pair(who: str, name: str, value: Any, low: int = 1) -> Pair:
    """An integer for both axes, or a sequence (height, width)."""
    if _is_sequence(value):
        if len(value) != 2:
            raise ConfigError(f"{who}: {name} must be an integer or a pair (height, width), got {_shown(value)}")
        return integer(who, name, value[0], low), integer(who, name, value[1], low)
    one = integer(who, name, value, low)
    return one, one


def sides(who: str, name: str, value: Any) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) from p, (height, width) or ((top, bottom), (left, right))."""
    if _is_sequence(value) and len(value) == 2 and all(map(_is_sequence, value)):
        return (*pair(who, name, value[0], 0), *pair(who, name, value[1], 0))
    vertical, horizontal = pair(who, name, value, 0)
    return vertical, vertical, horizontal, horizontal


def axis_of(who: str, axis: Any, rank: int) -> int:
    """A logical axis counted from either end, as one counted from the front."""
    found = integer(who, "axis", axis, -rank, rank - 1)
    return found + rank if found < 0 else found


def flag(who: str, name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise DtypeError(f"{who}: {name} must be True or False, got {value!r}")
    return bool(value)


def _is_sequence(value: Any) -> bool:
    return (isinstance(value, Sequence) and not isinstance(value, str | bytes)) or (
        isinstance(value, np.ndarray) and value.ndim > 0
    )


def _shown(value: Any) -> str:
    """`value` on one line, cut where it gets long."""
    return " ".join(repr(value).split())[:80]
