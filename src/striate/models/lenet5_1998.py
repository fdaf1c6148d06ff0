"""LeNet-5 as it was published: sparse C3, trainable subsampling, scaled tanh, RBF output.

Ref: LeCun, Bottou, Bengio and Haffner 1998, Gradient-based learning applied to document recognition, Proc. IEEE 86(11),
section II.B, table I, eq. 5 to 9. 60,000 trainable parameters. Differs: the bitmaps that stand for the digits are drawn
here after figure 3; a class beyond the tenth has random signs, the paper's other way; logits are the RBF outputs with
their sign changed, so that the nearest class is the largest and cross_entropy is eq. 9 without its constant j; biases
start as PyTorch's do.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np

from striate import ops
from striate.graph import Array, State
from striate.kernels import random
from striate.models.registry import register
from striate.nn import RBF, Conv2d, Linear, Module, init

C1, C5, F6 = 6, 120, 84  # maps and units; F6 has 7 x 12, a pixel of a bitmap each
# Table I: which maps of S2 each of the 16 maps of C3 sees
C3 = ("012", "123", "234", "345", "045", "015", "0123", "1234", "2345", "0345", "0145", "0125", "0134", "1245", "0235",
      "012345")
DIGITS = """
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
..###.. ...#... .####.. .#####. .....#. ####### ..####. ####### ..###.. ..###..
.#...#. ..##... #....#. #.....# ....##. #...... .#..... ......# .#...#. .#...#.
#.....# .#.#... ......# ......# ...#.#. #...... #...... ......# #.....# #.....#
#.....# ...#... ......# ......# ..#..#. #...... #...... .....#. .#...#. #.....#
#.....# ...#... .....#. ..####. .#...#. ######. #.###.. .....#. ..###.. .#...##
#.....# ...#... ....#.. ......# #....#. ......# ##...#. ....#.. .#...#. ..###.#
#.....# ...#... ...#... ......# ####### ......# #.....# ....#.. #.....# ......#
#.....# ...#... ..#.... ......# .....#. ......# #.....# ...#... #.....# ......#
.#...#. ...#... .#..... #.....# .....#. #.....# .#...#. ...#... .#...#. .....#.
..###.. .#####. ####### .#####. .....#. .#####. ..###.. ...#... ..###.. .####..
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
"""


def squash(x: Any) -> Any:
    """1.7159 tanh(2x/3), eq. 6: f(1) = 1, f(-1) = -1."""
    return ops.mul(ops.tanh(ops.mul(x, 2 / 3)), 1.7159)


def uniform(fan_in: int) -> init.Initializer:
    """U(-2.4 / fan_in, 2.4 / fan_in)."""
    return init.uniform(2.4 / fan_in)


def bitmaps(classes: int) -> Array:
    """What F6 should be for each class, of -1 and 1. Shape (classes, 84)."""
    rows = [[[1 if p == "#" else -1 for p in digit] for digit in row.split()] for row in DIGITS.strip().split("\n")]
    digits = np.array(rows).swapaxes(0, 1).reshape(-1, F6)
    signs = random.uniform(0, random.key_of("lenet5_1998"), max(classes - len(digits), 0) * F6) < 0.5
    return np.concatenate([digits, np.where(signs, -1, 1).reshape(-1, F6)])[:classes].astype(np.float32)


class Subsampling(Module):
    """The sum of every 2x2 pixels times a coefficient plus a bias. Shapes: (N, maps, H, W) -> (N, maps, H/2, W/2)."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.coefficient = State.zeros((1, maps, 1, 1), trainable=True, initializer=uniform(4))
        self.bias = State.zeros((1, maps, 1, 1), trainable=True, initializer=uniform(4))

    def forward(self, x: Any) -> Any:
        return ops.add(ops.mul(ops.lp_pool2d(x, 1, 2), self.coefficient), self.bias)


class SparseConv2d(Module):
    """C3: each map sees what the table says; maps that see as many are one grouped convolution.

    Shapes: (N, C, H, W) -> (N, O, H - 4, W - 4).
    """

    def __init__(self, table: tuple[str, ...]) -> None:
        super().__init__()
        self.runs = tuple(tuple(run) for _, run in groupby(table, len))
        self.parts = [Conv2d(len("".join(run)), len(run), 5, groups=len(run), weight_init=uniform) for run in self.runs]

    def forward(self, x: Any) -> Any:
        maps = ops.split(x, [1] * x.shape[1])
        seen = [ops.concat([maps[int(i)] for i in "".join(run)]) for run in self.runs]
        return ops.concat([part(inputs) for part, inputs in zip(self.parts, seen, strict=True)])


class LeNet5(Module):
    """Shapes: (N, in_channels, 32, 32) -> (N, classes); images of 28x28 get a border of 2 zeros."""

    def __init__(self, classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.c1, self.s2 = Conv2d(in_channels, C1, 5, weight_init=uniform), Subsampling(C1)
        self.c3, self.s4 = SparseConv2d(C3), Subsampling(len(C3))
        self.c5, self.f6 = Conv2d(len(C3), C5, 5, weight_init=uniform), Linear(C5, F6, weight_init=uniform)
        self.output = RBF(bitmaps(classes))

    def forward(self, x: Any) -> Any:
        x = ops.pad(x, 2) if x.shape[2:] == (28, 28) else x
        x = squash(self.s2(squash(self.c1(x))))
        x = squash(self.s4(squash(self.c3(x))))
        x = squash(self.f6(ops.flatten(squash(self.c5(x)))))
        return ops.mul(self.output(x), -1.0)


register("lenet5_1998", LeNet5, (1, 32, 32), 10, "LeCun et al. 1998, Proc. IEEE 86(11)", 1998, top1=99.05,
         top1_source="the paper, MNIST, no distortions")
