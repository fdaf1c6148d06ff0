"""ShuffleNet-V2 of width 1.0: half the maps pass by a block, and the halves are shuffled behind it.

Ref: Ma et al. 2018, ShuffleNet V2: practical guidelines for efficient CNN architecture design, arXiv 1807.11164, figure
3c and 3d, table 5. Differs: weights start from He et al. 2015. 2,278,604 parameters, named as torchvision's.
"""

from __future__ import annotations

from typing import Any

from striate import ops
from striate.models.registry import register
from striate.nn import BatchNorm2d, Conv2d, Linear, Module, ReLU, Sequential, init

STEM, LAST = 24, 1024  # maps of the first and of the last convolution
STAGES = ((116, 4), (232, 8), (464, 4))  # maps, blocks, of which the first halves the maps' size


def pointwise(c: int, o: int) -> list[Module]:
    """1x1, batch norm, relu."""
    return [Conv2d(c, o, 1, bias=False, weight_init=init.he_normal), BatchNorm2d(o), ReLU()]


def depthwise(c: int, stride: int) -> list[Module]:
    """3x3 on every map by itself, batch norm; no activation."""
    return [Conv2d(c, c, 3, stride, 1, groups=c, bias=False, weight_init=init.he_normal), BatchNorm2d(c)]


class Unit(Module):
    """Figure 3c: branch2 of half the maps beside the other half. Shapes: (N, c, H, W) -> the same."""

    def __init__(self, c: int) -> None:
        super().__init__()
        half = c // 2
        self.branch2 = Sequential(*pointwise(half, half), *depthwise(half, 1), *pointwise(half, half))
        self.half = half

    def forward(self, x: Any) -> Any:
        passed, read = ops.split(x, [self.half, self.half])
        return ops.channel_shuffle(ops.concat([passed, self.branch2(read)]), 2)


class HalvingUnit(Module):
    """Figure 3d: two branches of all maps, of stride 2. Shapes: (N, c, H, W) -> (N, o, ceil(H / 2), ceil(W / 2))."""

    def __init__(self, c: int, o: int) -> None:
        super().__init__()
        half = o // 2
        self.branch1 = Sequential(*depthwise(c, 2), *pointwise(c, half))
        self.branch2 = Sequential(*pointwise(c, half), *depthwise(half, 2), *pointwise(half, half))

    def forward(self, x: Any) -> Any:
        return ops.channel_shuffle(ops.concat([self.branch1(x), self.branch2(x)]), 2)


class ShuffleNetV2(Module):
    """Shapes: (N, in_channels, 224, 224) -> (N, classes), any H and W."""

    def __init__(self, classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        stem = Conv2d(in_channels, STEM, 3, 2, 1, bias=False, weight_init=init.he_normal)
        self.conv1 = Sequential(stem, BatchNorm2d(STEM), ReLU())
        c = STEM
        for i, (maps, blocks) in enumerate(STAGES, 2):
            setattr(self, f"stage{i}", Sequential(HalvingUnit(c, maps), *(Unit(maps) for _ in range(blocks - 1))))
            c = maps
        self.conv5 = Sequential(*pointwise(c, LAST))
        self.fc = Linear(LAST, classes)

    def forward(self, x: Any) -> Any:
        x = ops.max_pool2d(self.conv1(x), 3, stride=2, padding=1)
        for i, _ in enumerate(STAGES, 2):
            x = getattr(self, f"stage{i}")(x)
        return self.fc(ops.flatten(ops.global_avg_pool2d(self.conv5(x))))


register("shufflenet_v2_x1_0", ShuffleNetV2, (3, 224, 224), 1000, "Ma et al. 2018, arXiv 1807.11164", 2018, top1=69.362,
         top1_source="torchvision")
