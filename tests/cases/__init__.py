"""THE table: one line a case. A row of an operation drives its shape rule, forward, gradient, native kernels, cost and
errors; a row of a kernel (`Call`) is for the kernels that no operation calls. New operation: add rows, not functions.
"""

from __future__ import annotations

import inspect

from cases.case import Call, Case
from cases.elementwise import ELEMENTWISE, LOSSES, MOVES
from cases.errors import ERRORS
from cases.kernels import CALLS, WINOGRAD, norm_call, pooled_calls
from cases.layers import CONVOLUTION, FUSED, NORMALISATION, POINT, SAME
from cases.pooling import CALLBACKS, POOLING, cube, l2
from striate import ops

__all__ = ["CALLS", "CASES", "ERRORS", "POINT", "SAME", "WINOGRAD", "Call", "Case", "cube", "l2", "norm_call",
           "pooled_calls", "public_operations"]

CASES = CONVOLUTION + POOLING + CALLBACKS + NORMALISATION + ELEMENTWISE + LOSSES + MOVES + FUSED


def public_operations() -> list[str]:
    """The operations a user can call; each must have rows."""
    return [name for name in ops.__all__ if inspect.isfunction(getattr(ops, name))]
