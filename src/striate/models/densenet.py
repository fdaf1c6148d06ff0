"""DenseNet-121: every layer of a block reads the maps of all layers in front of it.

Ref: Huang et al. 2016, Densely connected convolutional networks, arXiv 1608.06993, table 1 (DenseNet-BC, growth rate
32). Differs: weights start from He et al. 2015 in every convolution. 7,978,856 parameters, named as torchvision's.
"""

from __future__ import annotations

from typing import Any

from striate import ops
from striate.models.registry import register
from striate.nn import AvgPool2d, BatchNorm2d, Conv2d, Linear, MaxPool2d, Module, ReLU, Sequential, init

LAYERS = (6, 12, 24, 16)  # of each block
GROWTH = 32  # maps a layer adds
BOTTLENECK = 4 * GROWTH  # maps between its 1x1 and its 3x3
STEM = 2 * GROWTH


def convolution(c: int, o: int, kernel: int, stride: int = 1) -> Conv2d:
    return Conv2d(c, o, kernel, stride, kernel // 2, bias=False, weight_init=init.he_normal)


class DenseLayer(Module):
    """x with new maps behind its own. Shapes: (N, c, H, W) -> (N, c + GROWTH, H, W)."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = BatchNorm2d(c), convolution(c, BOTTLENECK, 1)
        self.norm2, self.conv2 = BatchNorm2d(BOTTLENECK), convolution(BOTTLENECK, GROWTH, 3)

    def forward(self, x: Any) -> Any:
        y = self.conv1(ops.relu(self.norm1(x)))
        y = self.conv2(ops.relu(self.norm2(y)))
        return ops.concat([x, y])


def transition(c: int) -> Sequential:
    """Half the maps, of half the size. Shapes: (N, c, H, W) -> (N, c // 2, H // 2, W // 2)."""
    return Sequential({"norm": BatchNorm2d(c), "relu": ReLU(), "conv": convolution(c, c // 2, 1), "pool": AvgPool2d(2)})


class DenseNet121(Module):
    """Shapes: (N, in_channels, 224, 224) -> (N, classes), any H and W of at least 29."""

    def __init__(self, classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        features: dict[str, Module] = {
            "conv0": convolution(in_channels, STEM, 7, 2), "norm0": BatchNorm2d(STEM), "relu0": ReLU(),
            "pool0": MaxPool2d(3, stride=2, padding=1),
        }
        c = STEM
        for i, layers in enumerate(LAYERS, 1):
            features[f"denseblock{i}"] = Sequential(
                {f"denselayer{j + 1}": DenseLayer(c + j * GROWTH) for j in range(layers)})
            c += layers * GROWTH
            if i < len(LAYERS):
                features[f"transition{i}"] = transition(c)
                c //= 2
        self.features = Sequential({**features, "norm5": BatchNorm2d(c)})
        self.classifier = Linear(c, classes)

    def forward(self, x: Any) -> Any:
        return self.classifier(ops.flatten(ops.global_avg_pool2d(ops.relu(self.features(x)))))


register("densenet121", DenseNet121, (3, 224, 224), 1000, "Huang et al. 2016, arXiv 1608.06993", 2016, top1=74.434,
         top1_source="torchvision")
