"""EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excite, with relu6 for swish.

Ref: Tan and Le 2019, EfficientNet, arXiv 1905.11946, table 1, and its authors' EfficientNet-Lite of 2020. Differs: no
blocks are dropped in training. As theirs, and unlike PyTorch's ports, maps are padded by what the windows need, an odd
row at the bottom and at the right (TensorFlow's "same"). Layers are named as MobileNet-V2's. 4,652,008 parameters.
"""

from __future__ import annotations

from typing import Any

from striate import ops
from striate.models.mobilenet_v2 import MobileNetV2
from striate.models.registry import register
from striate.nn import BatchNorm2d, Conv2d, ReLU6, Sequential, init

# expansion, maps, blocks, stride of the first of them, kernel: stages 2 to 8 of table 1
TABLE = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


class SamePadded(Conv2d):
    """Conv2d whose padding follows the image: OH = ceil(H / stride), the larger half at the bottom and the right."""

    def forward(self, x: Any) -> Any:
        padding = tuple(_sides(size, kernel, self.stride)
                        for size, kernel in zip(x.shape[2:], self.kernel_size, strict=True))
        return ops.conv2d(x, self.weight, self.bias, stride=self.stride, padding=padding, groups=self.groups)


def _sides(size: int, kernel: int, stride: int) -> tuple[int, int]:
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class EfficientNetLite0(MobileNetV2):
    """Shapes: (N, in_channels, 224, 224) -> (N, classes), any H and W."""

    table, eps = TABLE, 1e-3

    @classmethod
    def convolution(cls, c: int, o: int, kernel: int, stride: int = 1, groups: int = 1) -> Sequential:
        """A convolution without bias, batch norm and relu6."""
        conv = SamePadded(c, o, kernel, stride, groups=groups, bias=False, weight_init=init.he_normal)
        return Sequential(conv, BatchNorm2d(o, eps=cls.eps, momentum=0.01), ReLU6())


register("efficientnet_lite0", EfficientNetLite0, (3, 224, 224), 1000, "Tan and Le 2019, arXiv 1905.11946", 2020,
         top1=75.1, top1_source="its authors, 2020")
