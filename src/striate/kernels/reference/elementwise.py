"""Elementwise kernels: activations, arithmetic, and dropout."""

from __future__ import annotations

import math

import numpy as np

from striate.kernels.random import image_uniform
from striate.kernels.reference.arrays import Array


def activated(x: Array, activation: int) -> Array:
    """x through the activation a fused kernel names by number: none, relu, tanh, sigmoid, relu6."""
    return x if activation == 0 else (relu, tanh, sigmoid, relu6)[activation - 1](x)


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def relu_grad(y: Array, dy: Array) -> Array:
    """dy where y > 0; a NaN y lets dy through, so that trouble stays visible."""
    return np.where(y <= 0, 0, dy).astype(dy.dtype)


def tanh(x: Array) -> Array:
    return np.tanh(x)


def tanh_grad(y: Array, dy: Array) -> Array:
    return dy * (1 - y * y)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), written with exp(-|x|), which cannot overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


def sigmoid_grad(y: Array, dy: Array) -> Array:
    return dy * (y * (1 - y))


def relu6(x: Array) -> Array:
    return np.minimum(np.maximum(x, 0), 6)


def relu6_grad(y: Array, dy: Array) -> Array:
    """dy where 0 < y < 6; a NaN y lets dy through."""
    return np.where((y <= 0) | (y >= 6), 0, dy).astype(dy.dtype)


def leaky_relu(x: Array, *, slope: float) -> Array:
    return np.where(x <= 0, x.dtype.type(slope) * x, x)


def leaky_relu_grad(x: Array, dy: Array, *, slope: float) -> Array:
    """dy, times slope where x <= 0; a NaN x lets dy through."""
    return np.where(x <= 0, dy.dtype.type(slope) * dy, dy)


def hard_swish(x: Array) -> Array:
    """x times a line that rises from 0 at -3 to 1 at 3."""
    return x * relu6(x + 3) / 6


def hard_swish_grad(x: Array, dy: Array) -> Array:
    return np.where(x <= -3, 0, np.where(x >= 3, dy, dy * (x / 3 + 0.5))).astype(dy.dtype)


def gelu(x: Array, *, tanh: int) -> Array:
    """x times the share of the standard normal distribution below x, or the curve by tanh close to it."""
    share, _ = _shares(x, tanh)
    return x * share


def gelu_grad(x: Array, dy: Array, *, tanh: int) -> Array:
    share, slope = _shares(x, tanh)
    return dy * (share + x * slope)


def clip(x: Array, *, low: float, high: float) -> Array:
    return np.minimum(np.maximum(x, x.dtype.type(low)), x.dtype.type(high))


def clip_grad(x: Array, dy: Array, *, low: float, high: float) -> Array:
    """dy where low <= x <= high, the ends included."""
    return np.where((x >= x.dtype.type(low)) & (x <= x.dtype.type(high)), dy, 0).astype(dy.dtype)


def scale(x: Array, *, factor: float) -> Array:
    return x * x.dtype.type(factor)


def copy(x: Array) -> Array:
    return x.copy()


def fill_nan(x: Array) -> None:
    """Overwrites x, the one kernel that does: what is dead must not be read again."""
    x.fill(np.nan)


def add(a: Array, b: Array) -> Array:
    return a + b


def sub(a: Array, b: Array) -> Array:
    return a - b


def mul(a: Array, b: Array) -> Array:
    return a * b


def div(a: Array, b: Array) -> Array:
    return a / b


def sum_to(x: Array, *, axes: int) -> Array:
    """x summed over every axis whose bit is set in `axes`; the axes stay, with size 1."""
    return x.sum(axis=tuple(i for i in range(x.ndim) if axes >> i & 1), keepdims=True)


def dropout(x: Array, seed: Array, step: Array, *, p: float, key: int, first: int) -> Array:
    """x / (1 - p) where the element's random number is at least p, else 0; the gradient is the same call on dy."""
    u = image_uniform(x.shape, seed=int(seed), key=key, first=first, step=int(step))
    return np.where(u >= np.float32(p), x * x.dtype.type(np.float32(1 / (1 - p))), 0).astype(x.dtype)


def _shares(x: Array, tanh: int) -> tuple[Array, Array]:
    """The share at x and its derivative."""
    if tanh:
        share = sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x**3))
        return share, share * (1 - share) * math.sqrt(8 / math.pi) * (1 + 0.134145 * x**2)
    below = [0.5 * math.erfc(-v / math.sqrt(2)) for v in x.ravel().tolist()]
    return np.array(below, x.dtype).reshape(x.shape), np.exp(-x**2 / 2) / math.sqrt(2 * math.pi)
