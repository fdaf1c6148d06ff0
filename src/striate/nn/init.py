"""Initial weights. An initialiser is a function (shape, seed, path) -> float32 array: the same key, the same numbers.

fan_in = C/G * KH * KW inputs of a unit, fan_out = O * KH * KW / G units an input feeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from striate.kernels import random
from striate.kernels.contract import Shape

Array = np.ndarray[Any, Any]
Initializer = Callable[[Shape, int, str], Array]


def constant(value: float) -> Initializer:
    """Every weight is `value`."""
    return lambda shape, seed, path: np.full(shape, value, np.float32)


def uniform(bound: float) -> Initializer:
    """Uniform in [-bound, bound)."""

    def draw(shape: Shape, seed: int, path: str) -> Array:
        unit = random.uniform(seed, random.key_of(path), math.prod(shape)).reshape(shape)
        return ((2.0 * unit - 1.0) * np.float32(bound)).astype(np.float32)

    return draw


def normal(std: float) -> Initializer:
    """Normal with mean 0 and standard deviation `std`."""

    def draw(shape: Shape, seed: int, path: str) -> Array:
        numbers = random.normal(seed, random.key_of(path), math.prod(shape)).reshape(shape)
        numbers *= np.float32(std)
        return numbers

    return draw


def lecun_uniform(fan_in: int) -> Initializer:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)): what PyTorch's convolution and linear layers start from.

    Ref: LeCun et al. 1998, Efficient BackProp, section 4.6, eq. 16 (there a standard deviation).
    """
    return uniform(1.0 / math.sqrt(fan_in))


def glorot_uniform(fan_in: int, fan_out: int) -> Initializer:
    """U(-a, a) with a = sqrt(6 / (fan_in + fan_out)). Ref: Glorot and Bengio 2010, AISTATS, eq. 16."""
    return uniform(math.sqrt(6.0 / (fan_in + fan_out)))


def glorot_normal(fan_in: int, fan_out: int) -> Initializer:
    """N(0, 2 / (fan_in + fan_out)). Ref: Glorot and Bengio 2010, AISTATS, eq. 12."""
    return normal(math.sqrt(2.0 / (fan_in + fan_out)))


def he_normal(fan_in: int) -> Initializer:
    """N(0, 2 / fan_in), for layers behind which a ReLU stands. Ref: He et al. 2015, arXiv 1502.01852, eq. 10."""
    return normal(math.sqrt(2.0 / fan_in))


def he_uniform(fan_in: int) -> Initializer:
    """U(-a, a) with a = sqrt(6 / fan_in): the variance of he_normal. Ref: He et al. 2015, arXiv 1502.01852, eq. 10."""
    return uniform(math.sqrt(6.0 / fan_in))


zeros, ones = constant(0.0), constant(1.0)
