"""Layers that apply a function to every element, or to the classes: no states, one operation each."""

from __future__ import annotations

from typing import Any

from striate import ops
from striate.nn.module import Module


class ReLU(Module):
    """ops.relu."""

    def forward(self, x: Any) -> Any:
        return ops.relu(x)


class ReLU6(Module):
    """ops.relu6."""

    def forward(self, x: Any) -> Any:
        return ops.relu6(x)


class LeakyReLU(Module):
    """ops.leaky_relu."""

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Any) -> Any:
        return ops.leaky_relu(x, self.slope)

    def extra_repr(self) -> str:
        return f"slope={self.slope}"


class Tanh(Module):
    """ops.tanh."""

    def forward(self, x: Any) -> Any:
        return ops.tanh(x)


class Sigmoid(Module):
    """ops.sigmoid."""

    def forward(self, x: Any) -> Any:
        return ops.sigmoid(x)


class HardSwish(Module):
    """ops.hard_swish."""

    def forward(self, x: Any) -> Any:
        return ops.hard_swish(x)


class GELU(Module):
    """ops.gelu; approximate is "none" or "tanh"."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, x: Any) -> Any:
        return ops.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softmax(Module):
    """ops.softmax over axis 1."""

    def forward(self, x: Any) -> Any:
        return ops.softmax(x)
