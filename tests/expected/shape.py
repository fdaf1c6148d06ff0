"""What the moving kernels should give: one element at a time."""

from __future__ import annotations

import math

import numpy as np

from expected.elementwise import copy


def window(x, *, start, shape, fill):
    y = np.full(shape[:x.ndim], fill, x.dtype)
    for at in np.ndindex(*y.shape):
        source = tuple(p + s for p, s in zip(at, start, strict=False))
        if all(0 <= p < size for p, size in zip(source, x.shape, strict=True)):
            y[at] = x[source]
    return y


def concat(*xs, axis):
    rows = [row for x in xs for row in np.moveaxis(x, axis, 0)]
    return np.moveaxis(np.array(rows, xs[0].dtype), 0, axis)


def flatten(x):
    return np.array([v for image in x for v in image.ravel()], x.dtype).reshape(len(x), math.prod(x.shape[1:]))


def unflatten(x, *, shape):
    y = np.zeros((len(x), *shape), x.dtype)
    for n, c, h, w in np.ndindex(*y.shape):
        y[n, c, h, w] = x[n, (c * shape[1] + h) * shape[2] + w]
    return y


def channel_shuffle(x, *, groups):
    order = [group * (x.shape[1] // groups) + i for i in range(x.shape[1] // groups) for group in range(groups)]
    return np.stack([x[:, c] for c in order], axis=1)


to_dense = from_dense = copy
