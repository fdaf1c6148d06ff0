"""MobileNet-V2: inverted residuals, wide depthwise convolutions between thin 1x1 ones.

Ref: Sandler et al. 2018, MobileNetV2: inverted residuals and linear bottlenecks, arXiv 1801.04381, table 2. Differs as
torchvision's does: images are padded alike on all sides; weights start from He et al. 2015. 3,504,872 parameters.
"""

from __future__ import annotations

from typing import Any

from striate import ops
from striate.models.registry import register
from striate.nn import BatchNorm2d, Conv2d, Dropout, Linear, Module, ReLU6, Sequential, init

# t, c, n, s of table 2, and the kernel: expansion, maps, blocks, stride of the first of them
TABLE = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 32, 3, 2, 3),
    (6, 64, 4, 2, 3),
    (6, 96, 3, 1, 3),
    (6, 160, 3, 2, 3),
    (6, 320, 1, 1, 3),
)
STEM, LAST = 32, 1280  # maps of the first and of the last convolution


class InvertedResidual(Module):
    """1x1 to t times the maps, depthwise, 1x1 without activation; x added where the shape is x's.

    Shapes: (N, c, H, W) -> (N, o, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, net: type[MobileNetV2], c: int, o: int, expansion: int, stride: int, kernel: int) -> None:
        super().__init__()
        inner = c * expansion
        expand = [net.convolution(c, inner, 1)] if expansion > 1 else []
        depthwise = net.convolution(inner, inner, kernel, stride, groups=inner)
        project = Conv2d(inner, o, 1, bias=False, weight_init=init.he_normal)
        self.conv = Sequential(*expand, depthwise, project, BatchNorm2d(o, eps=net.eps))
        self.residual = stride == 1 and c == o

    def forward(self, x: Any) -> Any:
        y = self.conv(x)
        return ops.add(x, y) if self.residual else y


class MobileNetV2(Module):
    """Shapes: (N, in_channels, 224, 224) -> (N, classes), any H and W."""

    table = TABLE
    eps = 1e-5  # of its batch norms

    def __init__(self, classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        layers: list[Module] = [self.convolution(in_channels, STEM, 3, 2)]
        c = STEM
        for expansion, o, blocks, stride, kernel in self.table:
            for i in range(blocks):
                layers.append(InvertedResidual(type(self), c, o, expansion, stride if i == 0 else 1, kernel))
                c = o
        self.features = Sequential(*layers, self.convolution(c, LAST, 1))
        self.classifier = Sequential(Dropout(0.2), Linear(LAST, classes))

    def forward(self, x: Any) -> Any:
        return self.classifier(ops.flatten(ops.global_avg_pool2d(self.features(x))))

    @classmethod
    def convolution(cls, c: int, o: int, kernel: int, stride: int = 1, groups: int = 1) -> Sequential:
        """A convolution without bias, batch norm and relu6."""
        conv = Conv2d(c, o, kernel, stride, kernel // 2, groups=groups, bias=False, weight_init=init.he_normal)
        return Sequential(conv, BatchNorm2d(o, eps=cls.eps), ReLU6())


register("mobilenet_v2", MobileNetV2, (3, 224, 224), 1000, "Sandler et al. 2018, arXiv 1801.04381", 2018, top1=71.878,
         top1_source="torchvision")
