"""AlexNet on one tower.

Ref: Krizhevsky 2014, One weird trick for parallelizing convolutional neural networks, arXiv 1404.5997, section 5, after
Krizhevsky, Sutskever and Hinton 2012. Differs, as torchvision's: 256 maps in the fourth convolution, dropout before the
two hidden linear layers, and weights that start from He et al. 2015. 61,100,840 parameters.
"""

from __future__ import annotations

from typing import Any

from striate import ops
from striate.models.registry import register
from striate.nn import Conv2d, Dropout, Linear, MaxPool2d, Module, ReLU, Sequential, init

# maps, kernel, stride, padding, max-pool 3x3 of stride 2 behind it
CONVOLUTIONS = (
    (64, 11, 4, 2, True),
    (192, 5, 1, 2, True),
    (384, 3, 1, 1, False),
    (256, 3, 1, 1, False),
    (256, 3, 1, 1, True),
)
UNITS = 4096  # of both hidden linear layers
MAP = 6  # height and width of the last maps of a 224x224 image


class AlexNet(Module):
    """Shapes: (N, in_channels, 224, 224) -> (N, classes)."""

    def __init__(self, classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        self.features = Sequential(*_features(in_channels))
        self.classifier = Sequential(
            Dropout(0.5), Linear(CONVOLUTIONS[-1][0] * MAP * MAP, UNITS, weight_init=init.he_normal), ReLU(),
            Dropout(0.5), Linear(UNITS, UNITS, weight_init=init.he_normal), ReLU(),
            Linear(UNITS, classes),
        )

    def forward(self, x: Any) -> Any:
        return self.classifier(ops.flatten(self.features(x)))


def _features(c: int) -> list[Module]:
    layers: list[Module] = []
    for o, kernel, stride, padding, pooled in CONVOLUTIONS:
        layers += [Conv2d(c, o, kernel, stride, padding, weight_init=init.he_normal), ReLU()]
        layers += [MaxPool2d(3, stride=2)] if pooled else []
        c = o
    return layers


register("alexnet", AlexNet, (3, 224, 224), 1000, "Krizhevsky 2014, arXiv 1404.5997", 2014, top1=56.522,
         top1_source="torchvision")
