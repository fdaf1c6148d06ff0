"""GoogLeNet row by row of its table, auxiliary heads and what they weigh, and Inception blocks by themselves."""

from __future__ import annotations

import numpy as np
import pytest

import striate as st
from striate import ops
from striate.engine.step import TrainingStep
from striate.models import googlenet, inception, inception_v3
from striate.train import SGD

# A row: the layers, (C, H, W) behind them, parameters, multiply-accumulates of one 224x224 image. The shapes are those
# of table 1, the weights and products counted from its channels by hand, as its own columns have slips.
TABLE1 = {
    "conv1": ("conv1", (64, 112, 112), 9_472, 118_013_952),
    "conv2": ("conv2 conv3", (192, 56, 56), 114_944, 359_661_568),
    "3a": ("inception3a", (256, 28, 28), 163_696, 128_049_152),
    "3b": ("inception3b", (480, 28, 28), 388_736, 304_267_264),
    "4a": ("inception4a", (512, 14, 14), 376_176, 73_608_192),
    "4b": ("inception4b", (512, 14, 14), 449_160, 87_908_352),
    "4c": ("inception4c", (512, 14, 14), 510_104, 99_850_240),
    "4d": ("inception4d", (528, 14, 14), 605_376, 118_515_712),
    "4e": ("inception4e", (832, 14, 14), 868_352, 169_996_288),
    "5a": ("inception5a", (832, 7, 7), 1_043_456, 51_079_168),
    "5b": ("inception5b", (1024, 7, 7), 1_444_080, 70_697_984),
    "linear": ("fc", (1000,), 1_025_000, 1_024_000),
}
# All parameters, those of the heads included: torchvision's are its checkpoint's; the paper's by hand.
WITH_HEADS = {
    "googlenet": 6_998_552 + sum(c * 128 + 128 + (2048 + 1) * 1024 + (1024 + 1) * 1000 for c in (512, 528)),
    "googlenet_torchvision": 13_004_888,
    "inception_v3": 27_161_264,
}
HEADS = [("googlenet", 2), ("googlenet_torchvision", 2), ("inception_v3", 1)]


@pytest.fixture(scope="module")
def rows():
    return st.summary(st.models.build("googlenet"), (3, 224, 224)).rows


@pytest.mark.parametrize("row", TABLE1)
def test_rows_of_table_1(rows, row):
    layers, shape, parameters, macs = TABLE1[row]
    found = [r for r in rows if r.layer.split(".")[0] in layers.split()]
    assert sum(r.parameters for r in found) == parameters
    assert sum(r.macs for r in found) == macs
    assert found[-1].output == (1, *shape)


@pytest.mark.parametrize("name", WITH_HEADS)
def test_parameters_with_heads(name):
    assert sum(np.prod(s.shape, dtype=int) for s in st.models.build(name).parameters().values()) == WITH_HEADS[name]


@pytest.mark.parametrize(("name", "heads"), HEADS)
def test_heads_are_there_in_training_only(name, heads):
    image = st.models.find(name).input_shape
    net = st.models.build(name, classes=7)
    assert [v.shape for v in net.graph(image, training=True, batch=2).outputs.values()] == [(2, 7)] * (heads + 1)
    assert [v.shape for v in net.graph(image).outputs.values()] == [(1, 7)]
    bare = st.models.build(name, classes=7, heads=False)
    assert len(bare.graph(image, training=True, batch=2).outputs) == 1
    assert not [path for path in bare.parameters() if path.lower().startswith("aux")]


@pytest.mark.parametrize(("loss", "weight", "heads"), [(googlenet.loss, 0.3, 2), (inception_v3.loss, 0.4, 1)])
def test_heads_weigh_less(loss, weight, heads):
    rng = np.random.default_rng(0)
    outputs = tuple(rng.standard_normal((heads + 1, 5, 3)).astype(np.float32))
    targets = np.array([0, 2, 1, 1, 0])
    each = [-np.log((np.exp(y.astype(float)) / np.exp(y.astype(float)).sum(1, keepdims=True))[range(5), targets]).mean()
            for y in outputs]
    allowed = 16 * np.finfo(np.float32).eps * (1 + 2 * np.abs(outputs).max())  # of one cross-entropy
    assert abs(loss(outputs, targets) - each[0] - weight * sum(each[1:])) <= (1 + heads) * allowed
    assert abs(loss(outputs[0], targets) - each[0]) <= allowed


@pytest.mark.parametrize("name", ["googlenet", pytest.param("googlenet_torchvision", marks=pytest.mark.slow)])
def test_training_lowers_the_weighted_loss(numpy_weights, name):
    net = st.create(name, classes=2, in_channels=1)
    step = TrainingStep(net.programs, net.loss, SGD(0.01, momentum=0.9))
    rng = np.random.default_rng(0)
    targets = np.arange(4) % 2
    x = (rng.standard_normal((4, 1, 48, 48)) + 2 * targets[:, None, None, None]).astype(np.float32)
    losses = [step(x, targets, lr=0.01, step=i)["loss"] for i in range(1, 11)]
    assert min(losses[-3:]) < 0.5 * losses[0]


class TwoHeaded(st.Module):
    def __init__(self):
        super().__init__()
        self.main, self.aux = st.nn.Linear(4, 2), st.nn.Linear(4, 2)

    def forward(self, x):
        x = ops.flatten(x)
        return (self.main(x), self.aux(x)) if x.graph.training else self.main(x)

    @staticmethod
    def loss(outputs, targets):
        return inception.weighted_loss(outputs, targets, 0.5)


def test_fit_takes_the_loss_of_the_network():
    net = TwoHeaded().initialize(0)
    before = net.aux.weight.array.copy()
    images, labels = np.random.default_rng(0).integers(0, 256, (8, 1, 2, 2), np.uint8), np.arange(8) % 2
    result = st.fit(net, (images, labels), (images, labels), epochs=1, batch_size=4, progress=False)
    assert result.test_accuracy is not None and np.abs(net.aux.weight.array - before).max() > 0


def test_blocks_by_themselves():
    x = np.zeros((2, 192, 28, 28), np.float32)
    assert inception.Inception(192, 64, 96, 128, 16, 32, 32)(x).shape == (2, 256, 28, 28)
    for table, c, shape in [(inception.block_a(32), 192, (256, 17, 17)), (inception.BLOCK_B, 288, (768, 8, 8)),
                            (inception.block_c(128), 768, (768, 17, 17)), (inception.BLOCK_D, 768, (1280, 8, 8)),
                            (inception.BLOCK_E, 1280, (2048, 17, 17))]:
        (y,) = inception.Mixed(c, table).graph((c, 17, 17)).outputs.values()
        assert y.shape == (1, *shape)


def test_branches_share_what_they_begin_with():
    nodes = inception.Mixed(1280, inception.BLOCK_E).graph((1280, 8, 8)).nodes
    assert sum(n.op is ops.conv.conv2d_op for n in nodes) == 9
