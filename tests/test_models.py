"""The networks of the registry: parameters and multiply-accumulates as published, and that each runs and trains."""

from __future__ import annotations

import functools
from collections import Counter

import numpy as np
import pytest

import striate as st
from striate import ops
from striate.engine.step import TrainingStep
from striate.errors import ConfigError, DtypeError, UnknownName
from striate.models import ALIASES, MODELS, build, find, lenet5_1998, name_of
from striate.train import SGD

# Parameters and multiply-accumulates of one image. Sources: [tv] torchvision 0.28's own counts (its models' meta data,
# and its layers counted one by one); [paper] the paper's figure, its table to the unit; [sum] its table, summed here.
PUBLISHED = {
    "lenet5": (61_706, 416_520),  # [sum] with dense C3 and linear classes
    "lenet5_1998": (60_000, 326_520),  # [paper] section II.B; 340,908 connections, below, less their biases
    "alexnet_two_tower": (60_965_224, 724_406_816),  # [paper] 60 million; figure 2
    "alexnet_one_tower": (62_378_344, 1_135_256_096),  # [sum] figure 2 with one group
    "alexnet": (61_100_840, 714_188_480),  # [tv]
    "nin": (966_986, 222_486_528),  # [sum] as the authors' release: 14,592 + 30,880 + 15,456 + 460,992 + ... weights
    "vgg_a": (132_863_336, 7_609_090_048),  # [paper] table 2: 133, 133, 133, 134, 138, 144 million; [tv]
    "vgg_a_bn": (132_868_840, 7_609_090_048),  # [tv]
    "vgg_a_lrn": (132_863_336, 7_609_090_048),  # [paper]
    "vgg_b": (133_047_848, 11_308_466_176),  # [tv]
    "vgg_b_bn": (133_053_736, 11_308_466_176),  # [tv]
    "vgg_c": (133_638_952, 11_770_888_192),  # [paper]
    "vgg_d": (138_357_544, 15_470_264_320),  # [tv]
    "vgg_d_bn": (138_365_992, 15_470_264_320),  # [tv]
    "vgg_e": (143_667_240, 19_632_062_464),  # [tv]
    "vgg_e_bn": (143_678_248, 19_632_062_464),  # [tv]
    "resnet18": (11_689_512, 1_814_073_344),  # [tv]; [paper] table 1: 1.8, 3.6, 3.8, 7.6, 11.3 billion
    "resnet34": (21_797_672, 3_663_761_408),  # [tv]
    "resnet50": (25_557_032, 4_089_184_256),  # [tv]
    "resnet101": (44_549_160, 7_801_405_440),  # [tv]
    "resnet152": (60_192_808, 11_513_626_624),  # [tv]
    "resnet50_paper": (25_557_032, 3_857_973_248),  # [paper] 3.8 billion, with the stride in the 1x1
    "resnet101_paper": (44_549_160, 7_570_194_432),  # [paper] 7.6 billion
    "resnet152_paper": (60_192_808, 11_282_415_616),  # [paper] 11.3 billion
    "plain18": (11_515_688, 1_794_805_760),  # [sum] ResNet-18 less three projections, 172,032 weights and 1,792 norms
    "plain34": (21_623_848, 3_644_493_824),  # [sum] ResNet-34 less the same
    "resnet20_cifar": (269_722, 40_551_040),  # [paper] table 6: 0.27, 0.46, 0.66, 0.85, 1.7 million; option A
    "resnet32_cifar": (464_154, 68_862_592),  # [paper]
    "resnet44_cifar": (658_586, 97_174_144),  # [paper]
    "resnet56_cifar": (853_018, 125_485_696),  # [paper]
    "resnet110_cifar": (1_727_962, 252_887_680),  # [paper]
    "plain20_cifar": (269_722, 40_551_040),  # [paper] section 4.2: exactly as many as the residual ones
    "plain32_cifar": (464_154, 68_862_592),  # [paper]
    "plain44_cifar": (658_586, 97_174_144),  # [paper]
    "plain56_cifar": (853_018, 125_485_696),  # [paper]
    "plain110_cifar": (1_727_962, 252_887_680),  # [paper]
    # what inference uses: GoogLeNet's main branch, Inception-v3 without its head; tests/test_inception.py has the rest
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


def test_every_network_has_a_row():
    assert sorted(PUBLISHED) == sorted(MODELS)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_macs_as_published(name):
    net = build(name)
    found = st.summary(net, find(name).input_shape)
    assert (found.total.parameters, found.total.macs) == PUBLISHED[name]
    assert found.name == name == name_of(net)
    assert all(s.pending for s in net.states().values() if s.initializer)  # nothing was drawn to count


# ---- layer by layer: maps, height, parameters, multiply-accumulates

VGG_LAYERS = {
    "1_1": (64, 224, 1_792, 86_704_128), "1_2": (64, 224, 36_928, 1_849_688_064),
    "2_1": (128, 112, 73_856, 924_844_032), "2_2": (128, 112, 147_584, 1_849_688_064),
    "3_1": (256, 56, 295_168, 924_844_032), "3_2": (256, 56, 590_080, 1_849_688_064),
    "3_1x1": (256, 56, 65_792, 205_520_896), "4_1": (512, 28, 1_180_160, 924_844_032),
    "4_2": (512, 28, 2_359_808, 1_849_688_064), "4_1x1": (512, 28, 262_656, 205_520_896),
    "5": (512, 14, 2_359_808, 462_422_016), "5_1x1": (512, 14, 262_656, 51_380_224),
    "fc6": (4096, 1, 102_764_544, 102_760_448), "fc7": (4096, 1, 16_781_312, 16_777_216),
    "fc8": (1000, 1, 4_097_000, 4_096_000),
}
VGG = {
    "vgg_a": "1_1 2_1 3_1 3_2 4_1 4_2 5 5",
    "vgg_a_lrn": "1_1 2_1 3_1 3_2 4_1 4_2 5 5",
    "vgg_b": "1_1 1_2 2_1 2_2 3_1 3_2 4_1 4_2 5 5",
    "vgg_c": "1_1 1_2 2_1 2_2 3_1 3_2 3_1x1 4_1 4_2 4_1x1 5 5 5_1x1",
    "vgg_d": "1_1 1_2 2_1 2_2 3_1 3_2 3_2 4_1 4_2 4_2 5 5 5",
    "vgg_e": "1_1 1_2 2_1 2_2 3_1 3_2 3_2 3_2 4_1 4_2 4_2 4_2 5 5 5 5",
}
FULLY_CONNECTED = [(4096, 1, 37_752_832, 37_748_736), VGG_LAYERS["fc7"], VGG_LAYERS["fc8"]]
LAYERS = {
    **{name: [VGG_LAYERS[layer] for layer in f"{row} fc6 fc7 fc8".split()] for name, row in VGG.items()},
    "alexnet_two_tower": [
        (96, 55, 34_944, 105_415_200), (256, 27, 307_456, 223_948_800), (384, 13, 885_120, 149_520_384),
        (384, 13, 663_936, 112_140_288), (256, 13, 442_624, 74_760_192), *FULLY_CONNECTED],
    "alexnet_one_tower": [
        (96, 55, 34_944, 105_415_200), (256, 27, 614_656, 447_897_600), (384, 13, 885_120, 149_520_384),
        (384, 13, 1_327_488, 224_280_576), (256, 13, 884_992, 149_520_384), *FULLY_CONNECTED],
    "alexnet": [
        (64, 55, 23_296, 70_276_800), (192, 27, 307_392, 223_948_800), (384, 13, 663_936, 112_140_288),
        (256, 13, 884_992, 149_520_384), (256, 13, 590_080, 99_680_256), *FULLY_CONNECTED],
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_as_published(name):
    rows = st.summary(build(name), find(name).input_shape).rows
    found = [(*(*r.output, 1)[1:3], r.parameters, r.macs) for r in rows if r.macs]
    assert found == LAYERS[name]


def test_connections_of_lenet5_as_published():
    account = st.account(build("lenet5_1998"), (1, 32, 32), convention="connections")
    found = Counter()
    for row in account.rows:
        found[row.layer.split(".")[0]] += row.counted
    wanted = dict(c1=122_304, s2=5_880, c3=151_600, s4=2_000, c5=48_120, f6=10_164, output=840)
    assert +found == wanted and account.total.counted == 340_908  # section II.B


# ---- each runs and trains, on the smallest image that fits and a linear layer of 16 units

SMALLEST = {
    "lenet5": (1, 28, 28), "lenet5_1998": (1, 32, 32), "nin": (3, 16, 16), "alexnet": (3, 63, 63),
    **dict.fromkeys(("alexnet_two_tower", "alexnet_one_tower"), (3, 67, 67)), "inception_v3": (3, 299, 299),
    **dict.fromkeys(("googlenet", "googlenet_torchvision"), (3, 224, 224)),
}
SMALLER = {name: {"units": 16} for name in MODELS if name.startswith(("vgg", "alexnet"))}
# Of a family with one builder some networks stand for all; the heads of the Inceptions need images of full size.
SLOW = {name for name in MODELS if name.startswith(("vgg", "resnet", "plain", "googlenet", "inception", "dense"))} - {
    "vgg_c", "resnet18", "resnet20_cifar", "plain20_cifar"}


def image(shape, n=1, seed=0):
    return np.random.default_rng(seed).standard_normal((n, *shape)).astype(np.float32)


def loss_of_all_heads(outputs, targets):
    heads = outputs if isinstance(outputs, tuple) else (outputs,)
    return functools.reduce(ops.add, [ops.cross_entropy(y, targets) for y in heads])


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in MODELS])
def test_forward_and_backward(numpy_weights, name):
    net = st.create(name, classes=5, **SMALLER.get(name, {}))
    x = image(SMALLEST.get(name, (3, 32, 32)), 2)
    y = net(x)
    assert y.shape == (2, 5) and np.isfinite(y).all() and (y[0] != y[1]).any()
    loss, grads = st.value_and_grad(net, loss_of_all_heads)(x, np.array([1, 4]))
    assert np.isfinite(loss) and grads.keys() == net.parameters().keys()
    assert all(np.isfinite(g).all() for g in grads.values()) and next(iter(grads.values())).any()


@pytest.mark.parametrize("name", MODELS)
def test_other_ends(name):
    graph = build(name, classes=7, in_channels=2).graph((2, *find(name).input_shape[1:]))
    assert graph.outputs["y"].shape == (1, 7)


@pytest.mark.parametrize("name", ["vgg_a_bn", "alexnet_two_tower", "resnet50"])
def test_another_size(name):
    _, height, width = find(name).input_shape
    for size in ((height + 33, width - 31), (448, 448)):
        assert build(name).graph((3, *size)).outputs["y"].shape == (1, 1000)
    at_home = [node.op.name for node in build(name).graph((3, height, width)).nodes]
    assert "adaptive_avg_pool2d" not in at_home and at_home.count("avg_pool2d") == (name == "resnet50")


@pytest.mark.parametrize("name", ["resnet20"])
def test_a_few_steps_learn_a_batch(name):
    net = st.create(name, classes=3)
    step = TrainingStep(net.programs, ops.cross_entropy, SGD(0.05, momentum=0.9))
    x, targets = image(find(name).input_shape, 6), np.arange(6) % 3
    losses = [step(x, targets, lr=0.05, step=i)["loss"] for i in range(1, 9)]
    assert losses[-1] < 0.5 * losses[0]


# ---- options

def operations(name, **options):
    return Counter(node.op.name for node in build(name, **options).graph(find(name).input_shape).nodes)


@pytest.mark.parametrize(("residual", "plain", "blocks"), [("resnet34", "plain34", 16), ("resnet20", "plain20", 9)])
def test_a_plain_twin_differs_by_its_shortcuts_only(residual, plain, blocks):
    assert operations(residual)["add"] == blocks and operations(plain)["add"] == 0
    assert operations(residual, residual=False) == operations(plain)
    without = {path: s.shape for path, s in build(residual, shortcut="A").states().items()}
    assert without == {path: s.shape for path, s in build(plain).states().items()}


def test_where_a_bottleneck_halves_its_maps():
    strides = {form: [m.stride for _, m in build("resnet50", stride_in=form).layer2.modules()
                      if isinstance(m, st.nn.Conv2d)][:3] for form in ("1x1", "3x3")}
    assert strides == {"1x1": [2, 1, 1], "3x3": [1, 2, 1]}


def test_option_a_takes_every_second_pixel_and_adds_zeros():
    block = next(iter(build("resnet20").layer2.children()))[1]
    x = image((16, 6, 6))
    y = block.downsample(x)
    np.testing.assert_array_equal(y[:, :16], x[:, :, ::2, ::2])
    assert y.shape == (1, 32, 3, 3) and not y[:, 16:].any()


def test_paths_are_torchvisions():
    # torchvision 0.28: resnet50 has 320 entries, 53 of them num_batches_tracked
    resnet, vgg, alexnet = (build(name).states() for name in ("resnet50", "vgg16_bn", "alexnet"))
    assert len(resnet) == 267 and {"conv1.weight", "bn1.running_mean", "layer3.5.bn3.bias", "fc.bias",
                                   "layer1.0.downsample.0.weight", "layer4.0.downsample.1.running_var"} <= set(resnet)
    assert {"features.0.weight", "features.1.running_var", "features.40.weight", "classifier.6.bias"} <= set(vgg)
    assert [path for path in alexnet if path.endswith("weight")] == [
        *(f"features.{i}.weight" for i in (0, 3, 6, 8, 10)), *(f"classifier.{i}.weight" for i in (1, 4, 6))]


def windows(x):
    return np.lib.stride_tricks.sliding_window_view(x, (5, 5), axis=(2, 3))


def test_lenet5_of_1998_by_its_equations():
    net = st.create("lenet5_1998", seed=3)
    at = {path: s.array.astype(np.float64) for path, s in net.states().items()}
    x = image((1, 32, 32), 2)

    def f(a):
        return 1.7159 * np.tanh(2 / 3 * a)

    def subsampled(y, name):
        sums = y[:, :, ::2, ::2] + y[:, :, 1::2, ::2] + y[:, :, ::2, 1::2] + y[:, :, 1::2, 1::2]
        return f(at[f"{name}.coefficient"] * sums + at[f"{name}.bias"])

    def convolved(y, w, b):
        return np.einsum("nchwrs,ocrs->nohw", windows(y), w) + b[:, None, None]

    y = subsampled(f(convolved(x, at["c1.weight"], at["c1.bias"])), "s2")
    weights = [w for i in range(3) for w in at[f"c3.parts.{i}.weight"]]
    biases = np.concatenate([at[f"c3.parts.{i}.bias"] for i in range(3)])
    seen = [(0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5), (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5),
            (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5), (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5)]
    parts = zip(seen, weights, biases, strict=True)
    y = np.concatenate([convolved(y[:, maps], w[None], b[None]) for maps, w, b in parts], axis=1)
    y = f(convolved(subsampled(f(y), "s4"), at["c5.weight"], at["c5.bias"]))[:, :, 0, 0]
    y = f(y @ at["f6.weight"].T + at["f6.bias"])
    wanted = -((y[:, None] - at["output.centers"]) ** 2).sum(-1)
    np.testing.assert_allclose(net(x), wanted, rtol=2e-6)  # 84 squares near 1 are summed


def test_the_bitmaps_of_lenet5_are_apart():
    codes = lenet5_1998.bitmaps(14)
    assert codes.shape == (14, 84) and set(codes.ravel()) == {-1.0, 1.0}
    assert all((codes[i] != codes[j]).any() for i in range(14) for j in range(i))
    np.testing.assert_array_equal(codes[:4], lenet5_1998.bitmaps(4))


# ---- the registry

def test_aliases():
    assert find("vgg16") is find("vgg_d") and name_of(build("resnet20")) == "resnet20_cifar"
    assert not ALIASES.keys() & MODELS.keys()


@pytest.mark.parametrize(
    ("name", "options", "error", "sentence"),
    [
        ("restnet50", {}, UnknownName, "did you mean 'resnet50'"),
        ("vgg61", {}, UnknownName, "did you mean 'vgg1"),
        ("resnet50", dict(residua=False), ConfigError, "resnet50: has no option 'residua'; it has residual, shortcut"),
        ("resnet18", dict(stride_in="1x1"), ConfigError, "resnet18: has no option 'stride_in'"),
        ("resnet50", dict(stride_in="2x2"), ConfigError, "stride_in must be '1x1' or '3x3', got '2x2'"),
        ("resnet18", dict(shortcut="C"), ConfigError, "shortcut must be 'A' or 'B', got 'C'"),
        ("resnet18", dict(residual=1), DtypeError, "residual must be True or False, got 1"),
        ("vgg16", dict(batch_norm="yes"), DtypeError, "batch_norm must be True or False, got 'yes'"),
        ("vgg16", dict(units=0), ConfigError, "out_features must be positive, got 0"),
        ("nin", dict(classes=0), ConfigError, "classes must be positive, got 0"),
    ],
)
def test_mistakes(name, options, error, sentence):
    with pytest.raises(error, match=sentence):
        st.create(name, **options)


def test_a_name_is_taken_once():
    with pytest.raises(ConfigError, match="there is a network named 'vgg16' already"):
        st.models.register("mine", st.nn.Linear, (4,), 2, "nobody", 2026, aliases=("vgg16",))
    with pytest.raises(ConfigError, match="'mine' needs a builder, a function or class, got 5"):
        st.models.register("mine", 5, (4,), 2, "nobody", 2026)
    assert not st.models.known("mine")
