"""LeNet-5 in the form it is taught in today.

Ref: LeCun, Bottou, Bengio and Haffner 1998, Gradient-based learning applied to document recognition, section II.B.
Differs: ReLU for the scaled tanh, maximum for the trainable subsampling, every map of C3 sees all six of S2, linear
classes for the RBF output, 28x28 images padded by 2 for 32x32 ones, and initial weights for ReLU (He et al. 2015).
61,706 parameters.
"""

from __future__ import annotations

from typing import Any

from striate import ops
from striate.models.registry import register
from striate.nn import Conv2d, Linear, Module, init

MAPS = (6, 16)  # C1 and C3, 5x5 kernels, each pooled 2x2
UNITS = (120, 84)  # C5 and F6


class LeNet5(Module):
    """Shapes: (N, in_channels, 28, 28) -> (N, classes)."""

    def __init__(self, classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.conv1 = Conv2d(in_channels, MAPS[0], 5, padding=2, weight_init=init.he_normal)
        self.conv2 = Conv2d(MAPS[0], MAPS[1], 5, weight_init=init.he_normal)
        self.fc1 = Linear(MAPS[1] * 5 * 5, UNITS[0], weight_init=init.he_normal)
        self.fc2 = Linear(UNITS[0], UNITS[1], weight_init=init.he_normal)
        self.fc3 = Linear(UNITS[1], classes)

    def forward(self, x: Any) -> Any:
        x = ops.max_pool2d(ops.relu(self.conv1(x)), 2)
        x = ops.max_pool2d(ops.relu(self.conv2(x)), 2)
        x = ops.relu(self.fc1(ops.flatten(x)))
        x = ops.relu(self.fc2(x))
        return self.fc3(x)


register("lenet5", LeNet5, (1, 28, 28), 10, "LeCun et al. 1998, Proc. IEEE 86(11)", 1998)
