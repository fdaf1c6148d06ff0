"""The blocks of residual networks, with and without their shortcut.

Ref: He, Zhang, Ren and Sun 2015, arXiv 1512.03385, section 3.3 and figure 5. Where the shape changes `shortcut` is "A"
(every second pixel, zeros for the new maps, no parameters) or "B" (a 1x1 convolution), elsewhere it is the identity;
residual=False leaves out every shortcut and nothing else: the plain twin. A bottleneck halves its maps in the first 1x1
(stride_in="1x1", the paper) or in the 3x3 (torchvision).
"""

from __future__ import annotations

from typing import Any, ClassVar

from striate import ops
from striate.errors import ConfigError
from striate.nn import BatchNorm2d, Conv2d, Module, Sequential, init
from striate.ops.arguments import flag


def convolution(c: int, o: int, kernel: int, stride: int = 1) -> Conv2d:
    """A convolution without bias, padded so that stride 1 keeps the size: a batch norm stands behind it."""
    return Conv2d(c, o, kernel, stride, kernel // 2, bias=False, weight_init=init.he_normal)


class ZeroPadded(Module):
    """Option A: every stride-th pixel, and maps of zeros. Shapes: (N, C, H, W) -> (N, C + maps, H/stride, W/stride)."""

    def __init__(self, stride: int, maps: int) -> None:
        super().__init__()
        self.stride, self.maps = stride, maps

    def forward(self, x: Any) -> Any:
        x = ops.avg_pool2d(x, 1, stride=self.stride) if self.stride > 1 else x
        return ops.pad_channels(x, self.maps) if self.maps else x


class Block(Module):
    """relu(F(x) + shortcut(x)), or relu(F(x)) in a plain network; a subclass is its F."""

    expansion: ClassVar[int]  # maps it gives for each that it has inside

    def join(self, c: int, o: int, stride: int, residual: bool, shortcut: str) -> None:
        """Makes the shortcut from `c` to `o` maps; the identity where the shape stays."""
        if shortcut not in ("A", "B"):
            raise ConfigError(f"resnet: shortcut must be 'A' or 'B', got {shortcut!r}")
        self.residual = flag("resnet", "residual", residual)
        self.downsample: Module | None = None
        if residual and (stride > 1 or c != o):
            projection = Sequential(convolution(c, o, 1, stride), BatchNorm2d(o))
            self.downsample = projection if shortcut == "B" else ZeroPadded(stride, o - c)

    def joined(self, y: Any, x: Any) -> Any:
        if not self.residual:
            return ops.relu(y)
        return ops.relu(ops.add(y, x if self.downsample is None else self.downsample(x)))


class BasicBlock(Block):
    """F of two 3x3. Shapes: (N, C, H, W) -> (N, maps, H/stride, W/stride)."""

    expansion = 1

    def __init__(self, c: int, maps: int, stride: int, *, residual: bool, shortcut: str) -> None:
        super().__init__()
        self.conv1, self.bn1 = convolution(c, maps, 3, stride), BatchNorm2d(maps)
        self.conv2, self.bn2 = convolution(maps, maps, 3), BatchNorm2d(maps)
        self.join(c, maps, stride, residual, shortcut)

    def forward(self, x: Any) -> Any:
        y = ops.relu(self.bn1(self.conv1(x)))
        return self.joined(self.bn2(self.conv2(y)), x)


class Bottleneck(Block):
    """F of 1x1, 3x3, 1x1. Shapes: (N, C, H, W) -> (N, 4 maps, H/stride, W/stride)."""

    expansion = 4

    def __init__(self, c: int, maps: int, stride: int, *, residual: bool, shortcut: str, stride_in: str) -> None:
        super().__init__()
        if stride_in not in ("1x1", "3x3"):
            raise ConfigError(f"resnet: stride_in must be '1x1' or '3x3', got {stride_in!r}")
        first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
        o = self.expansion * maps
        self.conv1, self.bn1 = convolution(c, maps, 1, first), BatchNorm2d(maps)
        self.conv2, self.bn2 = convolution(maps, maps, 3, second), BatchNorm2d(maps)
        self.conv3, self.bn3 = convolution(maps, o, 1), BatchNorm2d(o)
        self.join(c, o, stride, residual, shortcut)

    def forward(self, x: Any) -> Any:
        y = ops.relu(self.bn1(self.conv1(x)))
        y = ops.relu(self.bn2(self.conv2(y)))
        return self.joined(self.bn3(self.conv3(y)), x)
