"""What the ways of computing a linear layer should give: the layer by loops, the update one weight at a time."""

import math

import numpy as np

from expected.optim import adam, sgd
from expected.windows import linear, linear_dw, linear_dx

linear_rows, linear_dx_rows = linear, linear_dx


def linear_dw_sgd(x, dy, w, v, lr, **params):
    return sgd(w, linear_dw(x, dy), v, lr, **params)


def linear_dw_adam(x, dy, w, m, v, lr, step, **params):
    return adam(w, linear_dw(x, dy), m, v, lr, step, **params)


def rbf(x, w):
    y = np.zeros((x.shape[0], w.shape[0]), x.dtype)
    for n, k in np.ndindex(*y.shape):
        y[n, k] = math.fsum((x[n] - w[k]) ** 2)
    return y
