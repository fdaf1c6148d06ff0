"""Other people's counts, as they were published: each convention gives the figure its tool or paper printed."""

from __future__ import annotations

import functools

import pytest

import striate as st
from striate.account import CONVENTIONS

# (convention, network, GMACs as published, digits behind the point): README of thop (2019), README of ptflops, meta
# data of torchvision's weights, timm's tables (fvcore counts them), ResNet's table 1, README of convnet-burden.
PUBLISHED = [
    ("torchvision", "alexnet", 0.714, 3), ("torchvision", "vgg_d", 15.470, 3), ("torchvision", "resnet18", 1.814, 3),
    ("torchvision", "resnet50", 4.089, 3), ("torchvision", "resnet152", 11.514, 3), ("torchvision", "vgg_a", 7.609, 3),
    ("torchvision", "densenet121", 2.834, 3), ("torchvision", "mobilenet_v2", 0.301, 3),
    ("torchvision", "googlenet_torchvision", 1.498, 3), ("torchvision", "inception_v3", 5.713, 3),
    ("torchvision", "squeezenet1_0", 0.819, 3), ("torchvision", "squeezenet1_1", 0.349, 3),
    ("torchvision", "shufflenet_v2_x1_0", 0.145, 3),
    ("thop", "alexnet", 0.77, 2), ("thop", "vgg_a", 7.74, 2), ("thop", "vgg_d", 15.61, 2), ("thop", "vgg_e", 19.77, 2),
    ("thop", "resnet18", 1.82, 2), ("thop", "resnet34", 3.68, 2), ("thop", "resnet50", 4.14, 2),
    ("thop", "resnet101", 7.87, 2), ("thop", "resnet152", 11.61, 2), ("thop", "densenet121", 2.90, 2),
    ("thop", "mobilenet_v2", 0.33, 2), ("thop", "squeezenet1_0", 0.82, 2),
    ("thop", "squeezenet1_1", 0.35, 2), ("thop", "shufflenet_v2_x1_0", 0.15, 2),
    ("ptflops", "alexnet", 0.72, 2), ("ptflops", "vgg_d", 15.52, 2), ("ptflops", "resnet18", 1.83, 2),
    ("ptflops", "resnet50", 4.13, 2), ("ptflops", "densenet121", 2.90, 2), ("ptflops", "mobilenet_v2", 0.32, 2),
    ("ptflops", "squeezenet1_0", 0.84, 2), ("ptflops", "shufflenet_v2_x1_0", 0.15, 2),
    ("ptflops_aten", "alexnet", 0.71, 2), ("ptflops_aten", "vgg_d", 15.48, 2), ("ptflops_aten", "resnet18", 1.81, 2),
    ("ptflops_aten", "resnet50", 4.09, 2), ("ptflops_aten", "inception_v3", 5.71, 2),
    ("ptflops_aten", "squeezenet1_0", 0.82, 2),
    ("fvcore", "vgg_d", 15.47, 2), ("fvcore", "resnet18", 1.82, 2), ("fvcore", "resnet50", 4.11, 2),
    ("fvcore", "densenet121", 2.87, 2), ("fvcore", "mobilenet_v2", 0.31, 2),
    ("paper", "resnet18", 1.8, 1), ("paper", "resnet101_paper", 7.6, 1), ("paper", "resnet152_paper", 11.3, 1),
    ("convnet_burden", "squeezenet1_0", 0.837, 3), ("convnet_burden", "squeezenet1_1", 0.360, 3),
]


built = functools.cache(st.models.build)


@pytest.mark.parametrize(("convention", "name", "published", "digits"), PUBLISHED)
def test_as_published(convention, name, published, digits):
    found = st.account(built(name), st.models.find(name).input_shape, convention=convention)
    assert round(found.total.counted / 1e9, digits) == published, found.total.counted


# Torchvision's GoogLeNet and Inception-v3 call relu, and Inception-v3 its poolings, as functions and not as layers. A
# graph does not know: thop, which sees layers only, leaves those poolings out, and ptflops sees those relus once.
@pytest.mark.parametrize(("convention", "name", "op", "share", "published"), [
    ("thop", "inception_v3", "avg_pool2d", 1, 5.75), ("ptflops", "googlenet_torchvision", "relu", 0.5, 1.51),
    ("ptflops", "inception_v3", "relu", 0.5, 5.75)])
def test_what_is_called_as_a_function_is_seen_less(convention, name, op, share, published):
    found = st.account(built(name), st.models.find(name).input_shape, convention=convention)
    maps = [r for r in found.rows if r.op == op and r.output[2:] != (1, 1)]
    assert round((found.total.counted - share * sum(r.counted for r in maps)) / 1e9, 2) == published


def test_convnet_burden_of_alexnet():
    """727 MFLOPs of the two-tower AlexNet: MatConvNet's, which has batch norm, merged away, in the place of LRN."""
    found = st.account(st.models.build("alexnet_two_tower"), (3, 227, 227), convention="convnet_burden")
    norms = [r.counted for r in found.rows if r.op == "local_response_norm"]
    assert len(norms) == 2 and round((found.total.counted - sum(norms)) / 1e6) == 727


@pytest.mark.parametrize(("name", "g_ops"), [
    ("alexnet", 2), ("googlenet", 3), ("resnet18", 3), ("resnet34", 7), ("resnet50_paper", 7), ("resnet101_paper", 15),
    ("resnet152_paper", 23), ("vgg_d", 30), ("vgg_e", 39)])
def test_canziani_to_the_figures_accuracy(name, g_ops):
    found = st.account(built(name), st.models.find(name).input_shape, convention="canziani")
    assert found.total.counted == 2 * found.total.macs and abs(found.total.counted / 1e9 - g_ops) <= 1


def test_torchinfo_by_hand():
    """A convolution: (weights + biases) x pixels; a norm: its weights once; all once an image."""
    net = st.nn.Sequential(st.nn.Conv2d(3, 4, 3), st.nn.BatchNorm2d(4), st.nn.ReLU(), st.nn.Flatten(),
                           st.nn.Linear(36, 5))
    found = st.account(net, (3, 5, 5), batch=2, convention="torchinfo")
    assert [r.counted for r in found.rows] == [2 * 9 * (108 + 4), 2 * 8, 0, 0, 2 * (180 + 5)]


def test_thop_of_2022_by_hand():
    net = st.nn.Sequential(st.nn.Conv2d(3, 4, 3), st.nn.BatchNorm2d(4), st.nn.GlobalAvgPool2d(), st.nn.Flatten(),
                           st.nn.Linear(4, 5), st.nn.Softmax())
    found = st.account(net, (3, 5, 5), batch=2, convention="thop_2022")
    assert [r.counted for r in found.rows] == [2 * 9 * 108, 4 * 2 * 36, 2 * 4 * 10, 0, 2 * 20, 2 * 14]


def test_every_convention_says_what_it_counts():
    for name, convention in CONVENTIONS.items():
        assert convention.name == name and convention.unit and convention.why and convention.head
