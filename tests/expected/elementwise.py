"""What elementwise kernels should give: one number at a time, by Python's own arithmetic."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np


def each(f):
    def over(*arrays, **named):
        grids = np.broadcast_arrays(*arrays, *named.values())
        flat = [f(*values) for values in zip(*(g.ravel().tolist() for g in grids), strict=True)]
        return np.array(flat, np.result_type(*grids)).reshape(grids[0].shape)
    return over


relu = each(lambda x: x if x > 0 or math.isnan(x) else 0.0)
relu_grad = each(lambda y, dy: dy if y > 0 or math.isnan(y) else 0.0)
tanh = each(math.tanh)
tanh_grad = each(lambda y, dy: dy - dy * y**2)
sigmoid = each(lambda x: 0.5 * (1 + math.tanh(x / 2)))
sigmoid_grad = each(lambda y, dy: dy * y - dy * y**2)
add = each(lambda a, b: a + b)
sub = each(lambda a, b: a - b)
mul = each(lambda a, b: a * b)
div = each(lambda a, b: a / b)
copy = each(lambda x: x)


relu6 = each(lambda x: x if math.isnan(x) else min(max(x, 0.0), 6.0))
relu6_grad = each(lambda y, dy: dy if 0 < y < 6 or math.isnan(y) else 0.0)
hard_swish = each(lambda x: x if math.isnan(x) or x >= 3 else 0.0 if x <= -3 else x * (x + 3) / 6)
hard_swish_grad = each(lambda x, dy: dy * (x * 2 + 3) / 6 if math.isnan(x) or -3 < x < 3 else dy if x >= 3 else 0.0)


def leaky_relu(x, *, slope):
    return each(lambda v: v if v > 0 else v * slope)(x)


def leaky_relu_grad(x, dy, *, slope):
    return each(lambda v, d: d if v > 0 or math.isnan(v) else d * slope)(x, dy)


def gelu(x, *, tanh):
    return each(gelu_by_tanh if tanh else lambda v: v * NormalDist().cdf(v))(x)


def gelu_by_tanh(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu_grad(x, dy, *, tanh):
    return each(lambda v, d: d * (slope_by_tanh(v) if tanh else NormalDist().cdf(v) + v * NormalDist().pdf(v)))(x, dy)


def slope_by_tanh(x):
    t = math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)


def clip(x, *, low, high):
    return each(lambda v: v if math.isnan(v) else min(max(v, low), high))(x)


def clip_grad(x, dy, *, low, high):
    return each(lambda v, d: d if low <= v <= high else 0.0)(x, dy)


def scale(x, *, factor):
    return each(lambda v: v * factor)(x)


def sum_to(x, *, axes):
    y = np.zeros([1 if axes >> i & 1 else s for i, s in enumerate(x.shape)], x.dtype)
    for at in np.ndindex(*x.shape):
        y[tuple(0 if axes >> i & 1 else p for i, p in enumerate(at))] += x[at]
    return y


def dropout(x, seed, step, *, p, key, first):
    y = np.zeros_like(x)
    k = (int(seed) ^ key) % 2**64
    for n in range(x.shape[0]):
        for e, value in enumerate(x[n].ravel().tolist()):
            word = philox((e >> 2, (first + n) % 2**32, int(step) % 2**32, int(step) % 2**64 >> 32),
                          (k % 2**32, k >> 32))[e & 3]
            y[n].reshape(-1)[e] = value * float(np.float32(1 / (1 - p))) if (word >> 8) / 2**24 >= p else 0.0
    return y


def philox(counter, key):
    """Philox4x32-10 on Python's integers."""
    c0, c1, c2, c3 = counter
    for i in range(10):
        a, b = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        k0, k1 = (key[0] + i * 0x9E3779B9) % 2**32, (key[1] + i * 0xBB67AE85) % 2**32
        c0, c1, c2, c3 = b >> 32 ^ c1 ^ k0, b % 2**32, a >> 32 ^ c3 ^ k1, a % 2**32
    return c0, c1, c2, c3
