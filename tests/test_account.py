"""What a network costs: figures from the paper's own arithmetic, and a table that fits a terminal."""

from __future__ import annotations

import numpy as np
import pytest

import nets
import striate as st
from striate import nn, ops
from striate.errors import ConfigError, ShapeError

# LeNet-5 by hand: (layer, parameters, multiply-accumulates for one image)
LENET5 = [
    ("conv1", 6 * 25 + 6, 28 * 28 * 6 * 25),
    ("conv2", 16 * 6 * 25 + 16, 10 * 10 * 16 * 6 * 25),
    ("fc1", 400 * 120 + 120, 400 * 120),
    ("fc2", 120 * 84 + 84, 120 * 84),
    ("fc3", 84 * 10 + 10, 84 * 10),
]


def test_lenet5_as_counted_by_hand():
    found = st.summary(st.create("lenet5"), (1, 28, 28))
    assert [(r.layer, r.parameters, r.macs) for r in found.rows if r.parameters] == LENET5
    assert (found.total.parameters, found.total.macs, found.total.flops) == (61_706, 416_520, 833_040)
    assert found.rows[0].activation_bytes == 6 * 28 * 28 * 4
    assert found.total.activation_bytes == sum(r.activation_bytes for r in found.rows)


def test_a_batch_multiplies_work_and_activations_not_parameters():
    one, many = (st.summary(st.create("lenet5"), (1, 28, 28), batch=n) for n in (1, 7))
    assert many.total.parameters == one.total.parameters
    assert (many.total.macs, many.total.activation_bytes) == (7 * one.total.macs, 7 * one.total.activation_bytes)
    assert many.input == (7, 1, 28, 28)


def test_a_shared_layer_counts_its_parameters_once_and_its_work_twice():
    found = st.summary(nets.Shared(), (2, 5, 5))
    convs = [r for r in found.rows if r.op == "conv2d"]
    assert [r.parameters for r in convs] == [2 * 2 * 9 + 2, 0]
    assert convs[0].macs == convs[1].macs > 0


def test_statistics_are_no_parameters_and_nothing_is_fused():
    found = st.summary(nets.Tiny(), (3, 8, 8))
    assert [r.parameters for r in found.rows if r.layer == "norm"] == [12]
    assert found.total.parameters == sum(s.array.size for s in nets.Tiny().parameters().values())
    assert {"relu", "tanh", "add"} <= {r.op for r in found.rows}


def test_a_saved_network_knows_its_input(tmp_path):
    st.save(st.create("lenet5"), tmp_path / "net.safetensors", (1, 28, 28))
    assert st.summary(st.load(tmp_path / "net.safetensors")).total.macs == 416_520


class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self.features_of_the_first_stage_of_all = nn.Sequential(nn.Sequential(nn.Sequential(nn.Linear(3, 4))))
        self.a_classifier_with_a_rather_long_name = nn.Linear(4, 2)

    def forward(self, x):
        x = ops.relu(self.features_of_the_first_stage_of_all(x))
        return self.a_classifier_with_a_rather_long_name(x)


@pytest.mark.parametrize(("net", "shape"), [(st.create("lenet5"), (1, 28, 28)), (Deep(), (3,))])
def test_the_table_fits_80_columns(net, shape):
    text = str(st.summary(net, shape))
    assert max(map(len, text.splitlines())) <= 80
    assert "MACs" in text and "total" in text


@pytest.mark.parametrize(
    ("error", "match", "arguments"),
    [
        (ConfigError, "net|Module", ("lenet5", (1, 28, 28))),
        (ConfigError, "input_shape must be one image", (st.create("lenet5"), (1, 1, 28, 28))),
        (ConfigError, "input_shape must be one image", (st.create("lenet5"), None)),
        (ConfigError, "input_shape must be positive", (st.create("lenet5"), (1, 0, 28))),
        (ConfigError, "batch must be positive", (st.create("lenet5"), (1, 28, 28), 0)),
        (ShapeError, "conv1", (st.create("lenet5"), (3, 28, 28))),
    ],
)
def test_mistakes(error, match, arguments):
    with pytest.raises(error, match=match):
        st.summary(*arguments)


def test_parameters_are_what_the_states_hold():
    net = st.create("lenet5")
    assert st.summary(net, (1, 28, 28)).total.parameters == sum(np.size(s.array) for s in net.parameters().values())
