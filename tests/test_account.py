"""What a network costs: figures from papers' own arithmetic, receptive fields by hand, tables that fit a terminal."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

import nets
import striate as st
from striate import nn, ops
from striate.errors import ConfigError, ShapeError, UnknownName

# LeNet-5 by hand: (layer, parameters, multiply-accumulates for one image, other operations: one bias an output)
LENET5 = [
    ("conv1", 6 * 25 + 6, 28 * 28 * 6 * 25, 28 * 28 * 6),
    ("conv2", 16 * 6 * 25 + 16, 10 * 10 * 16 * 6 * 25, 10 * 10 * 16),
    ("fc1", 400 * 120 + 120, 400 * 120, 120),
    ("fc2", 120 * 84 + 84, 120 * 84, 84),
    ("fc3", 84 * 10 + 10, 84 * 10, 10),
]


def of(name, **options):
    """The account of a network of the registry, its weights zero."""
    return st.account(st.models.build(name), st.models.find(name).input_shape, **options)


def test_lenet5_as_counted_by_hand():
    found = of("lenet5")
    assert [(r.layer, r.parameters, r.macs, r.other) for r in found.rows if r.parameters] == LENET5
    assert (found.total.parameters, found.total.macs, found.total.flops) == (61_706, 416_520, 833_040)
    assert found.rows[0].activation_bytes == 6 * 28 * 28 * 4
    assert found.total.activation_bytes == sum(r.activation_bytes for r in found.rows)


def test_bytes_moved_by_hand():
    """conv1 reads an image, 150 weights and 6 biases, and writes 6 maps; flatten moves nothing."""
    rows = {r.layer: r for r in of("lenet5").rows}
    assert rows["conv1"].bytes_moved == 4 * (28 * 28 + 156 + 6 * 28 * 28)
    assert rows["conv1"].intensity == (2 * 117_600 + 4_704) / rows["conv1"].bytes_moved
    assert rows["relu"].bytes_moved == 2 * 4 * 6 * 28 * 28
    assert (rows["reshape"].bytes_moved, rows["reshape"].intensity) == (0, None)


def test_a_batch_multiplies_work_and_activations_not_parameters():
    one, many = (of("lenet5", batch=n) for n in (1, 7))
    assert many.total.parameters == one.total.parameters
    assert (many.total.macs, many.total.activation_bytes) == (7 * one.total.macs, 7 * one.total.activation_bytes)
    assert many.input == (7, 1, 28, 28)


def test_a_shared_layer_counts_its_parameters_once_and_its_work_twice():
    found = st.account(nets.Shared(), (2, 5, 5))
    convs = [r for r in found.rows if r.op == "conv2d"]
    assert [r.parameters for r in convs] == [2 * 2 * 9 + 2, 0]
    assert convs[0].macs == convs[1].macs > 0


def test_statistics_are_no_parameters_and_nothing_is_fused():
    found = st.account(nets.Tiny(), (3, 8, 8))
    assert [r.parameters for r in found.rows if r.layer == "norm"] == [12]
    assert found.total.parameters == found.total.all_parameters == 6 * 27 + 12 + 6 * 6 * 9 + 6 + 96 * 5 + 5
    assert {"relu", "tanh", "add"} <= {r.op for r in found.rows}


class Auxiliary(nn.Module):
    def __init__(self):
        super().__init__()
        self.main, self.aux = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x):
        return (self.main(x), self.aux(x)) if x.graph.training else self.main(x)


def test_heads_that_only_training_uses_are_counted_apart():
    total = st.account(Auxiliary(), (3,)).total
    assert (total.parameters, total.all_parameters) == (8, 16)
    assert "16 parameters in all: some are used in training only, or never" in str(st.account(Auxiliary(), (3,)))


# ---- receptive fields

def sight(net, shape):
    rows = st.account(net, shape).rows
    return [(r.receptive_field, r.effective_stride, r.effective_padding) for r in rows]


def test_vgg16_sees_212_pixels():
    """The published receptive fields of VGG-16: 196 at conv5_3, 212 at pool5 (Araujo et al. 2019, table 1)."""
    rows = [r for r in of("vgg_d").rows if r.op in ("conv2d", "max_pool2d")]
    assert [r.receptive_field[0] for r in rows] == [3, 5, 6, 10, 14, 16, 24, 32, 40, 44, 60, 76, 92, 100, 132, 164, 196,
                                                    212]
    assert (rows[-1].effective_stride, rows[-1].effective_padding) == ((32, 32), (90, 90))


def test_resnet50_sees_427_pixels():
    """483 where the first 1x1 of a stage halves the maps (Araujo et al. 2019, table 1); here the 3x3 does: 56 fewer."""
    last = [r for r in of("resnet50").rows if r.op == "relu"][-1]
    assert (last.receptive_field, last.effective_stride) == ((427, 427), (32, 32))


def test_where_branches_meet_the_larger_field_counts():
    class Inception(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.three = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, (3, 5), padding=(1, 3), dilation=2)

        def forward(self, x):
            return ops.concat([self.one(x), ops.pad(self.three(x), 1)])

    assert sight(Inception(), (2, 9, 9)) == [
        ((1, 1), (1, 1), (0, 0)), ((5, 9), (1, 1), (1, 3)), ((5, 9), (1, 1), (2, 4)), ((5, 9), (1, 1), (2, 4))]


def test_a_slice_begins_inside_and_flatten_sees_everything():
    class Slice(nn.Module):
        def forward(self, x):
            return ops.flatten(ops.slice(ops.max_pool2d(x, 3, stride=2), 1, 3, 2))

    assert sight(Slice(), (1, 9, 7)) == [
        ((3, 3), (2, 2), (0, 0)), ((3, 3), (2, 2), (-2, 0)), ((5, 7), (2, 2), (-2, 0))]


def test_what_a_callback_sees_is_not_known():
    class Mine(nn.Module):
        def forward(self, x):
            return ops.relu(ops.callback(np.sort, x, shape=(1, 4, 4), cost=(0, 16)))

    assert sight(Mine(), (1, 4, 4)) == [(None, None, None)] * 2


@pytest.mark.parametrize(("output", "size", "stride"), [(1, (9, 7), (9, 7)), (3, (3, 3), (3, 2)), (2, (5, 4), (4, 3))])
def test_adaptive_pooling_sees_its_largest_window(output, size, stride):
    """Windows of 7 pixels in 3 parts: 0-2, 2-4, 4-6, three pixels each; of 9 in 2: 0-4, 4-8 (PyTorch's formula)."""
    (found,) = sight(nn.AdaptiveAvgPool2d(output), (1, 9, 7))
    assert found == (size, stride, (0, 0))


def test_gates_of_one_pixel_join_maps():
    class Gate(nn.Module):
        def forward(self, x):
            return ops.mul(ops.sigmoid(ops.global_avg_pool2d(x)), x)

    assert sight(Gate(), (2, 6, 5))[-1] == ((6, 5), (6, 5), (0, 0))


# ---- shares, conventions by hand

def test_memory_sits_in_convolutions_and_parameters_in_linear_layers():
    """The lecture's two findings, for VGG-16: 123,642,856 of 138,357,544 parameters are of fully connected layers."""
    shares = of("vgg_d").shares
    assert shares["fully connected"]["parameters"] == pytest.approx(123_642_856 / 138_357_544)
    assert shares["convolutions"]["activation_bytes"] > 0.9 and shares["convolutions"]["macs"] > 0.99
    for column in ("parameters", "macs", "activation_bytes"):
        assert sum(part[column] for part in shares.values()) == pytest.approx(1)


# ---- its forms

def test_a_saved_network_knows_its_input(tmp_path):
    st.save(st.create("lenet5"), tmp_path / "net.safetensors", (1, 28, 28))
    assert st.account(st.load(tmp_path / "net.safetensors")).total.macs == 416_520


class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self.features_of_the_first_stage_of_all = nn.Sequential(nn.Sequential(nn.Sequential(nn.Linear(3, 4))))
        self.a_classifier_with_a_rather_long_name = nn.Linear(4, 2)

    def forward(self, x):
        x = ops.relu(self.features_of_the_first_stage_of_all(x))
        return self.a_classifier_with_a_rather_long_name(x)


@pytest.mark.parametrize(("net", "shape", "batch"), [
    ("lenet5", (1, 28, 28), 1), (Deep(), (3,), 1), ("vgg_d", (3, 224, 224), 128),
    ("inception_v3", (3, 299, 299), 128)])
@pytest.mark.parametrize("convention", ["striate", "torchinfo"])
def test_the_tables_fit_80_columns(net, shape, batch, convention):
    found = st.account(st.models.build(net) if isinstance(net, str) else net, shape, batch, convention=convention)
    text = str(found)
    assert max(map(len, text.splitlines())) <= 80
    assert "MACs" in text and "total" in text and f"{found.total.macs:,} MACs" in text


def test_csv_and_markdown_hold_the_numbers_in_full():
    found = of("lenet5", batch=128)
    rows = list(csv.DictReader(io.StringIO(found.csv())))
    assert [int(r["macs"]) for r in rows] == [*(r.macs for r in found.rows), found.total.macs]
    assert (rows[0]["output"], rows[0]["receptive_field"], rows[-1]["layer"]) == ("128x6x28x28", "5x5", "total")
    assert f"| total |  |  | 61,706 | {128 * 416_520:,} |" in found.markdown()


def test_as_dict_is_plain():
    found = of("lenet5", convention="thop").as_dict()
    assert list(found) == ["name", "input", "convention", "rows", "total", "shares"]
    assert found["convention"]["unit"] == "MACs" and found["rows"][0]["receptive_field"] == (5, 5)


@pytest.mark.parametrize(
    ("error", "match", "arguments"),
    [
        (ConfigError, "net|Module", ("lenet5", (1, 28, 28))),
        (ConfigError, "input_shape must be one image", (nets.Tiny(), (1, 1, 28, 28))),
        (ConfigError, "input_shape must be one image", (nets.Tiny(), None)),
        (ConfigError, "input_shape must be positive", (nets.Tiny(), (1, 0, 28))),
        (ConfigError, "batch must be positive", (nets.Tiny(), (3, 8, 8), 0)),
        (ShapeError, "stem", (nets.Tiny(), (1, 8, 8))),
    ],
)
def test_mistakes(error, match, arguments):
    with pytest.raises(error, match=match):
        st.account(*arguments)


def test_an_unknown_convention_offers_the_nearest():
    with pytest.raises(UnknownName, match="no convention named 'topr'; did you mean 'thop'"):
        st.account(nets.Tiny(), (3, 8, 8), convention="topr")


def test_the_room_is_the_function():
    assert st.account(nets.Tiny(), (3, 8, 8)) == st.account.account(nets.Tiny(), (3, 8, 8)) == st.summary(
        nets.Tiny(), (3, 8, 8))


# ---- unknown costs

class Sorted(nn.Module):
    def __init__(self, cost=None):
        super().__init__()
        self.cost = cost

    def forward(self, x):
        return ops.callback(np.sort, x, shape=x.shape[1:], name="sorted", cost=self.cost)


def test_an_unknown_cost_is_an_error_that_says_how_to_state_it():
    match = r"sorted: its cost is not known; state it for one image: cost=\(macs, other\)"
    with pytest.raises(ConfigError, match=match):
        st.account(Sorted(), (2, 4, 4))
    assert Sorted()(np.ones((1, 2, 4, 4), np.float32)).shape == (1, 2, 4, 4)  # it runs all the same


def test_a_stated_cost_is_counted_for_every_image():
    total = st.account(Sorted((3, 64)), (2, 4, 4), batch=5).total
    assert (total.macs, total.other) == (15, 320)


def test_a_pooling_of_mine_costs_one_operation_an_element_of_a_window():
    total = st.account(nn.Pool2d(2, lambda windows: windows.max(-1)), (3, 8, 6)).total
    assert (total.macs, total.other) == (0, 3 * 8 * 6)


@pytest.mark.parametrize("cost", [(1,), 3, (-1, 0), ("a", 1)])
def test_a_cost_is_two_counts(cost):
    with pytest.raises((ConfigError, TypeError), match="sorted: cost"):
        st.account(Sorted(cost), (2, 4, 4))
