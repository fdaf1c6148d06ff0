"""Runs that are timed: a network with images, in turns with a probe that tells how busy the machine is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from striate.account.latency_plan import MOMENTUM, cross_entropy
from striate.account.latency_reuse import Floats
from striate.engine.program import Program
from striate.engine.programs import Request
from striate.engine.step import TrainingStep
from striate.kernels.contract import Shape, Spec
from striate.nn import Module
from striate.train import SGD


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
        rng = np.random.default_rng(0)
        self.net = net
        self.x = rng.standard_normal((batch, *image), np.float32)
        self.targets = np.zeros(batch, np.int64)
        self.step = TrainingStep(net.programs, cross_entropy, SGD(momentum=MOMENTUM)) if training else None

    def run(self) -> None:
        if self.step is None:
            self.net(self.x)
        else:
            self.step(self.x, self.targets, lr=0.0, step=1)

    def ns(self) -> int:
        """Of one run."""
        before = time.perf_counter_ns()
        self.run()
        return time.perf_counter_ns() - before

    def program(self) -> Program:
        """What a run runs."""
        if self.step is not None:
            return self.step.program(self.x, self.targets)
        return self.net.programs.get(Request(Spec(self.x.shape[1:])), len(self.x))

    def profile(self) -> tuple[list[int], int]:
        """ns of each call that is not of the prelude, and what the run took beside them."""
        feeds: dict[str, Any] = {"x": self.x, "targets": self.targets, "lr": np.float32(0), "seed": 0, "step": 1}
        program = self.program()
        before = time.perf_counter_ns()
        program.run(feeds, profile=True)
        whole = time.perf_counter_ns() - before
        ns = list(program._native.last_profile())[program.plan.prelude:]
        return ns, whole - sum(ns)


def measure(runner: Runner, probe: Runner, least: int, most: int, seconds: float) -> Times:
    """Whole runs, profiled ones and the probe in turns: from `least` to `most` rounds within `seconds`."""
    for _ in range(2):  # the first runs touch fresh memory and pack what is kept
        runner.run()
        probe.run()
    calls, beside, runs, around = list[list[int]](), list[int](), list[int](), [probe.ns()]
    start = time.perf_counter()
    while len(calls) < least or (len(calls) < most and time.perf_counter() - start < seconds):
        runs.append(runner.ns())
        ns, rest = runner.profile()
        calls.append(ns)
        beside.append(rest)
        around.append(probe.ns())
    probes = np.array(around, float)
    return Times(np.array(calls, float), np.array(beside, float), np.array(runs, float), (probes[1:] + probes[:-1]) / 2)
