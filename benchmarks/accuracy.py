"""Errors of striate's convolutions, algorithm by algorithm, and of PyTorch's, against float64.

    python benchmarks/accuracy.py [--json FILE]

Images are relu(N(0, 1)), weights N(0, 2 / fan_in), gradients N(0, 1). An error is divided by the standard deviation of
the float64 result: its root mean square and its largest over all elements.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import machine
import numpy as np
import torch

from striate.graph import table
from striate.kernels import native
from striate.kernels.algorithms import TILES

Array = np.ndarray[Any, Any]

# images, channels in and out, size of the map, kernel
LAYERS = [(1, 64, 64, 56, 3), (1, 256, 256, 28, 3), (1, 512, 512, 14, 3), (2, 64, 192, 27, 5), (8, 256, 256, 28, 3)]
DIRECT, FAST = (5e-7, 5e-6), (3e-6, 5e-5)  # the most that rms and largest error may be
HEADS = ("layer", "what", "algorithm", "rms", "largest", "torch rms", "torch largest", "within")


@dataclass(frozen=True)
class Problem:
    """One layer with its tensors, the float64 results and PyTorch's."""

    n: int
    c: int
    o: int
    size: int
    kernel: int

    def __str__(self) -> str:
        return f"{self.n} x {self.c} -> {self.o}, {self.size}, {self.kernel}x{self.kernel}"

    def tensors(self) -> dict[str, torch.Tensor]:
        """x, w and dy as float64 that float32 holds exactly."""
        generator = torch.Generator().manual_seed(0)
        shapes = {"x": (self.n, self.c, self.size, self.size), "w": (self.o, self.c, self.kernel, self.kernel),
                  "dy": (self.n, self.o, self.size, self.size)}
        found = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
        found["x"].relu_()
        found["w"] *= (2.0 / (self.c * self.kernel**2)) ** 0.5
        return {name: t.double() for name, t in found.items()}


def torch_results(p: Problem, x: torch.Tensor, w: torch.Tensor, dy: torch.Tensor) -> dict[str, Array]:
    """forward, dX and dW in the tensors' own precision."""
    dx, dw, _ = torch.ops.aten.convolution_backward(dy, x, w, None, [1, 1], [p.kernel // 2] * 2, [1, 1], False, [0, 0],
                                                    1, [True, True, False])
    y = torch.conv2d(x, w, None, padding=p.kernel // 2)
    return {"forward": y.numpy(), "dx": dx.numpy(), "dw": dw.numpy()}


def algorithms(p: Problem, x: Array, w: Array, dy: Array) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """(what, algorithm, call) of everything that precision "default" may compute this layer with."""
    k, nr = native.kernels(), native.target(native.default_isa()).nr
    pad = p.kernel // 2
    at = dict(stride=(1, 1), padding=(pad,) * 4, dilation=(1, 1), groups=1)
    packed = dict(groups=1, stride=(1, 1), dilation=(1, 1), nr=nr)
    kernel, plain = (p.kernel, p.kernel), dict(activation=0, pool=0, moments=0)
    yield "forward", "direct", lambda: k.conv2d_gemm(
        x, k.pack_filters(w, for_dx=0, **packed), None, None, out_channels=p.o, kernel=kernel, activation=0, moments=0,
        **at)[0]
    yield "dx", "direct", lambda: k.conv2d_dx_gemm(
        dy, k.pack_filters(w, for_dx=1, **packed), None, in_channels=p.c, size=(p.size, p.size), kernel=kernel, **at)
    yield "dw", "direct", lambda: k.conv2d_dw(x, dy, kernel=kernel, **at)
    for what, image, columns, for_dx in (("forward", x, p.o, 0), ("dx", dy, p.c, 1)):
        for tile in TILES[what, p.kernel][0]:
            yield what, f"F({tile}x{tile})", lambda tile=tile, image=image, columns=columns, for_dx=for_dx: (
                k.conv2d_winograd(image, k.winograd_filters(w, tile=tile, for_dx=for_dx, nr=nr), None, None,
                                  out_channels=columns, kernel=p.kernel, tile=tile, padding=(pad,) * 4, **plain)[0])
    for tile in TILES["dw", p.kernel][0]:
        yield "dw", f"F({tile}x{tile})", lambda tile=tile: k.conv2d_dw_winograd(
            x, dy, kernel=p.kernel, tile=tile, padding=(pad,) * 4)


def errors(result: Array, exact: Array) -> tuple[float, float]:
    """Root mean square and largest error over the standard deviation of the exact result."""
    difference = (np.asarray(result, np.float64) - exact) / exact.std()
    return float(np.sqrt(np.mean(difference**2))), float(np.abs(difference).max())


def measure(p: Problem) -> list[dict[str, Any]]:
    """A row an algorithm."""
    exact = p.tensors()
    single = {name: t.float() for name, t in exact.items()}
    truth, theirs = torch_results(p, **exact), torch_results(p, **single)
    rows = []
    for what, algorithm, call in algorithms(p, **{name: t.numpy() for name, t in single.items()}):
        rms, largest = errors(call(), truth[what])
        their_rms, their_largest = errors(theirs[what], truth[what])
        gate = DIRECT if algorithm == "direct" else FAST
        rows.append(dict(layer=str(p), what=what, algorithm=algorithm, rms=rms, largest=largest, torch_rms=their_rms,
                         torch_largest=their_largest, within=rms <= gate[0] and largest <= gate[1]))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json")
    args = parser.parse_args()
    native.set_threads(machine.THREADS)
    torch.set_num_threads(machine.THREADS)
    machine.heading(f"errors against float64, isa {native.default_isa()}; gates: direct {DIRECT}, fast {FAST}")
    rows = [row for layer in LAYERS for row in measure(Problem(*layer))]
    shown = [[f"{v:.1e}" if isinstance(v, float) else {True: "yes", False: "NO"}.get(v, v) for v in row.values()]
             for row in rows]
    print(table(HEADS, shown, right=HEADS[3:7]))
    machine.report({"rows": rows}, args.json)
    return 0 if all(row["within"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
