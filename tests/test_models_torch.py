"""Networks of the zoo beside the same ones written with PyTorch's layers: same names, same weights, same logits.

The tolerance is what a convolution's own (tests/tolerance.py) makes of the logits: in float64 every element of every
layer's output is moved up or down, by chance, by 16 eps of the sum of |x| |w| behind it.
"""

from __future__ import annotations

import importlib
import importlib.util

import numpy as np
import pytest

import striate as st

pytestmark = [pytest.mark.torch,
              pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs pip install '.[test-torch]'")]

EPS = np.finfo(np.float32).eps
NAMES = ("vgg_d", "googlenet", "googlenet_torchvision", "inception_v3", "resnet50", "mobilenet_v2",
         "efficientnet_lite0", "squeezenet1_0", "squeezenet1_1", "densenet121", "shufflenet_v2_x1_0")


def draw(torch, net, rng):
    """Weights that keep the size of the maps, statistics that are not those of a fresh net; as float32 numbers."""
    for path, t in net.state_dict().items():
        leaf = path.rsplit(".", 1)[-1]
        if leaf == "num_batches_tracked":
            continue
        if t.ndim > 1:
            w = rng.standard_normal(t.shape, np.float32) * np.float32(np.sqrt(2 / t[0].numel()))
        elif leaf in ("weight", "running_var"):
            w = rng.uniform(0.5, 1.5, t.shape)
        else:
            w = 0.1 * rng.standard_normal(t.shape)
        t.copy_(torch.from_numpy(np.asarray(w, np.float32)))


def arrays(net):
    """The states of a network here by path."""
    return {path.removeprefix("body."): t.numpy() for path, t in net.state_dict().items() if "num_batches" not in path}


def err(torch, net, rng):
    """From now on the output of every layer of `net` is off by what its sums may err."""
    nn = torch.nn

    def sizes(layer, x):
        if isinstance(layer, nn.BatchNorm2d):  # (|x| + |mean|) |weight| / sqrt(var + eps) + |bias|
            x, scale = x.abs() + layer.running_mean.abs()[:, None, None], layer.weight.abs()
            return nn.functional.batch_norm(x, 0 * scale, layer.running_var, scale, layer.bias.abs(), eps=layer.eps)
        if isinstance(layer, nn.Linear):
            return nn.functional.linear(x.abs(), layer.weight.abs())
        x = layer.padded(x) if hasattr(layer, "padded") else x
        return nn.functional.conv2d(x.abs(), layer.weight.abs(), None, layer.stride, layer.padding, 1, layer.groups)

    def move(layer, inputs, y):
        signs = torch.from_numpy(rng.choice([-1.0, 1.0], tuple(y.shape)))
        return y + 16 * EPS * sizes(layer, *inputs) * signs

    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            layer.register_forward_hook(move)


@pytest.mark.parametrize("name", NAMES)
def test_logits(name):
    torch = pytest.importorskip("torch")
    define, size, options = importlib.import_module("torch_nets").NETWORKS[name]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 3, size, size), np.float32)
    ours = st.models.build(name, **options)
    with torch.no_grad():
        theirs = define().eval()
        draw(torch, theirs, rng)
        ours.load(arrays(theirs))
        y = ours(x)
        image = torch.from_numpy(x).double()
        exact = theirs.double()(image)
        err(torch, theirs, rng)
        allowed = (theirs(image) - exact).abs().max().item()
    off = np.abs(y - exact.numpy()).max()
    assert off <= allowed, f"{off:.2e} of {allowed:.2e}"
    assert allowed < 0.01 * exact.std(), "the tolerance says nothing"


@pytest.mark.parametrize("name", NAMES)
def test_macs(name):
    """PyTorch's convolutions and linear layers, each counted once: weights of an output times outputs."""
    torch = pytest.importorskip("torch")
    define, size, options = importlib.import_module("torch_nets").NETWORKS[name]
    counts = {}
    with torch.no_grad():
        theirs = define().eval()
        for layer in theirs.modules():
            if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
                layer.register_forward_hook(
                    lambda layer, _, y: counts.update({layer: layer.weight[0].numel() * y.numel()}))
        theirs(torch.zeros(1, 3, size, size))
    assert st.summary(st.models.build(name, **options), (3, size, size)).total.macs == sum(counts.values())
