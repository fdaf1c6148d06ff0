"""Problem: one convolution, or one of its gradients, apart from its numbers: what an algorithm is chosen for."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from striate.kernels.contract import Shape, Spec, conv_size


@dataclass(frozen=True)
class Problem:
    """Sizes and geometry; c, o, size and out are those of the forward pass whatever the kind.

    kind: forward, dx or dw. epilogue: "moments" or "max_pool" if the result is wanted with its statistics, or pooled; a
    gradient with "max_pool" is given behind the pool. `out` is the map before it.
    """

    kind: str
    n: int
    c: int
    o: int
    size: Shape  # (H, W)
    out: Shape  # (OH, OW)
    kernel: Shape
    stride: Shape
    padding: Shape  # top, bottom, left, right
    dilation: Shape
    groups: int
    epilogue: str = ""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the definition, whatever the algorithm."""
        return self.n * self.o * math.prod(self.out) * (self.c // self.groups) * math.prod(self.kernel)

    @property
    def depth(self) -> int:
        """Channels that are summed over: those of x, for dX those of dy."""
        return self.o if self.kind == "dx" else self.c

    @property
    def columns(self) -> int:
        """Channels of the result: those of y, for dX those of x."""
        return self.c if self.kind == "dx" else self.o

    @property
    def pixels(self) -> Shape:
        """Height and width of the map that tiles are laid over: that of y, for dX that of x."""
        return self.size if self.kind == "dx" else self.out

    def __str__(self) -> str:
        """The name that a tuned table knows it by."""
        text = f"{self.kind} {self.n}x{self.c}x{_by(self.size)} {self.o}x{_by(self.out)} kernel {_by(self.kernel)}"
        for name, value, usual in (("stride", self.stride, (1, 1)), ("padding", self.padding, (0, 0, 0, 0)),
                                   ("dilation", self.dilation, (1, 1)), ("groups", (self.groups,), (1,))):
            text += f" {name} {_by(value)}" if value != usual else ""
        return f"{text} {self.epilogue}".rstrip()


def _by(sizes: Shape) -> str:
    return "x".join(map(str, sizes))


# ---- the problem that a definition of the contract stands for; arguments as in its row

def conv2d(x: Any, w: Any, *_: Any, stride: Shape, padding: Shape, dilation: Shape, groups: int, activation: int = 0,
           epilogue: str = "") -> Problem:
    top, bottom, left, right = padding
    out = (conv_size("conv2d", "height", x.shape[2], w.shape[2], stride[0], top, bottom, dilation[0]),
           conv_size("conv2d", "width", x.shape[3], w.shape[3], stride[1], left, right, dilation[1]))
    return Problem("forward", x.shape[0], x.shape[1], w.shape[0], tuple(x.shape[2:]), out, tuple(w.shape[2:]),
                   tuple(stride), tuple(padding), tuple(dilation), groups, epilogue)


def conv2d_moments(*tensors: Any, **at: Any) -> Problem:
    return conv2d(*tensors, **at, epilogue="moments")


def conv2d_max_pool(*tensors: Any, **at: Any) -> Problem:
    return conv2d(*tensors, **at, epilogue="max_pool")


def conv2d_dx(dy: Any, w: Any, *, size: Shape, stride: Shape, padding: Shape, dilation: Shape, groups: int) -> Problem:
    return Problem("dx", dy.shape[0], w.shape[1] * groups, w.shape[0], tuple(size), tuple(dy.shape[2:]),
                   tuple(w.shape[2:]), tuple(stride), tuple(padding), tuple(dilation), groups)


def conv2d_dx_add(dy: Any, w: Any, r: Any, **at: Any) -> Problem:
    return conv2d_dx(dy, w, **at)


def conv2d_max_pool_dx(dy: Any, index: Any, y: Any, w: Any, *, size: Shape, **at: Any) -> Problem:
    x = Spec((dy.shape[0], w.shape[1] * at["groups"], *size))
    return replace(conv2d_max_pool(x, w, **at), kind="dx")


def conv2d_max_pool_dw(x: Any, dy: Any, *_: Any, kernel: Shape, **at: Any) -> Problem:
    w = Spec((dy.shape[1], x.shape[1] // at["groups"], *kernel))
    return replace(conv2d_max_pool(x, w, **at), kind="dw")


def conv2d_dw(x: Any, dy: Any, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape,
              groups: int) -> Problem:
    return Problem("dw", x.shape[0], x.shape[1], dy.shape[1], tuple(x.shape[2:]), tuple(dy.shape[2:]), tuple(kernel),
                   tuple(stride), tuple(padding), tuple(dilation), groups)


def _matrix(kind: str, n: int, c: int, o: int) -> Problem:
    one = (1, 1)
    return Problem(kind, n, c, o, one, one, one, one, (0, 0, 0, 0), one, 1)


def linear(x: Any, w: Any, *_: Any, activation: int = 0) -> Problem:
    return _matrix("forward", x.shape[0], x.shape[1], w.shape[0])


def linear_dx(dy: Any, w: Any) -> Problem:
    return _matrix("dx", dy.shape[0], w.shape[1], w.shape[0])


def linear_dw(x: Any, dy: Any, *_: Any, **__: Any) -> Problem:
    return _matrix("dw", x.shape[0], x.shape[1], dy.shape[1])


PROBLEMS = {
    f.__name__: f
    for f in (conv2d, conv2d_moments, conv2d_max_pool, conv2d_dx, conv2d_dx_add, conv2d_dw, conv2d_max_pool_dx,
              conv2d_max_pool_dw, linear, linear_dx, linear_dw)
} | {"linear_dw_sgd": linear_dw, "linear_dw_adam": linear_dw}  # with the update behind it
