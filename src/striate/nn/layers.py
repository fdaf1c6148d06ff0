"""Layers: states and one or two operations, under the argument names PyTorch users know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from striate import ops
from striate.errors import ConfigError
from striate.graph import State
from striate.kernels.contract import Spec, checked
from striate.nn import init
from striate.nn.init import Initializer
from striate.nn.module import Module
from striate.ops.arguments import flag, integer, number, pair


def _state(shape: tuple[int, ...], initializer: Initializer, trainable: bool = True) -> State:
    checked("layer", Spec(shape))
    return State.zeros(shape, trainable=trainable, initializer=initializer)


class Conv2d(Module):
    """ops.conv2d with a weight (O, C/G, KH, KW) and a bias (O,).

    Shapes: (N, in_channels, H, W) -> (N, out_channels, OH, OW). padding as ops.conv2d's; flip=True convolves truly.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
                 dilation: Any = 1, groups: int = 1, bias: bool = True, *, flip: bool = False,
                 weight_init: Callable[[int], Initializer] = init.lecun_uniform) -> None:
        super().__init__()
        self.in_channels = integer("Conv2d", "in_channels", in_channels)
        self.out_channels = integer("Conv2d", "out_channels", out_channels)
        self.kernel_size = pair("Conv2d", "kernel_size", kernel_size)
        self.stride, self.padding, self.dilation, self.flip = stride, padding, dilation, flip
        self.groups = integer("Conv2d", "groups", groups)
        if in_channels % groups or out_channels % groups:
            raise ConfigError(
                f"Conv2d: in_channels and out_channels must be multiples of groups = {groups}, "
                f"got {in_channels} and {out_channels}"
            )
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        fan_in = shape[1] * shape[2] * shape[3]
        self.weight = _state(shape, weight_init(fan_in))
        self.bias = _state((out_channels,), init.lecun_uniform(fan_in)) if flag("Conv2d", "bias", bias) else None

    def forward(self, x: Any) -> Any:
        return ops.conv2d(x, self.weight, self.bias, stride=self.stride, padding=self.padding, dilation=self.dilation,
                          groups=self.groups, flip=self.flip)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding!r}, dilation={self.dilation}, groups={self.groups}, bias={self.bias is not None}"
            + (", flip=True" if self.flip else "")
        )


class Linear(Module):
    """ops.linear with a weight (O, C) and a bias (O,). Shapes: (N, in_features) -> (N, out_features)."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, *,
                 weight_init: Callable[[int], Initializer] = init.lecun_uniform) -> None:
        super().__init__()
        self.in_features = integer("Linear", "in_features", in_features)
        self.out_features = integer("Linear", "out_features", out_features)
        self.weight = _state((out_features, in_features), weight_init(in_features))
        self.bias = _state((out_features,), init.lecun_uniform(in_features)) if flag("Linear", "bias", bias) else None

    def forward(self, x: Any) -> Any:
        return ops.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class RBF(Module):
    """ops.rbf with the given centres, which training leaves as they are. Shapes: (N, C) -> (N, K), centers (K, C)."""

    def __init__(self, centers: Any) -> None:
        super().__init__()
        given = np.asarray(centers, np.float32)
        if given.ndim != 2:
            raise ConfigError(f"RBF: centers must have shape (K, C), got {given.shape}")
        self.centers = State(given, trainable=False)

    def forward(self, x: Any) -> Any:
        return ops.rbf(x, self.centers)

    def extra_repr(self) -> str:
        return f"{self.centers.shape[1]}, {self.centers.shape[0]}"


class BatchNorm2d(Module):
    """ops.batch_norm with trainable scale and shift and running statistics. Shapes: (N, C, H, W) or (N, C) -> same."""

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True) -> None:
        super().__init__()
        self.num_features = integer("BatchNorm2d", "num_features", num_features)
        self.eps = number("BatchNorm2d", "eps", eps, 0.0)
        self.momentum = number("BatchNorm2d", "momentum", momentum, 0.0, 1.0)
        shape = (num_features,)
        self.weight = _state(shape, init.ones) if flag("BatchNorm2d", "affine", affine) else None
        self.bias = _state(shape, init.zeros) if affine else None
        self.running_mean = _state(shape, init.zeros, trainable=False)
        self.running_var = _state(shape, init.ones, trainable=False)

    def forward(self, x: Any) -> Any:
        return ops.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias,
                              training=x.graph.training, momentum=self.momentum, eps=self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.weight is not None}"


class LocalResponseNorm(Module):
    """ops.local_response_norm: PyTorch's alpha is size times this one. Shapes: (N, C, H, W) or (N, C) -> same."""

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Any) -> Any:
        return ops.local_response_norm(x, self.size, alpha=self.alpha, beta=self.beta, k=self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class Dropout(Module):
    """ops.dropout in training, nothing otherwise. The mask is keyed by (seed, step, this layer's path)."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = number("Dropout", "p", p, 0.0, 1.0)

    def forward(self, x: Any) -> Any:
        return ops.dropout(x, self.p) if x.graph.training else x

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Flatten(Module):
    """ops.flatten. Shapes: (N, C, H, W) -> (N, C*H*W)."""

    def forward(self, x: Any) -> Any:
        return ops.flatten(x)


class ChannelShuffle(Module):
    """ops.channel_shuffle. Shapes: (N, C, H, W) or (N, C) -> same."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = integer("ChannelShuffle", "groups", groups)

    def forward(self, x: Any) -> Any:
        return ops.channel_shuffle(x, self.groups)

    def extra_repr(self) -> str:
        return f"{self.groups}"


class Sequential(Module):
    """Modules one behind the other, named "0", "1", ... or by a dict's keys."""

    def __init__(self, *modules: Module | dict[str, Module]) -> None:
        super().__init__()
        named = modules[0] if len(modules) == 1 and isinstance(modules[0], dict) else dict(enumerate(modules))
        for name, module in named.items():
            if not isinstance(module, Module):
                raise ConfigError(f"Sequential: needs Modules, got {type(module).__name__} at {name}")
            setattr(self, str(name), module)

    def forward(self, x: Any) -> Any:
        for _, module in self.children():
            x = module(x)
        return x
