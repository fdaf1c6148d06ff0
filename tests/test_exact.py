"""Convolutions of small integers are exact in float32, in any order of summation: native == int64, bit for bit."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

from striate.kernels import lower, native, reference

FAST, SLOW, BLOCK = 300, 5000, 30
exact = reference.kernels()


@functools.lru_cache(maxsize=2 * FAST)
def problem(number):
    """A random convolution on integers: its arguments, its arrays, and what int64 says of y, dx, dw and db."""
    rng = np.random.default_rng(number)

    def draw(low, high, count=None):
        return rng.integers(low, high + 1, count)

    groups = int(rng.choice([1, 1, 1, 2, 3, 4]))
    c, o = (groups * int(draw(1, 40 // groups)) for _ in range(2))
    if number % 7 == 0:  # depthwise, with and without a multiplier
        groups, o = c, c * int(draw(1, 2))
    kernel, dilation = draw(1, 5, 2), draw(1, 2, 2)
    padding = draw(0, 3, 4)
    need = dilation * (kernel - 1) + 1 - padding.reshape(2, 2).sum(axis=1)
    size = np.maximum(need, 1) + draw(0, 8, 2)
    at = dict(stride=pair(draw(1, 3, 2)), padding=pair(padding), dilation=pair(dilation), groups=groups)
    x = draw(-4, 4, (int(draw(0, 3)), c, *size))
    w, b = draw(-4, 4, (o, c // groups, *kernel)), draw(-9, 9, o)
    y = exact.conv2d(x, w, b, None, **at, activation=0)
    dy = draw(-4, 4, y.shape)
    back = exact.conv2d_dx(dy, w, size=pair(size), **at), exact.conv2d_dw(x, dy, kernel=pair(kernel), **at)
    return at, (x, w, b, dy), (y, *back, exact.channel_sum(dy))


def pair(values):
    return tuple(map(int, values))


def check(number, isa):
    at, arrays, wanted = problem(number)
    x, w, b, dy = (a.astype(np.float32) for a in arrays)
    k = native.kernels(isa, precision="direct")
    found = (k.conv2d(x, w, b, None, **at, activation=0), k.conv2d_dx(dy, w, size=x.shape[2:], **at),
             k.conv2d_dw(x, dy, kernel=w.shape[2:], **at), k.channel_sum(dy))
    for name, y, other in zip(("y", "dx", "dw", "db"), found, wanted, strict=True):
        what = f"{name} of problem {number}: x {x.shape}, w {w.shape}, {at}"
        assert y.shape == other.shape, what
        assert (y == other).all(), f"{what}: {(y != other).sum()} of {y.size} differ"


@pytest.mark.parametrize("first", range(0, FAST, BLOCK))
def test_convolution(first, isa):
    for number in range(first, first + BLOCK):
        check(number, isa)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FAST, SLOW, 100))
def test_many_convolutions(first, isa):
    for number in range(first, first + 100):
        check(number, isa)


def test_linear(isa):
    k, rng = native.kernels(isa, precision="direct"), np.random.default_rng(0)
    for n, c, o in rng.integers(1, 70, (60, 3)):
        x, w, b, dy = (rng.integers(-4, 5, shape) for shape in ((n, c), (o, c), (o,), (n, o)))
        xf, wf, bf, dyf = (a.astype(np.float32) for a in (x, w, b, dy))
        for found, wanted in ((k.linear(xf, wf, bf, activation=0), exact.linear(x, w, b, activation=0)),
                              (k.linear_dx(dyf, wf), exact.linear_dx(dy, w)),
                              (k.linear_dw(xf, dyf), exact.linear_dw(x, dy))):
            assert (found == wanted).all(), (n, c, o)


@pytest.mark.parametrize("nr", [1, 4, 8, 16])
def test_lowered(nr):
    """Packing and multiplying panels is the convolution it stands for, whatever the width of the panels."""
    k = reference.kernels()
    k.target = replace(k.target, nr=nr)
    for number in range(40):
        at, (x, w, b, dy), (y, dx, _, _) = problem(number)
        assert (lower.conv2d(k, x, w, b, None, **at, activation=0) == y).all(), number
        assert (lower.conv2d_dx(k, dy, w, size=x.shape[2:], **at) == dx).all(), number


def test_duality():
    """dx is dy convolved with w: sum y dy = sum x dx = sum w dw, exactly, for every problem."""
    for number in range(FAST):
        _, (x, w, b, dy), (y, dx, dw, db) = problem(number)
        assert (y * dy).sum() - (b * db).sum() == (x * dx).sum() == (w * dw).sum(), number
