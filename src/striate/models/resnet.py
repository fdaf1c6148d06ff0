"""Residual networks for ImageNet, and the plain networks they are compared with.

Ref: He, Zhang, Ren and Sun 2015, arXiv 1512.03385, table 1; options residual, shortcut and stride_in as in residual.py.
Differs: shortcuts are of option B throughout (the paper has 18 layers with option A), and the bottlenecks halve their
maps in the 3x3, as torchvision's do; the `_paper` forms in the first 1x1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from striate import ops
from striate.models.registry import register
from striate.models.residual import BasicBlock, Block, Bottleneck, convolution
from striate.nn import BatchNorm2d, Linear, Module, Sequential

# Depth -> blocks of each stage, the columns of table 1; top-1 of torchvision's weights; top-1 of the twin in the paper
BASIC = {18: ((2, 2, 2, 2), 69.758, 72.06), 34: ((3, 4, 6, 3), 73.314, 71.46)}
BOTTLENECK = {50: ((3, 4, 6, 3), 76.13, 75.3), 101: ((3, 4, 23, 3), 77.374, 76.4), 152: ((3, 8, 36, 3), 78.312, 77.0)}

Blocks = tuple[int, ...]  # of each stage
Make = Callable[[int, int, int], Block]  # (maps in, maps inside, stride) -> a block


class Stem(NamedTuple):
    """The first convolution, and whether a 3x3 max-pool of stride 2 stands behind it; each stage doubles its maps."""

    maps: int
    kernel: int
    stride: int
    pooled: bool


STEM = Stem(maps=64, kernel=7, stride=2, pooled=True)


class ResNet(Module):
    """Stem, stages, mean of every map, one linear layer. Shapes: (N, in_channels, H, W) -> (N, classes)."""

    def __init__(self, stem: Stem, blocks: Blocks, block: Make, classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = convolution(in_channels, stem.maps, stem.kernel, stem.stride), BatchNorm2d(stem.maps)
        self.pooled, self.stages = stem.pooled, len(blocks)
        c = stem.maps
        for i, count in enumerate(blocks):  # each stage but the first: twice the maps, of half the size
            inside: list[Module] = []
            for j in range(count):
                inside.append(made := block(c, stem.maps * 2**i, 2 if i > 0 and j == 0 else 1))
                c = made.expansion * stem.maps * 2**i
            setattr(self, f"layer{i + 1}", Sequential(*inside))
        self.fc = Linear(c, classes)

    def forward(self, x: Any) -> Any:
        x = ops.relu(self.bn1(self.conv1(x)))
        x = ops.max_pool2d(x, 3, stride=2, padding=1) if self.pooled else x
        for i in range(1, self.stages + 1):
            x = getattr(self, f"layer{i}")(x)
        return self.fc(ops.flatten(ops.global_avg_pool2d(x)))


def basic(stem: Stem, blocks: Blocks, classes: int, in_channels: int, *, residual: bool = True,
          shortcut: str = "B") -> ResNet:
    """The networks of basic blocks."""
    return ResNet(stem, blocks, partial(BasicBlock, residual=residual, shortcut=shortcut), classes, in_channels)


def bottleneck(blocks: Blocks, classes: int, in_channels: int, *, residual: bool = True, shortcut: str = "B",
               stride_in: str = "3x3") -> ResNet:
    """The networks of bottlenecks."""
    block = partial(Bottleneck, residual=residual, shortcut=shortcut, stride_in=stride_in)
    return ResNet(STEM, blocks, block, classes, in_channels)


PAPER = "He et al. 2015, arXiv 1512.03385"
IMAGENET = ((3, 224, 224), 1000, PAPER, 2015)
for depth, (blocks, top1, plain) in BASIC.items():
    build = partial(basic, STEM, blocks)
    register(f"resnet{depth}", build, *IMAGENET, top1=top1, top1_source="torchvision")
    register(f"plain{depth}", build, *IMAGENET, top1=plain, top1_source="the paper, table 2, 10 crops", residual=False)
for depth, (blocks, top1, paper) in BOTTLENECK.items():
    build = partial(bottleneck, blocks)
    register(f"resnet{depth}", build, *IMAGENET, top1=top1, top1_source="torchvision")
    register(f"resnet{depth}_paper", build, *IMAGENET, top1=paper, top1_source="the authors' weights", stride_in="1x1")
