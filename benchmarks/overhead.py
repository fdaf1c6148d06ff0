"""What a call of a network costs beside its kernels: wall time of net(x) minus the sum of program.profile()'s calls.

    python benchmarks/overhead.py [--repeats 2000] [--threads 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import machine
import numpy as np

import striate as st
from striate.engine.programs import Request
from striate.kernels import native
from striate.kernels.contract import Spec


def measured(call: Callable[[], Any], repeats: int) -> list[float]:
    """Microseconds of each call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e6)
    return times


def overhead(repeats: int) -> dict[str, list[float]]:
    """Microseconds of LeNet-5 at batch 1: wall time, and the calls of the program; in turns, so that both meet the
    same machine."""
    net = st.create("lenet5")
    x = np.random.default_rng(0).standard_normal((1, 1, 28, 28)).astype(np.float32)
    net(x)
    program = net.programs.get(Request(Spec((1, 28, 28))), 1)
    found: dict[str, list[float]] = {"wall": [], "calls": []}
    for _ in range(max(1, repeats // 50)):
        measured(lambda: net(x), 5)  # the pool awake
        found["wall"] += measured(lambda: net(x), 50)
        found["calls"] += [program.profile({"x": x}).ns / 1e3 for _ in range(50)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=machine.THREADS)
    parser.add_argument("--json")
    args = parser.parse_args()
    native.set_threads(args.threads)
    machine.heading("LeNet-5 inference, batch 1: overhead")
    found = overhead(args.repeats)
    for name, values in found.items():
        print(f"{name:10s} {machine.spread(values, 'us')}")
    beside = statistics.median(found["wall"]) - statistics.median(found["calls"])
    fastest = min(found["wall"]) - min(found["calls"])
    print(f"overhead   {beside:.2f} us, the difference of the medians; of the fastest {fastest:.2f} us")
    machine.report({"us": found, "overhead_us": beside, "fastest_us": fastest}, args.json)


if __name__ == "__main__":
    main()
