"""Softmax, the losses and their gradients; classes are axis 1.

With p = softmax(x), smoothing e over C classes and class weights v, the cross-entropy of a batch is

    loss = sum_n [ -(1 - e) v[t_n] log p[n, t_n] - (e / C) sum_c v[c] log p[n, c] ] / sum_n v[t_n]

Ref: Szegedy et al. 2015, arXiv 1512.00567, section 7 (label smoothing). An empty batch has loss 0.
"""

from __future__ import annotations

import numpy as np

from striate.errors import NonFiniteError
from striate.kernels.reference.arrays import Array, over_channels, scalar


def softmax(x: Array) -> Array:
    """exp(x) / sum exp(x), with the largest x taken off first: the same quotient, and exp cannot overflow."""
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def softmax_grad(y: Array, dy: Array) -> Array:
    return y * (dy - (dy * y).sum(axis=1, keepdims=True))


def log_softmax(x: Array) -> Array:
    shifted = x - x.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def log_softmax_grad(y: Array, dy: Array) -> Array:
    return dy - np.exp(y) * dy.sum(axis=1, keepdims=True)


def cross_entropy(x: Array, targets: Array, weight: Array | None, *, smoothing: float) -> tuple[Array, Array]:
    """The mean loss of the batch, and the probabilities its gradient is made of.

    Shapes: x (N, C), targets (N,), weight (C,) -> (), (N, C).
    """
    logs = log_softmax(x)
    wanted, total = _wanted(x, targets, weight, smoothing)
    return scalar(-(wanted * logs).sum() / total, x), np.exp(logs)


def cross_entropy_dx(probs: Array, targets: Array, weight: Array | None, dloss: Array, *, smoothing: float) -> Array:
    """dx = (p sum_c wanted - wanted) / total, as d(-log p[c]) / dx = p - onehot(c)."""
    wanted, total = _wanted(probs, targets, weight, smoothing)
    return (probs * wanted.sum(axis=1, keepdims=True) - wanted) * (scalar(dloss, probs) / total)


def _wanted(x: Array, targets: Array, weight: Array | None, smoothing: float) -> tuple[Array, Array]:
    """How much of -log p[n, c] the loss takes, and what it divides by: the weights of the targets (1 for no image)."""
    v = np.ones(x.shape[1], x.dtype) if weight is None else weight
    onehot = (np.arange(x.shape[1]) == targets[:, None]).astype(x.dtype)
    wanted = ((1 - smoothing) * onehot + smoothing / x.shape[1]) * over_channels(v, x)
    return wanted, scalar(v[targets].sum() if len(targets) else 1, x)


def mse(x: Array, target: Array) -> Array:
    """The mean of (x - target)^2 over all elements."""
    return scalar(np.square(x - target).sum() / max(x.size, 1), x)


def mse_dx(x: Array, target: Array, dloss: Array) -> Array:
    return (x - target) * scalar(2 * dloss / max(x.size, 1), x)


def count_correct(x: Array, targets: Array) -> Array:
    """How many rows have their (first) largest value at the target."""
    return scalar((x.argmax(axis=1) == targets).sum(), x)


def check_finite(x: Array) -> None:
    """Raises: NonFiniteError if x is not finite; the calls behind this one then do not run."""
    if not np.isfinite(x).all():
        raise NonFiniteError(f"loss: must be finite, got {x}")
