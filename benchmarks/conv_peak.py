"""The direct conv2d, forward, dX and dW, on ResNet-50's stride-1 layers as a fraction of the FMA peak of the same run.

    python benchmarks/conv_peak.py [--batch 8] [--rounds 15] [--json FILE]

Each is a program of its own, fed with ordinary arrays; counted are all its calls (packing the filters included), not
the copies of arrays in and out. Peak and layers are measured in turns, each program after a run that warms its memory:
a layer's fraction is its median over the rounds. (Not its best: a disturbed peak makes single fractions exceed 1.)
"""

from __future__ import annotations

import argparse
import math
import statistics

import machine
from one_layer import Layer, programs, seconds

from striate.kernels import _native, native

# (C, O, size of the map, kernel): He et al. 2015, arXiv 1512.03385, table 1, column 50-layer
LAYERS = [
    (64, 64, 56, 1), (64, 256, 56, 1), (256, 64, 56, 1), (256, 128, 56, 1), (128, 512, 28, 1), (512, 128, 28, 1),
    (512, 256, 28, 1), (256, 1024, 14, 1), (1024, 256, 14, 1), (1024, 512, 14, 1), (512, 2048, 7, 1), (2048, 512, 7, 1),
    (64, 64, 56, 3), (128, 128, 28, 3), (256, 256, 14, 3), (512, 512, 7, 3),
]
BARS = {"forward": 0.75, "dx": 0.70, "dw": 0.65}
PEAK_SECONDS = 0.05


def measure(layer: tuple[int, int, int, int], batch: int, rounds: int, isa: str) -> dict[str, dict[str, float]]:
    """Kind -> its median GFLOP/s and fraction of the peak."""
    c, o, size, kernel = layer
    flops = 2.0 * batch * c * o * size * size * kernel * kernel
    found = programs(Layer.conv2d((batch, c, size, size), (o, c, kernel, kernel), padding=(kernel // 2,) * 4),
                     isa, "direct")
    rates: dict[str, list[float]] = {kind: [] for kind in found}
    shares: dict[str, list[float]] = {kind: [] for kind in found}
    for turn in range(rounds + 2):
        peak = _native.peak_gflops(isa, machine.THREADS, PEAK_SECONDS)
        for kind, (program, arrays) in found.items():
            program.run(arrays)  # warm: in a network a layer's input has just been written
            rate = flops / seconds(program, arrays) / 1e9
            if turn >= 2:  # the first runs touch fresh memory
                rates[kind].append(rate)
                shares[kind].append(rate / peak)
    return {
        kind: {"gflops": statistics.median(rates[kind]), "fraction": statistics.median(shares[kind])}
        for kind in found
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json")
    args = parser.parse_args()
    isa = native.default_isa()
    machine.heading(f"conv2d, batch {args.batch}, isa {isa}: GFLOP/s and fraction of the FMA peak, medians")
    print(f"peak {_native.peak_gflops(isa, machine.THREADS, 0.5):.1f} GFLOP/s with {machine.THREADS} threads")
    print(f"{'C -> O, map, kernel':24s}" + "".join(f"{kind:>20s}" for kind in BARS))
    rows = {}
    for layer in LAYERS:
        c, o, size, kernel = layer
        name = f"{c} -> {o}, {size}, {kernel}x{kernel}"
        rows[name] = measure(layer, args.batch, args.rounds, isa)
        cells = (f"{r['gflops']:8.1f} {r['fraction']:.3f}" for r in rows[name].values())
        print(f"{name:24s}" + "".join(f"{cell:>20s}" for cell in cells))
    means = {
        kind: math.exp(statistics.fmean(math.log(row[kind]["fraction"]) for row in rows.values())) for kind in BARS
    }
    for kind, mean in means.items():
        print(f"{kind:8s} geometric mean {mean:.3f} of the peak (bar {BARS[kind]:.2f})")
    machine.report({"batch": args.batch, "isa": isa, "layers": rows, "geometric_mean": means}, args.json)


if __name__ == "__main__":
    main()
