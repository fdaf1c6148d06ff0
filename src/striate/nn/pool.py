"""Layers that pool: no states, one operation each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from striate import ops
from striate.graph import Array
from striate.nn.module import Module


class MaxPool2d(Module):
    """ops.max_pool2d. Shapes: (N, C, H, W) -> (N, C, OH, OW)."""

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
                 ceil_mode: bool = False) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.dilation, self.ceil_mode = dilation, ceil_mode

    def forward(self, x: Any) -> Any:
        return ops.max_pool2d(x, self.kernel_size, stride=self.stride, padding=self.padding, dilation=self.dilation,
                              ceil_mode=self.ceil_mode)

    def extra_repr(self) -> str:
        return (
            f"{self.kernel_size}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(Module):
    """ops.avg_pool2d. Shapes: (N, C, H, W) -> (N, C, OH, OW)."""

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
                 count_include_pad: bool = True) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, x: Any) -> Any:
        return ops.avg_pool2d(x, self.kernel_size, stride=self.stride, padding=self.padding, ceil_mode=self.ceil_mode,
                              count_include_pad=self.count_include_pad)

    def extra_repr(self) -> str:
        return (
            f"{self.kernel_size}, stride={self.stride}, padding={self.padding}, ceil_mode={self.ceil_mode}, "
            f"count_include_pad={self.count_include_pad}"
        )


class LPPool2d(Module):
    """ops.lp_pool2d. Shapes: (N, C, H, W) -> (N, C, OH, OW)."""

    def __init__(self, p: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> None:
        super().__init__()
        self.p, self.kernel_size, self.stride, self.ceil_mode = p, kernel_size, stride, ceil_mode

    def forward(self, x: Any) -> Any:
        return ops.lp_pool2d(x, self.p, self.kernel_size, stride=self.stride, ceil_mode=self.ceil_mode)

    def extra_repr(self) -> str:
        return f"{self.p}, {self.kernel_size}, stride={self.stride}, ceil_mode={self.ceil_mode}"


class Pool2d(Module):
    """ops.pool2d: pooling by a function of yours and its derivative. Shapes: (N, C, H, W) -> (N, C, OH, OW)."""

    def __init__(self, kernel_size: Any, function: Callable[[Array], Array],
                 derivative: Callable[[Array, Array], Array] | None = None, stride: Any = None, padding: Any = 0,
                 padding_value: float = 0.0) -> None:
        super().__init__()
        self.kernel_size, self.function, self.derivative = kernel_size, function, derivative
        self.stride, self.padding, self.padding_value = stride, padding, padding_value

    def forward(self, x: Any) -> Any:
        return ops.pool2d(x, self.kernel_size, function=self.function, derivative=self.derivative, stride=self.stride,
                          padding=self.padding, padding_value=self.padding_value)

    def extra_repr(self) -> str:
        return f"{self.kernel_size}, {getattr(self.function, '__name__', self.function)}, stride={self.stride}"


class GlobalAvgPool2d(Module):
    """ops.global_avg_pool2d. Shapes: (N, C, H, W) -> (N, C, 1, 1)."""

    def forward(self, x: Any) -> Any:
        return ops.global_avg_pool2d(x)


class AdaptiveAvgPool2d(Module):
    """ops.adaptive_avg_pool2d. Shapes: (N, C, H, W) -> (N, C, OH, OW) with output_size = OH = OW or (OH, OW)."""

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Any) -> Any:
        return ops.adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self) -> str:
        return f"{self.output_size}"
