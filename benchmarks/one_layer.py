"""A convolution or linear layer by itself: programs of forward, dX and dW as a training step has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import machine
import numpy as np

from striate.engine.choose import choose
from striate.engine.program import Program
from striate.engine.record import Recorder
from striate.engine.tape import Tape, TapeInput
from striate.graph import State
from striate.kernels import native
from striate.kernels.contract import ROWS, Shape, Spec

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Layer:
    """Shapes of images and weight; stride, padding (four sides), dilation and groups, for a linear layer none."""

    x: Shape
    w: Shape
    at: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def conv2d(cls, x: Shape, w: Shape, stride: Any = (1, 1), padding: Any = (0, 0, 0, 0), dilation: Any = (1, 1),
               groups: int = 1) -> Layer:
        return cls(x, w, (("stride", stride), ("padding", padding), ("dilation", dilation), ("groups", groups)))

    @property
    def y(self) -> Shape:
        kind = "conv2d" if self.at else "linear"
        return ROWS[kind].shapes(Spec(self.x), Spec(self.w), None, **dict(self.at), activation=0)[0].shape

    @property
    def flops(self) -> float:
        """Of forward, of dX and of dW alike."""
        pixels = self.y[0] * int(np.prod(self.y[2:]))
        return 2.0 * pixels * int(np.prod(self.w))

    def arrays(self) -> dict[str, Array]:
        """Random x, w and dy."""
        rng = np.random.default_rng(0)
        return {name: rng.standard_normal(shape, np.float32) for name, shape in
                (("x", self.x), ("w", self.w), ("dy", self.y))}

    def calls(self) -> Mapping[str, Callable[..., Any]]:
        """Kind -> what it asks of a kernel set."""
        at = dict(self.at)
        if not at:
            return {
                "forward": lambda k, x, dy, w: k.linear(x, w, None, activation=0),
                "dx": lambda k, x, dy, w: k.linear_dx(dy, w),
                "dw": lambda k, x, dy, w: k.linear_dw(x, dy),
            }
        return {
            "forward": lambda k, x, dy, w: k.conv2d(x, w, None, None, activation=0, **at),
            "dx": lambda k, x, dy, w: k.conv2d_dx(dy, w, size=self.x[2:], **at),
            "dw": lambda k, x, dy, w: k.conv2d_dw(x, dy, kernel=self.w[2:], **at),
        }


def programs(layer: Layer, isa: str, precision: str = "default") -> dict[str, tuple[Program, dict[str, Array]]]:
    """Kind -> (program of one kernel and its packing, its inputs)."""
    arrays = layer.arrays()
    w = State(arrays.pop("w"), trainable=True, path="w")
    found = {}
    for kind, call in layer.calls().items():
        k = Recorder(native.target(isa, precision, training=True))
        inputs = {name: k.buffer(name, Spec(a.shape)) for name, a in arrays.items()}
        weight = k.buffer("w", Spec(w.shape), dense=True, source=w)
        # a training step packs the weights each time: an update that keeps w says that this is one
        result = call(k, inputs["x"], inputs["dy"], weight)
        tape = Tape(k.calls, [TapeInput(n, b, 0) for n, b in inputs.items()], {"y": result}, [(w, k.copy(weight))],
                    {w: weight})
        found[kind] = Program(choose(tape, k.target), isa=isa, threads=machine.THREADS), arrays
    return found


def seconds(program: Program, arrays: dict[str, Array]) -> float:
    """Time of all calls of one run but the copy of w."""
    return sum(c.ns for c in program.profile(arrays).calls if c.kernel != "copy") / 1e9
