"""The networks that a calibration runs: small, of no use but to meet every kernel at sizes far apart.

None of them is one of the registry's. A design is a function of a width, so that channels fill the register tiles or do
not; a sample is a design, its width, image, batch size, and whether it trains. Maps reach from a cache's to memory's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from striate import ops
from striate.kernels.contract import Shape
from striate.nn import (
    GELU,
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    ChannelShuffle,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    HardSwish,
    LeakyReLU,
    Linear,
    LocalResponseNorm,
    LPPool2d,
    MaxPool2d,
    Module,
    ReLU,
    ReLU6,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
)

CLASSES = 37


def _conv(c: int, o: int, kernel: int, stride: int = 1, groups: int = 1, *, norm: bool = True) -> Sequential:
    """A convolution with ReLU behind it, and batch norm between."""
    conv = Conv2d(c, o, kernel, stride, kernel // 2, groups=groups, bias=not norm)
    return Sequential(conv, BatchNorm2d(o), ReLU()) if norm else Sequential(conv, ReLU())


class _Residual(Module):
    """relu(inside(x) + x), or without the ReLU."""

    def __init__(self, inside: Module, shortcut: Module | None = None, *, active: bool = True) -> None:
        super().__init__()
        self.inside, self.shortcut, self.active = inside, shortcut, active

    def forward(self, x: Any) -> Any:
        y = ops.add(self.inside(x), x if self.shortcut is None else self.shortcut(x))
        return ops.relu(y) if self.active else y


class _Branches(Module):
    """The outputs of several modules side by side; with `keep` the input comes first."""

    def __init__(self, *branches: Module, keep: bool = False) -> None:
        super().__init__()
        self.branches, self.keep = list(branches), keep

    def forward(self, x: Any) -> Any:
        return ops.concat([*([x] if self.keep else []), *(branch(x) for branch in self.branches)])


class _Halves(Module):
    """One half of the channels as it is, the other through a module."""

    def __init__(self, channels: int, inside: Module) -> None:
        super().__init__()
        self.half, self.inside = channels // 2, inside

    def forward(self, x: Any) -> Any:
        a, b = ops.split(x, (self.half, self.half))
        return ops.concat([a, self.inside(b)])


def _head(c: int, classes: int = CLASSES) -> tuple[Module, ...]:
    return GlobalAvgPool2d(), Flatten(), Linear(c, classes)


# ---- designs

def plain(w: int) -> Module:
    """3x3 with biases, pooled by 2 in the kernel; maps from large to small."""
    widths, layers, c = (w, 2 * w, 4 * w, 6 * w), [], 3
    for o in widths:
        layers += [_conv(c, o, 3, norm=False), _conv(o, o, 3, norm=False), MaxPool2d(2)]
        c = o
    return Sequential(*layers, *_head(c))


def bottlenecks(w: int) -> Module:
    """A 7x7 stem of stride 2, then blocks of 1x1, 3x3, 1x1 around which the input is added."""
    layers: list[Module] = [_conv(3, 2 * w, 7, 2), MaxPool2d(3, 2, 1)]
    c = 2 * w
    for inside, stride in ((w, 1), (w, 1), (2 * w, 2), (2 * w, 1), (5 * w, 2), (5 * w, 1)):
        o = 4 * inside
        block = Sequential(_conv(c, inside, 1), _conv(inside, inside, 3, stride), Conv2d(inside, o, 1, bias=False),
                           BatchNorm2d(o))
        projected = Sequential(Conv2d(c, o, 1, stride, bias=False), BatchNorm2d(o)) if c != o else None
        layers.append(_Residual(block, projected))
        c = o
    return Sequential(*layers, *_head(c))


def basics(w: int) -> Module:
    """Blocks of two 3x3 on small maps."""
    layers: list[Module] = [_conv(3, w, 3)]
    c = w
    for o, stride in ((w, 1), (2 * w, 2), (2 * w, 1), (3 * w, 2), (3 * w, 1)):
        block = Sequential(_conv(c, o, 3, stride), Conv2d(o, o, 3, 1, 1, bias=False), BatchNorm2d(o))
        projected = Sequential(Conv2d(c, o, 1, stride, bias=False), BatchNorm2d(o)) if c != o else None
        layers.append(_Residual(block, projected))
        c = o
    return Sequential(*layers, *_head(c))


def heads(w: int) -> Module:
    """Linear layers, the widest of them wider than a cache."""
    return Sequential(AvgPool2d(2), Flatten(), Dropout(0.5), Linear(3 * 16 * 16, 4 * w), ReLU(), Dropout(0.4),
                      Linear(4 * w, 6 * w), Tanh(), Linear(6 * w, w), Sigmoid(), Linear(w, 700))


def branches(w: int) -> Module:
    """1x1, 3x3, 5x5 and a pooling side by side."""
    def cell(c: int) -> Module:
        return _Branches(
            _conv(c, 2 * w, 1, norm=False),
            Sequential(_conv(c, 3 * w, 1, norm=False), _conv(3 * w, 4 * w, 3, norm=False)),
            Sequential(_conv(c, w, 1, norm=False), _conv(w, 2 * w, 5, norm=False)),
            Sequential(MaxPool2d(3, 1, 1), _conv(c, w, 1, norm=False)))
    o = 9 * w
    return Sequential(_conv(3, 2 * w, 5, 2, norm=False), LocalResponseNorm(5), MaxPool2d(3, 2, ceil_mode=True),
                      cell(2 * w), cell(o),
                      MaxPool2d(3, 2, ceil_mode=True), cell(o), AvgPool2d(3, 2), *_head(o))



def depthwise(w: int) -> Module:
    """Inverted bottlenecks: wide 1x1, depthwise 3x3 or 5x5, narrow 1x1."""
    layers: list[Module] = [Conv2d(3, 2 * w, 3, 2, 1, bias=False), BatchNorm2d(2 * w), ReLU6()]
    c = 2 * w
    for o, kernel, stride in ((2 * w, 3, 1), (3 * w, 3, 2), (3 * w, 5, 1), (6 * w, 3, 2), (6 * w, 3, 1), (9 * w, 5, 2)):
        m = 5 * c
        inside = Sequential(Conv2d(c, m, 1, bias=False), BatchNorm2d(m), ReLU6(),
                            Conv2d(m, m, kernel, stride, kernel // 2, groups=m, bias=False), BatchNorm2d(m), ReLU6(),
                            Conv2d(m, o, 1, bias=False), BatchNorm2d(o))
        layers.append(_Residual(inside, active=False) if c == o and stride == 1 else inside)
        c = o
    return Sequential(*layers, _conv(c, 4 * c, 1), *_head(4 * c))


def dense(w: int) -> Module:
    """Every layer sees all before it: norm, ReLU, 1x1, then 3x3 of few channels."""
    layers: list[Module] = [_conv(3, 4 * w, 5, 2), MaxPool2d(3, 2, 1)]
    c = 4 * w
    for count in (3, 4):
        for _ in range(count):
            grown = Sequential(BatchNorm2d(c), ReLU(), Conv2d(c, 4 * w, 1, bias=False), BatchNorm2d(4 * w), ReLU(),
                               Conv2d(4 * w, w, 3, 1, 1, bias=False))
            layers.append(_Branches(grown, keep=True))
            c += w
        layers += [BatchNorm2d(c), ReLU(), Conv2d(c, c // 2, 1, bias=False), ReLU6(), AvgPool2d(2)]
        c //= 2
    return Sequential(*layers, *_head(c))


def towers(w: int) -> Module:
    """Large kernels with strides, groups, overlapping pooling, dropout, wide linear layers behind."""
    return Sequential(
        Conv2d(3, 3 * w, 9, 3, 1), ReLU(), LocalResponseNorm(5), MaxPool2d(3, 2),
        Conv2d(3 * w, 8 * w, 5, 1, 2, groups=2), ReLU(), MaxPool2d(3, 2),
        Conv2d(8 * w, 10 * w, 3, 1, 1), ReLU(), Conv2d(10 * w, 8 * w, 3, 1, 1, groups=2), ReLU(),
        MaxPool2d(3, 2), AvgPool2d(2, 2), Flatten(), Dropout(0.5), Linear(8 * w * 9, 50 * w), ReLU(), Dropout(0.5),
        Linear(50 * w, 500))


def early(w: int) -> Module:
    """Tanh and averages on maps of few channels, without padding."""
    return Sequential(Conv2d(1, w, 5), Tanh(), AvgPool2d(2), Conv2d(w, 3 * w, 5), ReLU(), MaxPool2d(2), Flatten(),
                      Linear(3 * w * 9, 20 * w), Tanh(), Linear(20 * w, 10 * w), ReLU(), Linear(10 * w, 10), Softmax())


def halves(w: int) -> Module:
    """Half of the channels pass by; depthwise and 1x1 in the other half."""
    c = 4 * w
    unit = [_Halves(c, Sequential(_conv(c // 2, c // 2, 1), Conv2d(c // 2, c // 2, 3, 1, 1, groups=c // 2, bias=False),
                                  BatchNorm2d(c // 2), _conv(c // 2, c // 2, 1))) for _ in range(4)]
    return Sequential(_conv(3, c, 3, 2), MaxPool2d(3, 2, 1), unit[0], ChannelShuffle(2), unit[1], ReLU6(),
                      MaxPool2d(3, 1, 1), AvgPool2d(2), unit[2], ChannelShuffle(2), unit[3], *_head(c))


def late(w: int) -> Module:
    """Small maps of many channels: filters come from memory."""
    return Sequential(_conv(3, w, 3, 2), _conv(w, 6 * w, 1), _conv(6 * w, 6 * w, 3), _conv(6 * w, 8 * w, 3, 2),
                      _conv(8 * w, 8 * w, 3), _conv(8 * w, 2 * w, 1), _conv(2 * w, 12 * w, 1), *_head(12 * w, 900))


def bands(w: int) -> Module:
    """Kernels of one row or one column, and a 3x3 of stride 2 without padding."""
    row = [Sequential(Conv2d(4 * w, 4 * w, k, 1, (k[0] // 2, k[1] // 2), bias=False), BatchNorm2d(4 * w), ReLU())
           for k in ((1, 7), (7, 1), (1, 3), (3, 1))]
    return Sequential(_conv(3, w, 3, 2), Conv2d(w, 4 * w, 3, 2), ReLU(), *row, Conv2d(4 * w, 6 * w, 3, 2, bias=False),
                      BatchNorm2d(6 * w), ReLU(), AvgPool2d(3, 1, 1), *_head(6 * w))


def activations(w: int) -> Module:
    """One activation, pooling and rearrangement behind the other."""
    return Sequential(
        Conv2d(3, w, 3, 2, 1), LeakyReLU(0.1), LocalResponseNorm(5), GELU(), MaxPool2d(3, 1, 1), HardSwish(),
        ChannelShuffle(4), ReLU6(), Conv2d(w, w, 1), Tanh(), MaxPool2d(3, 2), Sigmoid(), LPPool2d(2, 2),
        Conv2d(w, w, 1, bias=False), BatchNorm2d(w), AvgPool2d(3, 1, 1), AdaptiveAvgPool2d(5), Flatten(),
        Linear(25 * w, CLASSES))


@dataclass(frozen=True)
class Sample:
    """A design at a width, what it is run on, and how."""

    design: Callable[[int], Module]
    width: int
    image: Shape
    batch: int
    training: bool = False

    def __str__(self) -> str:
        step = " training" if self.training else ""
        return f"{self.design.__name__}({self.width}) {'x'.join(map(str, self.image))} batch {self.batch}{step}"


def _square(side: int) -> Shape:
    return (3, side, side)


# design, width, image, batch sizes of inference, of training
TABLE: tuple[tuple[Callable[[int], Module], int, Shape, tuple[int, ...], tuple[int, ...]], ...] = (
    (plain, 24, _square(64), (1, 8), (4,)),
    (plain, 45, _square(112), (1,), (2,)),
    (plain, 64, _square(160), (1,), ()),
    (plain, 64, _square(96), (), (1,)),
    (bottlenecks, 40, _square(96), (1, 6), (6,)),
    (bottlenecks, 56, _square(160), (1,), (1,)),
    (bottlenecks, 16, _square(256), (4,), (4,)),
    (basics, 20, _square(32), (1, 32), (32,)),
    (basics, 16, _square(40), (4,), (8, 40)),
    (basics, 72, _square(56), (1,), (2,)),
    (heads, 600, _square(32), (1, 4, 24), (4, 48)),
    (heads, 60, _square(32), (1, 100), (32,)),
    (branches, 24, _square(128), (1, 6), (4,)),
    (branches, 46, _square(96), (1,), (2,)),
    (depthwise, 10, _square(128), (1, 6), (6,)),
    (depthwise, 20, _square(160), (1,), (1,)),
    (dense, 24, _square(128), (1, 4), (4,)),
    (towers, 30, _square(200), (1, 3), (1,)),
    (towers, 10, _square(200), (1,), (8,)),
    (early, 8, (1, 24, 24), (1, 16, 200), (16, 64, 200)),
    (early, 14, (1, 24, 24), (1, 64), (32,)),
    (halves, 32, _square(112), (1, 6), (6,)),
    (late, 64, _square(28), (1, 4), (2,)),
    (late, 88, _square(14), (1,), (1, 5)),
    (activations, 16, _square(32), (1, 8), (8,)),
    (activations, 64, _square(160), (2,), (4,)),
    (bands, 36, _square(96), (1, 4), (4,)),
)
SAMPLES = tuple(
    Sample(design, width, image, batch, training)
    for design, width, image, inference, step in TABLE
    for training, batches in ((False, inference), (True, step)) for batch in batches
)
PROBE = Sample(basics, 24, _square(32), 8)
