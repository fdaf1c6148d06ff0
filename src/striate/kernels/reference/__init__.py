"""Every kernel of the contract in plain NumPy, float32 or float64: the specification, written to be read.

A kernel takes logical arrays (NCHW maps, OIHW weights), None for an absent tensor, and its parameters by keyword; it
returns new arrays in the order of its row and changes nothing.
"""

from __future__ import annotations

from types import SimpleNamespace

from striate.kernels.callback import call_back
from striate.kernels.contract import ROWS
from striate.kernels.reference import conv, elementwise, loss, norm, optim, packed, pool, shape

FAMILIES = (conv, packed, pool, norm, elementwise, loss, shape, optim)
PANEL = 8  # columns of a packed panel where no instruction set decides


def kernels() -> SimpleNamespace:
    """The kernel set: one attribute a row of the contract, `nr`, the width of its packed panels, and `callback`."""
    found = {name: next(getattr(f, name) for f in FAMILIES if hasattr(f, name)) for name in ROWS}
    return SimpleNamespace(name="reference", nr=PANEL, callback=call_back, **found)
