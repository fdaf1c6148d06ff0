"""Every kernel of the contract in plain NumPy, float32 or float64: the specification, written to be read.

A kernel takes logical arrays (NCHW maps, OIHW weights), None for an absent tensor, and its parameters by keyword; it
returns new arrays in the order of its row and changes nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from striate.kernels.callback import call_back
from striate.kernels.contract import ROWS
from striate.kernels.reference import (
    conv,
    elementwise,
    linear,
    loss,
    norm,
    optim,
    packed,
    pool,
    shape,
    winograd,
    winograd_dw,
)
from striate.kernels.target import Target

FAMILIES = (conv, linear, packed, winograd, winograd_dw, pool, norm, elementwise, loss, shape, optim)
# Blocks where no instruction set decides; nothing here is fast, so nothing is approximated either.
TARGET = Target("reference", width=8, mr=1, nr=8, mc=1, kc=1, precision="direct")


def kernels() -> SimpleNamespace:
    """The kernel set: one attribute a row of the contract, its `target`, and `callback`."""
    return SimpleNamespace(name="reference", target=TARGET, callback=call_back, **_found())


@functools.cache  # an operation on arrays asks for the set with every call
def _found() -> dict[str, Callable[..., Any]]:
    return {name: next(getattr(f, name) for f in FAMILIES if hasattr(f, name)) for name in ROWS}
