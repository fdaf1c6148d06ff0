"""What the losses should give: one image at a time, exact sums; gradients by differences."""

from __future__ import annotations

import math

import numpy as np

from expected.difference import difference


def log_softmax(x):
    rows, y = np.moveaxis(x, 1, -1), []
    for row in rows.reshape(-1, x.shape[1]).tolist():
        top = max(row)
        total = math.log(math.fsum(math.exp(v - top) for v in row))
        y.append([v - top - total for v in row])
    return np.moveaxis(np.array(y, x.dtype).reshape(rows.shape), -1, 1)


def softmax(x):
    return np.exp(log_softmax(x))


def softmax_grad(y, dy):
    return by_image(lambda x, dy: difference(lambda v: (dy * softmax(v)).sum(), np.log(x)), y, dy)


def log_softmax_grad(y, dy):
    return by_image(lambda x, dy: difference(lambda v: (dy * log_softmax(v)).sum(), x), y, dy)


def by_image(f, *arrays):
    """f of each image by itself: no image touches another."""
    return np.array([f(*(a[n:n + 1] for a in arrays))[0] for n in range(len(arrays[0]))]).reshape(arrays[0].shape)


def cross_entropy(x, targets, weight, *, smoothing):
    """The loss as torch's page words it: (1 - e) the weighted mean at the targets + e / C the sum over all classes."""
    logs, classes = log_softmax(x), x.shape[1]
    v = [1.0] * classes if weight is None else weight.tolist()
    total = math.fsum(v[t] for t in targets)
    at_targets = math.fsum(-logs[n, t] * v[t] for n, t in enumerate(targets))
    at_all = math.fsum(-logs[n, c] * v[c] for n in range(len(x)) for c in range(classes))
    loss = (1 - smoothing) * at_targets + smoothing / classes * at_all
    return np.float64(loss / total if len(x) else 0.0), np.exp(logs)


def cross_entropy_dx(probs, targets, weight, dloss, *, smoothing):
    return difference(lambda x: float(dloss) * cross_entropy(x, targets, weight, smoothing=smoothing)[0],
                      np.log(probs))


def mse(x, target):
    pairs = list(zip(x.ravel(), target.ravel(), strict=True))
    return np.float64(math.fsum((a - b) ** 2 for a, b in pairs) / max(len(pairs), 1))


def mse_dx(x, target, dloss):
    return difference(lambda v: float(dloss) * mse(v, target), x)


def count_correct(x, targets):
    return np.float64(sum(max(range(x.shape[1]), key=row.__getitem__) == t for row, t in
                          zip(x.tolist(), targets.tolist(), strict=True)))
