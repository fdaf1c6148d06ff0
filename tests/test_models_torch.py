"""Networks of the zoo beside the same ones written with PyTorch's layers: same names, same weights, same logits.

The tolerance is what a convolution's own (tests/tolerance.py) makes of the logits: in float64 every element of every
layer's output is moved up or down, by chance, by 16 eps of the sum of |x| |w| behind it.
"""

from __future__ import annotations

import importlib.util
from collections import OrderedDict

import numpy as np
import pytest

import striate as st

pytestmark = [pytest.mark.torch,
              pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs pip install '.[test-torch]'")]
if importlib.util.find_spec("torch") is not None:
    import torch
    from torch import nn

    Base = nn.Module
else:
    Base = object

EPS = np.finfo(np.float32).eps


def basic(c, o, kernel, stride=1, padding=0, norm=True):
    """Convolution, batch norm or bias, relu."""
    bn = {"bn": nn.BatchNorm2d(o, eps=1e-3)} if norm else {}
    conv = nn.Conv2d(c, o, kernel, stride, padding, bias=not norm)
    return nn.Sequential(OrderedDict(conv=conv, **bn, relu=nn.ReLU()))


class VGG16(Base):
    def __init__(self, units):
        super().__init__()
        layers, c = [], 3
        for o in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
            layers += [nn.Conv2d(c, o, 3, padding=1), nn.ReLU()] if o else [nn.MaxPool2d(2, 2)]
            c = o or c
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(7 * 7 * 512, units), nn.ReLU(), nn.Dropout(), nn.Linear(units, units), nn.ReLU(), nn.Dropout(),
            nn.Linear(units, 1000))

    def forward(self, x):
        return self.classifier(nn.functional.adaptive_avg_pool2d(self.features(x), 7).flatten(1))


class Inception(Base):
    def __init__(self, c, ones, reduce3, threes, reduce5, fives, pool, norm):
        super().__init__()
        wide = 3 if norm else 5
        self.branch1 = basic(c, ones, 1, norm=norm)
        self.branch2 = nn.Sequential(basic(c, reduce3, 1, norm=norm), basic(reduce3, threes, 3, 1, 1, norm))
        self.branch3 = nn.Sequential(basic(c, reduce5, 1, norm=norm), basic(reduce5, fives, wide, 1, wide // 2, norm))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), basic(c, pool, 1, norm=norm))

    def forward(self, x):
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class GoogLeNet(Base):
    def __init__(self, norm=False):
        super().__init__()
        def halve(size=3):
            return nn.MaxPool2d(size, 2, ceil_mode=True)

        lrn = nn.Identity() if norm else nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)
        self.body = nn.Sequential(OrderedDict(
            conv1=basic(3, 64, 7, 2, 3, norm), pool1=halve(), norm1=lrn, conv2=basic(64, 64, 1, norm=norm),
            conv3=basic(64, 192, 3, 1, 1, norm), norm2=lrn, pool2=halve(),
            inception3a=Inception(192, 64, 96, 128, 16, 32, 32, norm),
            inception3b=Inception(256, 128, 128, 192, 32, 96, 64, norm), pool3=halve(),
            inception4a=Inception(480, 192, 96, 208, 16, 48, 64, norm),
            inception4b=Inception(512, 160, 112, 224, 24, 64, 64, norm),
            inception4c=Inception(512, 128, 128, 256, 24, 64, 64, norm),
            inception4d=Inception(512, 112, 144, 288, 32, 64, 64, norm),
            inception4e=Inception(528, 256, 160, 320, 32, 128, 128, norm), pool4=halve(2 if norm else 3),
            inception5a=Inception(832, 256, 160, 320, 32, 128, 128, norm),
            inception5b=Inception(832, 384, 192, 384, 48, 128, 128, norm)))
        self.fc = nn.Linear(1024, 1000)

    def forward(self, x):
        return self.fc(self.body(x).mean((2, 3)))


class Bottleneck(Base):
    def __init__(self, c, maps, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c, maps, 1, bias=False), nn.BatchNorm2d(maps)
        self.conv2, self.bn2 = nn.Conv2d(maps, maps, 3, stride, 1, bias=False), nn.BatchNorm2d(maps)
        self.conv3, self.bn3 = nn.Conv2d(maps, 4 * maps, 1, bias=False), nn.BatchNorm2d(4 * maps)
        if c != 4 * maps:
            self.downsample = nn.Sequential(nn.Conv2d(c, 4 * maps, 1, stride, bias=False), nn.BatchNorm2d(4 * maps))

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn3(self.conv3(self.bn2(self.conv2(y)).relu()))
        return (y + (self.downsample(x) if hasattr(self, "downsample") else x)).relu()


class ResNet50(Base):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, c = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), 64
        for i, (maps, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)], 1):
            strides = [1 if i == 1 else 2] + [1] * (blocks - 1)
            rows = [Bottleneck(c if j == 0 else 4 * maps, maps, stride) for j, stride in enumerate(strides)]
            setattr(self, f"layer{i}", nn.Sequential(*rows))
            c = 4 * maps
        self.fc = nn.Linear(c, 1000)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        return self.fc(self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3)))


def unit(c, o, kernel, stride=1, groups=1):
    """Convolution, batch norm, relu6."""
    conv = nn.Conv2d(c, o, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(o), nn.ReLU6())


class InvertedResidual(Base):
    def __init__(self, c, o, t, stride):
        super().__init__()
        expand = [unit(c, c * t, 1)] if t > 1 else []
        self.conv = nn.Sequential(*expand, unit(c * t, c * t, 3, stride, c * t),
                                  nn.Conv2d(c * t, o, 1, bias=False), nn.BatchNorm2d(o))
        self.add = stride == 1 and c == o

    def forward(self, x):
        return x + self.conv(x) if self.add else self.conv(x)


class MobileNetV2(Base):
    def __init__(self):
        super().__init__()
        blocks, c = [], 32
        for t, o, n, s in [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
                           (6, 320, 1, 1)]:
            for i in range(n):
                blocks.append(InvertedResidual(c, o, t, s if i == 0 else 1))
                c = o
        self.features = nn.Sequential(unit(3, 32, 3, 2), *blocks, unit(320, 1280, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


# the definition, the image's size, options: as small as the network allows
NETWORKS = {
    "vgg_d": (lambda: VGG16(512), 64, dict(units=512)),
    "googlenet": (GoogLeNet, 96, dict(heads=False)),
    "googlenet_torchvision": (lambda: GoogLeNet(norm=True), 96, dict(heads=False)),
    "resnet50": (ResNet50, 64, {}),
    "mobilenet_v2": (MobileNetV2, 64, {}),
}


def draw(net, rng):
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


def err(net, rng):
    """From now on the output of every layer of `net` is off by what its sums may err."""
    def sizes(layer, x):
        if isinstance(layer, nn.BatchNorm2d):  # (|x| + |mean|) |weight| / sqrt(var + eps) + |bias|
            x, scale = x.abs() + layer.running_mean.abs()[:, None, None], layer.weight.abs()
            return nn.functional.batch_norm(x, 0 * scale, layer.running_var, scale, layer.bias.abs(), eps=layer.eps)
        if isinstance(layer, nn.Linear):
            return nn.functional.linear(x.abs(), layer.weight.abs())
        return nn.functional.conv2d(x.abs(), layer.weight.abs(), None, layer.stride, layer.padding, 1, layer.groups)

    def move(layer, inputs, y):
        signs = torch.from_numpy(rng.choice([-1.0, 1.0], tuple(y.shape)))
        return y + 16 * EPS * sizes(layer, *inputs) * signs

    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            layer.register_forward_hook(move)


@pytest.mark.parametrize("name", NETWORKS)
def test_logits(name):
    rng = np.random.default_rng(0)
    define, size, options = NETWORKS[name]
    x = rng.standard_normal((1, 3, size, size), np.float32)
    ours = st.models.build(name, **options)
    with torch.no_grad():
        theirs = define().eval()
        draw(theirs, rng)
        ours.load(arrays(theirs))
        y = ours(x)
        image = torch.from_numpy(x).double()
        exact = theirs.double()(image)
        err(theirs, rng)
        allowed = (theirs(image) - exact).abs().max().item()
    off = np.abs(y - exact.numpy()).max()
    assert off <= allowed, f"{off:.2e} of {allowed:.2e}"
    assert allowed < 0.01 * exact.std(), "the tolerance says nothing"
