"""Optimisers as functions: a weight, its gradient and its slots in, the next weight and slots out.

Both follow torch.optim (SGD with dampening 0, Adam, and AdamW with `decoupled`).
"""

from __future__ import annotations

import numpy as np

from striate.kernels.reference.arrays import Array, scalar


def sgd(w: Array, g: Array, v: Array | None, lr: Array, *, momentum: float, nesterov: int,
        weight_decay: float) -> tuple[Array, Array | None]:
    """w - lr * g, with g smoothed by momentum (v = momentum * v + g) and looked ahead by Nesterov.

    Ref: Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning", in torch's form.
    """
    g = g + weight_decay * w
    if v is None:
        return w - scalar(lr, w) * g, None
    v2 = momentum * v + g
    return w - scalar(lr, w) * (g + momentum * v2 if nesterov else v2), v2


def adam(w: Array, g: Array, m: Array, v: Array, lr: Array, step: Array, *, beta1: float, beta2: float, eps: float,
         weight_decay: float, decoupled: int) -> tuple[Array, Array, Array]:
    """Adam; `decoupled` shrinks w itself instead of adding to its gradient. `step` is 1 on the first step.

    Ref: Kingma and Ba 2014, arXiv 1412.6980, algorithm 1; Loshchilov and Hutter 2017, arXiv 1711.05101, algorithm 2.
    """
    t = int(step)
    if decoupled:
        w = w - w * scalar(lr * weight_decay, w)
    else:
        g = g + weight_decay * w
    m2 = beta1 * m + (1 - beta1) * g
    v2 = beta2 * v + (1 - beta2) * g * g
    rate = scalar(lr / (1 - beta1**t), w)
    return w - rate * m2 / (np.sqrt(v2) / scalar(np.sqrt(1 - beta2**t), w) + eps), m2, v2
