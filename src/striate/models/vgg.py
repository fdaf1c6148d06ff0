"""VGG: 3x3 convolutions only, the maps halved five times, three linear layers.

Ref: Simonyan and Zisserman 2015, arXiv 1409.1556, table 1. Differs: weights start from He et al. 2015 (the paper starts
from a shallower network), and images are 224x224 only, as its training has them.
"""

from __future__ import annotations

from typing import Any, ClassVar

from striate import ops
from striate.models.registry import register
from striate.nn import Conv2d, Dropout, Linear, MaxPool2d, Module, ReLU, Sequential, init

Stages = tuple[tuple[int, ...], ...]

D: Stages = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # max-pool 2x2 behind each stage
UNITS = 4096  # of both hidden linear layers
MAP = 224 // 2 ** len(D)


class VGG(Module):
    """Shapes: (N, in_channels, 224, 224) -> (N, classes)."""

    stages: ClassVar[Stages]

    def __init__(self, classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        self.features = Sequential(*_features(in_channels, self.stages))
        self.classifier = Sequential(
            Linear(self.stages[-1][-1] * MAP * MAP, UNITS, weight_init=init.he_normal), ReLU(), Dropout(0.5),
            Linear(UNITS, UNITS, weight_init=init.he_normal), ReLU(), Dropout(0.5),
            Linear(UNITS, classes),
        )

    def forward(self, x: Any) -> Any:
        return self.classifier(ops.flatten(self.features(x)))


def _features(c: int, stages: Stages) -> list[Module]:
    layers: list[Module] = []
    for stage in stages:
        for o in stage:
            layers += [Conv2d(c, o, 3, padding=1, weight_init=init.he_normal), ReLU()]
            c = o
        layers.append(MaxPool2d(2))
    return layers


class VGG16(VGG):
    """Configuration D: 13 convolutions, 138,357,544 parameters. Shapes: (N, 3, 224, 224) -> (N, 1000)."""

    stages = D


register("vgg_d", VGG16, (3, 224, 224), 1000, "Simonyan and Zisserman 2015, arXiv 1409.1556", 2014, top1=71.592,
         top1_source="torchvision", aliases=("vgg16",))
