"""Runs that are timed: a network with images, in turns with a probe that tells how busy the machine is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from striate.account.latency.reuse import Floats
from striate.account.memory import request_of
from striate.kernels.contract import Shape
from striate.nn import Module


@dataclass(frozen=True)
class Times:
    """ns: of `calls` a row a round and a column a call; what those runs took beside their calls; whole runs from Python
    that were not profiled; the probe around each round."""

    calls: Floats
    beside: Floats
    run: Floats
    probe: Floats


class Runner:
    """A network with images to run it on: inference, or a training step with a learning rate of 0."""

    def __init__(self, net: Module, image: Shape, batch: int, training: bool) -> None:
        self.net = net
        self.program = net.programs.get(request_of(net, image, training=training), batch)
        x = np.random.default_rng(0).standard_normal((batch, *image), np.float32)
        self.feeds: dict[str, Any] = {"x": x, "targets": np.zeros(batch, np.int64), "lr": np.float32(0),
                                      "seed": np.int64(0), "step": np.int64(1)}

    def run(self) -> None:
        self.program.run(self.feeds)

    def ns(self) -> int:
        """Of one run."""
        before = time.perf_counter_ns()
        self.run()
        return time.perf_counter_ns() - before

    def settled_ns(self) -> int:
        """Of the second of two runs: it finds its memory in the caches, whatever ran before."""
        self.run()
        return self.ns()

    def profile(self) -> tuple[list[int], int]:
        """ns of each call that is not of the prelude, and what the run took beside them."""
        before = time.perf_counter_ns()
        self.program.run(self.feeds, profile=True)
        whole = time.perf_counter_ns() - before
        ns = self.program.call_ns[self.program.plan.prelude :]
        return ns, whole - sum(ns)


def measure(runner: Runner, probe: Runner, least: int, most: int, seconds: float) -> Times:
    """Whole runs, profiled ones and the probe in turns: from `least` to `most` rounds within `seconds`."""
    runner.run()  # touches fresh memory, and packs what is kept
    runner.run()
    calls, beside, runs, around = list[list[int]](), list[int](), list[int](), [probe.settled_ns()]
    start = time.perf_counter()
    while len(calls) < least or (len(calls) < most and time.perf_counter() - start < seconds):
        runs.append(runner.ns())
        ns, rest = runner.profile()
        calls.append(ns)
        beside.append(rest)
        around.append(probe.settled_ns())
    probes = np.array(around, float)
    return Times(np.array(calls, float), np.array(beside, float), np.array(runs, float), (probes[1:] + probes[:-1]) / 2)
