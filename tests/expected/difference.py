"""The gradient of any number by differences: the judge of gradients nobody wrote down."""

from __future__ import annotations

import numpy as np


def difference(f, x, step=1e-4):
    """The gradient of the number f(x), coordinate by coordinate, by central differences of fourth order."""
    gradient = np.zeros_like(x)
    for at in np.ndindex(*x.shape):
        shift = np.zeros_like(x)
        shift[at] = step
        near, far = (f(x + s * shift) - f(x - s * shift) for s in (1, 2))
        gradient[at] = (8 * near - far) / (12 * step)
    return gradient
