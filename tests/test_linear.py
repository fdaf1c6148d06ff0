"""Linear layers computed from their weights as they lie: the same bits as in steps, and for any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

from striate.kernels import native

SIZES = [(0, 3, 5), (1, 10, 84), (5, 100, 1030), (16, 97, 33), (300, 13, 70), (1100, 9, 40)]  # N, O, C
SGD = [dict(momentum=m, nesterov=n, weight_decay=d) for m, n, d in ((0.0, 0, 0.0), (0.9, 0, 1e-4), (0.9, 1, 1e-4))]
ADAM = dict(beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=1e-2)


def arrays(n, o, c):
    rng = np.random.default_rng(n + o + c)
    shapes = ((n, c), (n, o), (o, c), (o, c), (o, c))
    x, dy, w, v, m = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    return x, dy, w, abs(v), m, np.array(0.1, np.float32)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_update_in_one_pass(sizes, isa):
    """dW with its update gives the bits of linear_dw and the update behind it."""
    k = native.kernels(isa)
    x, dy, w, v, m, lr = arrays(*sizes)
    g = k.linear_dw(x, dy)
    for params in SGD:
        velocity = v if params["momentum"] else None
        check(k.linear_dw_sgd(x, dy, w, velocity, lr, **params), k.sgd(w, g, velocity, lr, **params))
    for decoupled in (0, 1):
        params = dict(ADAM, decoupled=decoupled)
        step = np.array(3)
        check(k.linear_dw_adam(x, dy, w, m, v, lr, step, **params), k.adam(w, g, m, v, lr, step, **params))


def check(found, wanted):
    for y, other in zip(found, wanted, strict=True):
        if y is not None:  # no velocity without momentum
            np.testing.assert_array_equal(y, other)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_threads(sizes, isa):
    """One thread and seven give the same bits."""
    x, dy, w, v, _, lr = arrays(*sizes)
    one, seven = (native.kernels(isa, threads=threads) for threads in (1, 7))
    check([one.linear_rows(x, w, None, activation=1)], [seven.linear_rows(x, w, None, activation=1)])
    check([one.linear_dx_rows(dy, w)], [seven.linear_dx_rows(dy, w)])
    check(one.linear_dw_sgd(x, dy, w, v, lr, **SGD[2]), seven.linear_dw_sgd(x, dy, w, v, lr, **SGD[2]))
