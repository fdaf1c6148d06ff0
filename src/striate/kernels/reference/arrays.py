"""What every reference kernel takes and returns, and how a vector over channels meets a tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def over_channels(vector: Array, x: Array) -> Array:
    """A (C,) vector shaped to broadcast along axis 1 of x."""
    return vector.reshape(1, -1, *[1] * (x.ndim - 2))


def all_but_channels(x: Array) -> tuple[int, ...]:
    """The axes a statistic over channels sums away."""
    return (0, *range(2, x.ndim))


def scalar(value: Any, like: Array) -> Array:
    """A rank 0 array in the dtype of `like`."""
    return np.asarray(value, like.dtype)
