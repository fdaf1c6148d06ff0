"""SqueezeNet: few maps squeezed out by 1x1 convolutions in front of the 3x3 ones; no linear layer.

Ref: Iandola et al. 2016, SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size, arXiv
1602.07360, table 1; version 1.1 is the authors' own, with less work in the first layers. Differs as torchvision's does:
poolings round their size up, images are 224x224 (table 1 has 227x227 cut to the same 111x111 maps by padding).
1,248,424 and 1,235,496 parameters.
"""

from __future__ import annotations

from typing import Any, ClassVar

from striate import ops
from striate.models.registry import register
from striate.nn import Conv2d, Dropout, GlobalAvgPool2d, MaxPool2d, Module, ReLU, Sequential, init

Fires = tuple[tuple[int, ...], ...]

# #1x1 squeeze, #1x1 expand, #3x3 expand; () is a 3x3 maximum of stride 2
FIRES_1_0: Fires = (
    (), (16, 64, 64), (16, 64, 64), (32, 128, 128),
    (), (32, 128, 128), (48, 192, 192), (48, 192, 192), (64, 256, 256),
    (), (64, 256, 256),
)
FIRES_1_1: Fires = (
    (), (16, 64, 64), (16, 64, 64),
    (), (32, 128, 128), (32, 128, 128),
    (), (48, 192, 192), (48, 192, 192), (64, 256, 256), (64, 256, 256),
)


class Fire(Module):
    """1x1 squeeze, then 1x1 and 3x3 side by side. Shapes: (N, c, H, W) -> (N, ones + threes, H, W)."""

    def __init__(self, c: int, squeeze: int, ones: int, threes: int) -> None:
        super().__init__()
        self.squeeze = Conv2d(c, squeeze, 1, weight_init=init.he_normal)
        self.expand1x1 = Conv2d(squeeze, ones, 1, weight_init=init.he_normal)
        self.expand3x3 = Conv2d(squeeze, threes, 3, padding=1, weight_init=init.he_normal)

    def forward(self, x: Any) -> Any:
        x = ops.relu(self.squeeze(x))
        return ops.concat([ops.relu(self.expand1x1(x)), ops.relu(self.expand3x3(x))])


class SqueezeNet(Module):
    """Version 1.0. Shapes: (N, in_channels, 224, 224) -> (N, classes), any H and W of at least 29."""

    maps: ClassVar[int] = 96  # of the first convolution
    kernel: ClassVar[int] = 7
    fires: ClassVar[Fires] = FIRES_1_0

    def __init__(self, classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        maps = self.maps
        layers: list[Module] = [Conv2d(in_channels, maps, self.kernel, 2, weight_init=init.he_normal), ReLU()]
        for row in self.fires:
            layers.append(Fire(maps, *row) if row else MaxPool2d(3, stride=2, ceil_mode=True))
            maps = sum(row[1:]) or maps
        self.features = Sequential(*layers)
        last = Conv2d(maps, classes, 1, weight_init=lambda fan_in: init.normal(0.01))
        self.classifier = Sequential(Dropout(0.5), last, ReLU(), GlobalAvgPool2d())

    def forward(self, x: Any) -> Any:
        return ops.flatten(self.classifier(self.features(x)))


class SqueezeNet11(SqueezeNet):
    """Version 1.1. Shapes: as SqueezeNet's, any H and W of at least 25."""

    maps, kernel, fires = 64, 3, FIRES_1_1


PAPER = "Iandola et al. 2016, arXiv 1602.07360"
register("squeezenet1_0", SqueezeNet, (3, 224, 224), 1000, PAPER, 2016, top1=58.092, top1_source="torchvision")
register("squeezenet1_1", SqueezeNet11, (3, 224, 224), 1000, PAPER, 2016, top1=58.178, top1_source="torchvision")
