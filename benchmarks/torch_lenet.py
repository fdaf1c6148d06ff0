"""LeNet-5 in PyTorch with the weights of a striate LeNet-5, for the benchmarks that compare the two."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from striate.nn import Module


def lenet5(net: Module) -> nn.Sequential:
    """The same layers in the same order, with a copy of the weights of `net`."""
    twin = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )
    states = [torch.from_numpy(np.array(s.array)) for s in net.states().values()]
    with torch.no_grad():
        for parameter, array in zip(twin.parameters(), states, strict=True):
            parameter.copy_(array)
    return twin
