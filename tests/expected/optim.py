"""What the optimisers should give: one weight at a time, as the papers' algorithms are written."""

from __future__ import annotations

import math

import numpy as np


def sgd(w, g, v, lr, *, momentum, nesterov, weight_decay):
    w2, v2 = w.copy(), None if v is None else v.copy()
    for at in np.ndindex(*w.shape):
        d = g[at] + weight_decay * w[at]
        if v2 is not None:
            v2[at] = momentum * v[at] + d
            d = d + momentum * v2[at] if nesterov else v2[at]
        w2[at] = w[at] - float(lr) * d
    return w2, v2


def adam(w, g, m, v, lr, step, *, beta1, beta2, eps, weight_decay, decoupled):
    w2, m2, v2, t, lr = w.copy(), m.copy(), v.copy(), int(step), float(lr)
    for at in np.ndindex(*w.shape):
        d = g[at] + (0 if decoupled else weight_decay * w[at])
        m2[at] = beta1 * m[at] + (1 - beta1) * d
        v2[at] = beta2 * v[at] + (1 - beta2) * d**2
        mhat, vhat = m2[at] / (1 - beta1**t), v2[at] / (1 - beta2**t)
        w2[at] = w[at] - lr * mhat / (math.sqrt(vhat) + eps) - (lr * weight_decay * w[at] if decoupled else 0)
    return w2, m2, v2
