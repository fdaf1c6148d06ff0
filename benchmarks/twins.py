"""The registry's networks in PyTorch: the same operations in the same order, with a copy of the weights.

A twin's parameters and statistics have the paths of the original's states.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from striate.models import alexnet, find, lenet5, name_of, resnet, vgg
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


def vgg16(classes: int, c: int) -> Features:
    """striate.models.vgg."""
    features: list[nn.Module] = []
    for stage in vgg.D:
        for o in stage:
            features += [nn.Conv2d(c, o, 3, padding=1), nn.ReLU(inplace=True)]
            c = o
        features.append(nn.MaxPool2d(2))
    inputs, units = c * vgg.MAP * vgg.MAP, vgg.UNITS
    return Features(features, [
        nn.Linear(inputs, units), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(units, units),
        nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(units, classes),
    ])


def alexnet_(classes: int, c: int) -> Features:
    """striate.models.alexnet."""
    features: list[nn.Module] = []
    for o, kernel, stride, padding, pooled in alexnet.CONVOLUTIONS:
        features += [nn.Conv2d(c, o, kernel, stride, padding), nn.ReLU(inplace=True)]
        features += [nn.MaxPool2d(3, stride=2)] if pooled else []
        c = o
    inputs, units = c * alexnet.MAP * alexnet.MAP, alexnet.UNITS
    return Features(features, [
        nn.Dropout(0.5), nn.Linear(inputs, units), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(units, units),
        nn.ReLU(inplace=True), nn.Linear(units, classes),
    ])


def _convolution(c: int, o: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c, o, kernel, stride, kernel // 2, bias=False)


class Bottleneck(nn.Module):
    """striate.models.resnet.Bottleneck."""

    def __init__(self, c: int, maps: int, stride: int) -> None:
        super().__init__()
        o = resnet.EXPANSION * maps
        self.conv1, self.bn1 = _convolution(c, maps, 1), nn.BatchNorm2d(maps)
        self.conv2, self.bn2 = _convolution(maps, maps, 3, stride), nn.BatchNorm2d(maps)
        self.conv3, self.bn3 = _convolution(maps, o, 1), nn.BatchNorm2d(o)
        self.relu = nn.ReLU(inplace=True)
        projected = stride > 1 or c != o
        self.downsample = nn.Sequential(_convolution(c, o, 1, stride), nn.BatchNorm2d(o)) if projected else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class BasicBlock(nn.Module):
    """striate.models.resnet.BasicBlock."""

    def __init__(self, c: int, maps: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _convolution(c, maps, 3, stride), nn.BatchNorm2d(maps)
        self.conv2, self.bn2 = _convolution(maps, maps, 3), nn.BatchNorm2d(maps)
        self.relu, self.stride, self.new_maps = nn.ReLU(inplace=True), stride, maps - c

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.new_maps:
            x = functional.avg_pool2d(x, 1, stride=self.stride)
            x = functional.pad(x, (0, 0, 0, 0, 0, self.new_maps))
        y += x
        return self.relu(y)


def _stages(c: int, table: resnet.Table, block: type[nn.Module], expansion: int) -> list[nn.Sequential]:
    built = []
    for i, (maps, blocks) in enumerate(table):
        inside = []
        for j in range(blocks):
            inside.append(block(c, maps, 2 if i > 0 and j == 0 else 1))
            c = expansion * maps
        built.append(nn.Sequential(*inside))
    return built


class ResNet(nn.Module):
    """striate.models.resnet: a stem, the stages of a table, the mean of every map, one linear layer."""

    def __init__(self, stem: nn.Conv2d, pool: nn.Module, stages: list[nn.Sequential], features: int,
                 classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = stem, nn.BatchNorm2d(stem.out_channels)
        self.relu, self.pool = nn.ReLU(inplace=True), pool
        self.depth = len(stages)
        for i, stage in enumerate(stages, 1):
            setattr(self, f"layer{i}", stage)
        self.fc = nn.Linear(features, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.relu(self.bn1(self.conv1(x))))
        for i in range(1, self.depth + 1):
            x = getattr(self, f"layer{i}")(x)
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


def resnet50(classes: int, c: int) -> ResNet:
    stages = _stages(64, resnet.RESNET50, Bottleneck, resnet.EXPANSION)
    stem = nn.Conv2d(c, 64, 7, 2, 3, bias=False)
    return ResNet(stem, nn.MaxPool2d(3, 2, 1), stages, resnet.EXPANSION * resnet.RESNET50[-1][0], classes)


def resnet20(classes: int, c: int) -> ResNet:
    maps = resnet.RESNET20[0][0]
    stages = _stages(maps, resnet.RESNET20, BasicBlock, 1)
    return ResNet(_convolution(c, maps, 3), nn.Identity(), stages, resnet.RESNET20[-1][0], classes)


TWINS: dict[str, Any] = {
    "lenet5": LeNet5, "alexnet": alexnet_, "vgg_d": vgg16, "resnet20_cifar": resnet20, "resnet50": resnet50,
}
