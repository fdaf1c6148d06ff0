"""VGG: stages of 3x3 convolutions between halvings of the maps, then three linear layers.

Ref: Simonyan and Zisserman 2015, arXiv 1409.1556, table 1; response norm after Krizhevsky et al. 2012, with its numbers
and behind the ReLU. `batch_norm=True` puts a batch norm behind every convolution. Differs: weights start from He et al.
2015 (the paper starts from a shallower network), and images of another size than 224x224 are pooled to 7x7 before the
linear layers, as torchvision's are (the paper turns those layers into convolutions).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from striate import ops
from striate.errors import unknown_name
from striate.models.registry import register
from striate.nn import (
    BatchNorm2d,
    Conv2d,
    Dropout,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
    init,
)
from striate.ops.arguments import flag

# The columns of table 1: "3-64" is its conv3-64, kernels of 3x3 for 64 maps; | is its maxpool; one ends each column.
TABLE = {
    "A": "3-64 | 3-128 | 3-256 3-256 | 3-512 3-512 | 3-512 3-512",
    "A-LRN": "3-64 LRN | 3-128 | 3-256 3-256 | 3-512 3-512 | 3-512 3-512",
    "B": "3-64 3-64 | 3-128 3-128 | 3-256 3-256 | 3-512 3-512 | 3-512 3-512",
    "C": "3-64 3-64 | 3-128 3-128 | 3-256 3-256 1-256 | 3-512 3-512 1-512 | 3-512 3-512 1-512",
    "D": "3-64 3-64 | 3-128 3-128 | 3-256 3-256 3-256 | 3-512 3-512 3-512 | 3-512 3-512 3-512",
    "E": "3-64 3-64 | 3-128 3-128 | 3-256 3-256 3-256 3-256 | 3-512 3-512 3-512 3-512 | 3-512 3-512 3-512 3-512",
}
MAPS, SIZE = 512, 7  # of what the linear layers see
UNITS = 4096  # of both hidden linear layers


class VGG(Module):
    """Shapes: (N, in_channels, H, W) -> (N, classes); H and W at least 32."""

    def __init__(self, configuration: str, classes: int, in_channels: int, *, batch_norm: bool = False,
                 units: int = UNITS) -> None:
        super().__init__()
        if configuration not in TABLE:
            raise unknown_name("vgg", "configuration", configuration, TABLE)
        row = TABLE[configuration].split()
        self.features = Sequential(*_layers(row, in_channels, flag("vgg", "batch_norm", batch_norm)), MaxPool2d(2))
        self.classifier = Sequential(
            Linear(MAPS * SIZE * SIZE, units, weight_init=init.he_normal), ReLU(), Dropout(0.5),
            Linear(units, units, weight_init=init.he_normal), ReLU(), Dropout(0.5),
            Linear(units, classes),
        )

    def forward(self, x: Any) -> Any:
        x = self.features(x)
        x = x if x.shape[2:] == (SIZE, SIZE) else ops.adaptive_avg_pool2d(x, SIZE)
        return self.classifier(ops.flatten(x))


def _layers(row: list[str], c: int, batch_norm: bool) -> Iterator[Module]:
    for word in row:
        if word == "|":
            yield MaxPool2d(2)
        elif word == "LRN":
            yield LocalResponseNorm(5)
        else:
            kernel, o = map(int, word.split("-"))
            yield Conv2d(c, o, kernel, padding=kernel // 2, weight_init=init.he_normal)
            if batch_norm:
                yield BatchNorm2d(o)
            yield ReLU()
            c = o


PAPER = "Simonyan and Zisserman 2015, arXiv 1409.1556"
IMAGENET = ((3, 224, 224), 1000, PAPER, 2014)
# torchvision's name, top-1 of its weights, the same with batch norm
TORCHVISION = {
    "A": ("vgg11", 69.02, 70.37),
    "B": ("vgg13", 69.928, 71.586),
    "D": ("vgg16", 71.592, 73.36),
    "E": ("vgg19", 72.376, 74.218),
}
TABLE3 = {"A-LRN": 70.3, "C": 71.9}  # top-1 of the paper for training and test images of 256 pixels
for configuration in TABLE:
    name, build = "vgg_" + configuration.lower().replace("-", "_"), partial(VGG, configuration)
    if configuration in TABLE3:
        register(name, build, *IMAGENET, top1=TABLE3[configuration], top1_source="the paper, table 3, whole images")
        continue
    alias, top1, normed = TORCHVISION[configuration]
    register(name, build, *IMAGENET, top1=top1, top1_source="torchvision", aliases=(alias,))
    register(f"{name}_bn", build, *IMAGENET, top1=normed, top1_source="torchvision", aliases=(f"{alias}_bn",),
             batch_norm=True)
