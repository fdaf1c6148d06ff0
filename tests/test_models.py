"""The networks of the registry: parameters and multiply-accumulates as published, and that each runs and trains."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import striate as st
from striate import ops
from striate.engine.step import TrainingStep
from striate.errors import UnknownName
from striate.kernels import random
from striate.models import MODELS, find, name_of
from striate.train import SGD

# parameters, multiply-accumulates of one image. torchvision 0.28's own counts (its models' meta data, and its layers
# counted one by one); ResNet-20: He et al. 2015, table 6, 0.27M, to the unit for shortcuts of option A.
PUBLISHED = {
    "lenet5": (61_706, 416_520),
    "alexnet": (61_100_840, 714_188_480),
    "vgg_d": (138_357_544, 15_470_264_320),
    "resnet50": (25_557_032, 4_089_184_256),
    "resnet20_cifar": (269_722, 40_551_040),
    # what inference uses: GoogLeNet's main branch, Inception-v3 without its head; tests/test_inception.py has the others
    "googlenet": (6_998_552, 1_582_671_872),
    "googlenet_torchvision": (6_624_904, 1_498_376_192),
    "inception_v3": (23_834_568, 5_713_216_096),
    "squeezenet1_0": (1_248_424, 818_924_576),
    "squeezenet1_1": (1_235_496, 349_151_936),
    "mobilenet_v2": (3_504_872, 300_774_272),
    "densenet121": (7_978_856, 2_834_161_664),
    "shufflenet_v2_x1_0": (2_278_604, 144_907_992),
    "efficientnet_lite0": (4_652_008, 385_187_552),
}


@pytest.fixture(scope="module")
def network():
    """A function name -> network, each built once, with weights drawn by NumPy: ten times as fast for VGG-16's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random, "normal", lambda seed, key, n: np.random.default_rng(key).standard_normal(n, np.float32))
        yield functools.cache(st.create)


def image(name, n=1, seed=0):
    return np.random.default_rng(seed).standard_normal((n, *find(name).input_shape)).astype(np.float32)


def test_every_network_has_a_row():
    assert sorted(PUBLISHED) == sorted(MODELS)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_macs_as_published(network, name):
    found = st.summary(network(name), find(name).input_shape)
    assert (found.total.parameters, found.total.macs) == PUBLISHED[name]
    assert found.name == name == name_of(network(name))


@pytest.mark.parametrize("name", PUBLISHED)
def test_logits_of_an_image(network, name):
    y = network(name)(image(name))
    assert y.shape == (1, find(name).classes)
    assert np.isfinite(y).all() and y.std() > 1e-3


@pytest.mark.parametrize("name", ["resnet20"])
def test_a_few_steps_learn_a_batch(name):
    net = st.create(name, classes=3)
    step = TrainingStep(net.programs, ops.cross_entropy, SGD(0.05, momentum=0.9))
    x, targets = image(name, 6), np.arange(6) % 3
    losses = [step(x, targets, lr=0.05, step=i)["loss"] for i in range(1, 9)]
    assert losses[-1] < 0.5 * losses[0]


def test_other_ends():
    net = st.create("resnet50", classes=7, in_channels=1)
    assert net(np.zeros((2, 1, 32, 48), np.float32)).shape == (2, 7)


def test_halving_takes_every_second_pixel_and_adds_zeros():
    block = st.models.build("resnet20").layer2.children().__next__()[1]
    x = image("resnet20")[:, :1, :6, :6].repeat(16, axis=1)

    class Shortcut(st.Module):
        def forward(self, x):
            return block.downsample(x)

    y = Shortcut()(x)
    np.testing.assert_array_equal(y[:, :16], x[:, :, ::2, ::2])
    assert y.shape == (1, 32, 3, 3) and not y[:, 16:].any()


def test_unknown():
    with pytest.raises(UnknownName, match="did you mean 'resnet50'"):
        st.create("restnet50")
