"""Network in Network for CIFAR-10: convolutions each followed by two of 1x1, and the mean of a map as a class's logit.

Ref: Lin, Chen and Yan 2013, arXiv 1312.4400, sections 3 and 4.1 and figure 2; sizes of its authors' released network,
which the paper does not print: 966,986 parameters. Differs: weights start from He et al. 2015.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from striate import ops
from striate.models.registry import register
from striate.nn import AvgPool2d, Conv2d, Dropout, MaxPool2d, Module, ReLU, Sequential, init

# kernel of the convolution; its maps and those of the two 1x1 behind it; the pooling, 3x3 of stride 2, before the next
BLOCKS = (
    (5, (192, 160, 96), MaxPool2d),
    (5, (192, 192, 192), AvgPool2d),
    (3, (192, 192), None),  # its third maps are the classes
)


class NIN(Module):
    """Shapes: (N, in_channels, H, W) -> (N, classes)."""

    def __init__(self, classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        self.features = Sequential(*_layers(in_channels, classes))

    def forward(self, x: Any) -> Any:
        return ops.flatten(ops.global_avg_pool2d(self.features(x)))


def _layers(c: int, classes: int) -> Iterator[Module]:
    for kernel, maps, pool in BLOCKS:
        for o, size in zip((*maps, classes), (kernel, 1, 1), strict=False):
            yield Conv2d(c, o, size, padding=size // 2, weight_init=init.he_normal)
            yield ReLU()
            c = o
        if pool is not None:
            yield pool(3, stride=2, ceil_mode=True)
            yield Dropout(0.5)


register("nin", NIN, (3, 32, 32), 10, "Lin et al. 2013, arXiv 1312.4400", 2013, top1=91.19,
         top1_source="the paper, CIFAR-10, table 2")
