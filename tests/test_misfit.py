"""A network that does not fit its input says where, by which shapes it came there, and what would fit."""

from __future__ import annotations

import numpy as np
import pytest

import striate as st
from striate import nn, ops
from striate.errors import ShapeError


def refusal(net, shape, **options):
    with pytest.raises(ShapeError) as caught:
        net.graph(shape, **options)
    return str(caught.value)


@pytest.mark.parametrize(("shape", "layer", "way"), [
    ((1, 24, 24), "fc1, Linear", "on the way: input 1x24x24, conv1 6x24x24, max_pool2d 6x12x12, conv2 16x8x8, "
                                 "max_pool2d 16x4x4, reshape 256"),
    ((1, 6, 6), "conv2, Conv2d", "on the way: input 1x6x6, conv1 6x6x6, max_pool2d 6x3x3"),
    ((1, 40, 40), "fc1, Linear", "conv2 16x16x16, max_pool2d 16x8x8, reshape 1024"),
])
def test_lenet5_needs_28_pixels(shape, layer, way):
    said = refusal(st.models.build("lenet5"), shape)
    assert f"(in {layer})" in said and way in said
    assert said.endswith("; the smallest square input that fits is 1x28x28")


def test_the_smallest_input_is_the_smallest():
    """VALID convolutions and poolings by hand: 3x3, halved, 3x3, halved, 3x3 need 2 (2 (3) + 2) + 2 = 18 pixels."""
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.MaxPool2d(2), nn.Conv2d(3, 3, 3), nn.MaxPool2d(2), nn.Conv2d(3, 1, 3))
    said = refusal(net, (2, 9, 33))
    assert said.endswith("the smallest square input that fits is 2x18x18")
    assert net(np.zeros((1, 2, 18, 18), np.float32)).shape == (1, 1, 1, 1)
    with pytest.raises(ShapeError, match="2x18x18"):
        net(np.zeros((1, 2, 17, 17), np.float32))


class Skip(nn.Module):
    """Joins the first 6x6 pixels with a convolution's map, whose size is that for 13 or 14 pixels only."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(1, 2, 3, stride=2)

    def forward(self, x):
        return ops.concat([self.down(x), ops.slice(ops.slice(x, 0, 6, 2), 0, 6, 3)])


@pytest.mark.parametrize("size", [5, 9, 12, 15, 20])
def test_branches_that_meet_at_some_sizes_only(size):
    assert refusal(Skip(), (1, size, size)).endswith("the smallest square input that fits is 1x13x13")


def test_other_channels_are_no_matter_of_size():
    said = refusal(st.models.build("lenet5"), (3, 28, 28))
    assert "(in conv1, Conv2d)" in said and said.endswith("; on the way: input 3x28x28")


def test_a_network_of_rows_has_no_smallest_image():
    assert refusal(nn.Linear(4, 2), (3,)).endswith("; on the way: input 3")


def test_a_user_s_function_is_not_tried_on_other_sizes():
    sizes = []

    class Mine(nn.Module):
        def forward(self, x):
            y = ops.callback(lambda a: sizes.append(a.shape) or a, x)
            return ops.conv2d(y, np.ones((1, 1, 5, 5), np.float32))

    assert "smallest" not in refusal(Mine(), (1, 3, 3)) and len(sizes) == 1


def test_a_forward_that_refuses_sizes_by_itself_does_not_hide_the_error():
    class Mine(nn.Module):
        def forward(self, x):
            if x.shape[2] != 3:
                raise KeyError("other sizes")
            return ops.conv2d(x, np.ones((1, 1, 5, 5), np.float32))

    assert "conv2d: " in refusal(Mine(), (1, 3, 3))


def test_long_ways_are_cut():
    net = nn.Sequential(*(nn.Conv2d(1, 1, 2) for _ in range(20)))
    said = refusal(net, (1, 15, 15))
    assert "input 1x15x15, 0 1x14x14, ..., " in said and said.endswith("1x21x21") and said.count("1x") < 12
