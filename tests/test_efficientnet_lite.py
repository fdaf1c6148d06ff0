"""EfficientNet-Lite's padding: what the windows need and no more, the larger half at the end, as TensorFlow has it."""

from __future__ import annotations

import numpy as np
import pytest

from striate import ops
from striate.models.efficientnet_lite import SamePadded

EPS = np.finfo(np.float32).eps
# size, kernel, stride: rows in front and behind, counted on paper
PADDINGS = [(8, 3, 1, 1, 1), (8, 3, 2, 0, 1), (7, 3, 2, 1, 1), (8, 5, 2, 1, 2), (7, 5, 2, 2, 2), (1, 5, 2, 2, 2),
            (8, 1, 2, 0, 0)]


@pytest.mark.parametrize(("size", "kernel", "stride", "before", "after"), PADDINGS)
def test_padding(size, kernel, stride, before, after):
    x = np.random.default_rng(0).standard_normal((1, 2, size, size)).astype(np.float32)
    layer = SamePadded(2, 3, kernel, stride, bias=False).initialize(0)
    padded = np.pad(x, ((0, 0), (0, 0), (before, after), (before, after)))
    y = layer(x)
    wanted = ops.conv2d(padded, layer.weight, stride=stride)
    size_of_sums = ops.conv2d(np.abs(padded), np.abs(layer.weight.array), stride=stride)
    assert (np.abs(y - wanted) <= 2 * 4 * EPS * size_of_sums).all()  # each may err by 4 eps of it
    assert y.shape[2:] == (-(-size // stride),) * 2
