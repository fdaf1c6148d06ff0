"""The registry's networks in PyTorch: the same operations in the same order, with a copy of the weights.

A twin's parameters and statistics have the paths of the original's states.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from striate.models import alexnet, find, lenet5, name_of, resnet, resnet_cifar, vgg
from striate.nn import Module

Array = np.ndarray[Any, Any]


def twin(name: str, arrays: Mapping[str, Array]) -> nn.Module:
    """The network called `name` with the given states, path -> array."""
    entry = find(name)
    net = TWINS[entry.name](entry.classes, entry.input_shape[0])
    tensors = {path: torch.from_numpy(np.array(array)) for path, array in arrays.items()}
    known = {path: t for path, t in net.state_dict().items() if path.endswith("num_batches_tracked")}
    net.load_state_dict(tensors | known, assign=True)
    for parameter in net.parameters():
        parameter.requires_grad_(True)
    return net


def twin_of(net: Module) -> nn.Module:
    """The twin of one of the registry's networks, with a copy of its weights."""
    return twin(name_of(net), {path: state.array for path, state in net.states().items()})


class LeNet5(nn.Module):
    """striate.models.lenet5."""

    def __init__(self, classes: int, c: int) -> None:
        super().__init__()
        (c1, c3), (c5, f6) = lenet5.MAPS, lenet5.UNITS
        self.conv1, self.conv2 = nn.Conv2d(c, c1, 5, padding=2), nn.Conv2d(c1, c3, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(c3 * 5 * 5, c5), nn.Linear(c5, f6), nn.Linear(f6, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        x = functional.relu(self.fc1(x.flatten(1)))
        return self.fc3(functional.relu(self.fc2(x)))


class Features(nn.Module):
    """`features`, flattened, then `classifier`: the form of VGG and AlexNet."""

    def __init__(self, features: list[nn.Module], classifier: list[nn.Module]) -> None:
        super().__init__()
        self.features, self.classifier = nn.Sequential(*features), nn.Sequential(*classifier)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).flatten(1))


def vgg_(configuration: str, classes: int, c: int) -> Features:
    """striate.models.vgg, the configurations without response norm; at 224x224 nothing is pooled to 7x7."""
    features: list[nn.Module] = []
    for word in vgg.TABLE[configuration].split():
        if word == "|":
            features.append(nn.MaxPool2d(2))
        else:
            kernel, o = map(int, word.split("-"))
            features += [nn.Conv2d(c, o, kernel, padding=kernel // 2), nn.ReLU(inplace=True)]
            c = o
    inputs, units = vgg.MAPS * vgg.SIZE * vgg.SIZE, vgg.UNITS
    return Features([*features, nn.MaxPool2d(2)], [
        nn.Linear(inputs, units), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(units, units),
        nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(units, classes),
    ])


def alexnet_(classes: int, c: int) -> Features:
    """striate.models.alexnet, the form of 2014."""
    features: list[nn.Module] = []
    for row in alexnet.FORM_2014:
        features += [nn.Conv2d(c, row.maps, row.kernel, row.stride, row.padding), nn.ReLU(inplace=True)]
        features += [nn.MaxPool2d(3, stride=2)] if row.pooled else []
        c = row.maps
    inputs, units = c * alexnet.SIZE * alexnet.SIZE, alexnet.UNITS
    return Features(features, [
        nn.Dropout(0.5), nn.Linear(inputs, units), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(units, units),
        nn.ReLU(inplace=True), nn.Linear(units, classes),
    ])


def _convolution(c: int, o: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c, o, kernel, stride, kernel // 2, bias=False)


class Block(nn.Module):
    """striate.models.residual: BasicBlock and Bottleneck, with shortcuts of both options."""

    def __init__(self, c: int, maps: int, stride: int, *, bottleneck: bool, shortcut: str) -> None:
        super().__init__()
        rows = [(maps, 3, stride), (maps, 3, 1)]
        if bottleneck:
            rows = [(maps, 1, 1), (maps, 3, stride), (4 * maps, 1, 1)]
        inputs = c
        for i, (o, kernel, step) in enumerate(rows, 1):
            setattr(self, f"conv{i}", _convolution(inputs, o, kernel, step))
            setattr(self, f"bn{i}", nn.BatchNorm2d(o))
            inputs = o
        self.depth, self.stride, self.new_maps = len(rows), stride, inputs - c
        self.relu = nn.ReLU(inplace=True)
        projected = shortcut == "B" and (stride > 1 or self.new_maps)
        self.downsample = nn.Sequential(_convolution(c, o, 1, stride), nn.BatchNorm2d(o)) if projected else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for i in range(1, self.depth + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = self.relu(y) if i < self.depth else y
        y += self.shortcut(x)
        return self.relu(y)

    def shortcut(self, x: torch.Tensor) -> torch.Tensor:
        if self.downsample is not None:
            return self.downsample(x)
        if not self.new_maps:
            return x
        x = functional.avg_pool2d(x, 1, stride=self.stride)
        return functional.pad(x, (0, 0, 0, 0, 0, self.new_maps))


class ResNet(nn.Module):
    """striate.models.resnet: a stem, the stages of a table, the mean of every map, one linear layer."""

    def __init__(self, stem: resnet.Stem, blocks: resnet.Blocks, classes: int, c: int, *, bottleneck: bool,
                 shortcut: str) -> None:
        super().__init__()
        self.conv1, self.bn1 = _convolution(c, stem.maps, stem.kernel, stem.stride), nn.BatchNorm2d(stem.maps)
        self.relu, self.pool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1) if stem.pooled else nn.Identity()
        self.stages, inputs = len(blocks), stem.maps
        for i, count in enumerate(blocks):
            inside, maps = [], stem.maps * 2**i
            for j in range(count):
                stride = 2 if i > 0 and j == 0 else 1
                inside.append(Block(inputs, maps, stride, bottleneck=bottleneck, shortcut=shortcut))
                inputs = 4 * maps if bottleneck else maps
            setattr(self, f"layer{i + 1}", nn.Sequential(*inside))
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.relu(self.bn1(self.conv1(x))))
        for i in range(1, self.stages + 1):
            x = getattr(self, f"layer{i}")(x)
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


def _resnets() -> dict[str, Any]:
    stem, small = resnet.STEM, resnet_cifar.STEM
    basic, deep = dict(bottleneck=False, shortcut="B"), dict(bottleneck=True, shortcut="B")
    found = {f"resnet{d}": partial(ResNet, stem, blocks, **basic) for d, (blocks, *_) in resnet.BASIC.items()}
    found |= {f"resnet{d}": partial(ResNet, stem, blocks, **deep) for d, (blocks, *_) in resnet.BOTTLENECK.items()}
    return found | {f"resnet{d}_cifar": partial(ResNet, small, (n, n, n), bottleneck=False, shortcut="A")
                    for d, (n, _) in resnet_cifar.DEPTHS.items()}


TWINS: dict[str, Any] = {
    "lenet5": LeNet5, "alexnet": alexnet_, **_resnets(),
    **{f"vgg_{c.lower()}": partial(vgg_, c) for c in ("A", "B", "C", "D", "E")},
}
