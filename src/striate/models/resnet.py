"""Residual networks: ResNet-50 for ImageNet and ResNet-20 for CIFAR-10.

Ref: He, Zhang, Ren and Sun 2015, arXiv 1512.03385, table 1 and section 4.2. Differs: ResNet-50 halves its maps in the
3x3 convolution of a block and not in the first 1x1, as torchvision's does ("v1.5").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from striate import ops
from striate.models.registry import register
from striate.nn import BatchNorm2d, Conv2d, Linear, Module, Sequential, init

Table = tuple[tuple[int, int], ...]  # a row a stage: maps inside a block, blocks

RESNET50: Table = ((64, 3), (128, 4), (256, 6), (512, 3))
RESNET20: Table = ((16, 3), (32, 3), (64, 3))
EXPANSION = 4  # a bottleneck gives four times the maps it has inside


def convolution(c: int, o: int, kernel: int, stride: int = 1) -> Conv2d:
    """A convolution without bias, padded so that stride 1 keeps the size: a batch norm stands behind it."""
    return Conv2d(c, o, kernel, stride, kernel // 2, bias=False, weight_init=init.he_normal)


class Bottleneck(Module):
    """relu(F(x) + shortcut(x)), F of 1x1, 3x3, 1x1. Shapes: (N, C, H, W) -> (N, 4 maps, H/stride, W/stride)."""

    def __init__(self, c: int, maps: int, stride: int) -> None:
        super().__init__()
        o = EXPANSION * maps
        self.conv1, self.bn1 = convolution(c, maps, 1), BatchNorm2d(maps)
        self.conv2, self.bn2 = convolution(maps, maps, 3, stride), BatchNorm2d(maps)
        self.conv3, self.bn3 = convolution(maps, o, 1), BatchNorm2d(o)
        projected = stride > 1 or c != o  # option B: projections only where the shape changes
        self.downsample = Sequential(convolution(c, o, 1, stride), BatchNorm2d(o)) if projected else None

    def forward(self, x: Any) -> Any:
        y = ops.relu(self.bn1(self.conv1(x)))
        y = ops.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return ops.relu(ops.add(y, x if self.downsample is None else self.downsample(x)))


class BasicBlock(Module):
    """relu(F(x) + shortcut(x)), F of two 3x3. Shapes: (N, C, H, W) -> (N, maps, H/stride, W/stride)."""

    def __init__(self, c: int, maps: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = convolution(c, maps, 3, stride), BatchNorm2d(maps)
        self.conv2, self.bn2 = convolution(maps, maps, 3), BatchNorm2d(maps)
        self.stride, self.new_maps = stride, maps - c

    def forward(self, x: Any) -> Any:
        y = ops.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return ops.relu(ops.add(y, self.shortcut(x)))

    def shortcut(self, x: Any) -> Any:
        """Option A, without parameters: every second pixel, zeros for the new maps."""
        if self.stride > 1:
            x = ops.avg_pool2d(x, 1, stride=self.stride)
        return ops.pad_channels(x, self.new_maps) if self.new_maps else x


def stages(c: int, table: Table, block: Callable[[int, int, int], Module], expansion: int) -> Iterator[Sequential]:
    """The stages of a table behind a stem of `c` maps; all but the first start by halving the maps."""
    for i, (maps, blocks) in enumerate(table):
        inside = []
        for j in range(blocks):
            inside.append(block(c, maps, 2 if i > 0 and j == 0 else 1))
            c = expansion * maps
        yield Sequential(*inside)


class ResNet50(Module):
    """25,557,032 parameters. Shapes: (N, in_channels, 224, 224) -> (N, classes), any H and W of at least 32."""

    def __init__(self, classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        self.conv1, self.bn1 = Conv2d(in_channels, 64, 7, 2, 3, bias=False, weight_init=init.he_normal), BatchNorm2d(64)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages(64, RESNET50, Bottleneck, EXPANSION)
        self.fc = Linear(EXPANSION * RESNET50[-1][0], classes)

    def forward(self, x: Any) -> Any:
        x = ops.max_pool2d(ops.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(ops.flatten(ops.global_avg_pool2d(x)))


class ResNet20(Module):
    """Shortcuts of option A; 269,722 parameters. Shapes: (N, in_channels, 32, 32) -> (N, classes)."""

    def __init__(self, classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        maps = RESNET20[0][0]
        self.conv1, self.bn1 = convolution(in_channels, maps, 3), BatchNorm2d(maps)
        self.layer1, self.layer2, self.layer3 = stages(maps, RESNET20, BasicBlock, 1)
        self.fc = Linear(RESNET20[-1][0], classes)

    def forward(self, x: Any) -> Any:
        x = self.layer3(self.layer2(self.layer1(ops.relu(self.bn1(self.conv1(x))))))
        return self.fc(ops.flatten(ops.global_avg_pool2d(x)))


PAPER = "He et al. 2015, arXiv 1512.03385"
register("resnet50", ResNet50, (3, 224, 224), 1000, PAPER, 2015, top1=76.13, top1_source="torchvision")
register("resnet20_cifar", ResNet20, (3, 32, 32), 10, PAPER, 2015, top1=91.25, top1_source="the paper, CIFAR-10",
         aliases=("resnet20",))
