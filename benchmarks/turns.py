"""Engines in turns: each in a process of its own, compared before they are timed, one at a time."""

from __future__ import annotations

import json
import multiprocessing
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from engines import BUDGETED, TRAINING, Job

HERE = Path(__file__).parent
OURS = "striate"
TOLERANCE = 1e-3  # of the largest logit, and of the first loss where there is no dropout
TOLERANCES = {"MNN": 2e-2}  # 5e-3 off on ResNet-50, where ONNX Runtime and OpenVINO agree with striate
DROPOUT, DROPOUT_TOLERANCE = ("vgg16", "alexnet"), 0.5  # their first losses depend on the masks
PAUSE = 0.02  # s between turns: threads of the last engine stop spinning
START_LIMIT = 600  # s


class Failed(Exception):
    """The run cannot give what was asked for; the text says why."""


@dataclass
class Measured:
    """What one engine did for one job: the times of each round's calls in ms."""

    engine: str
    rounds: list[list[float]] = field(default_factory=list)
    peak_mib: float = 0.0
    difference: float = 0.0  # of its first result from striate's

    @property
    def medians(self) -> list[float]:
        return [statistics.median(times) for times in self.rounds]

    @property
    def median_ms(self) -> float:
        return statistics.median(self.medians)

    @property
    def min_ms(self) -> float:
        return min(min(times) for times in self.rounds)

    def ratios(self, ours: Measured) -> list[float]:
        """Round by round, this engine's time over ours."""
        return [theirs / mine for theirs, mine in zip(self.medians, ours.medians, strict=True)]


def measure(job: Job, engines: Sequence[str], rounds: int, seconds: float) -> list[Measured]:
    """The engines in turns; the order moves on by one each round."""
    children: dict[str, Child] = {}
    try:
        results = dict(start(children, engines, job))
        found = {engine: Measured(engine, difference=d) for engine, d in compare(job, results).items()}
        names = list(found)
        for number in range(rounds):
            for i in range(len(names)):
                engine = names[(i + number) % len(names)]
                time.sleep(PAUSE)
                found[engine].rounds.append(children[engine].ask("turn", seconds))
        for engine in names:
            found[engine].peak_mib = children[engine].ask("memory")
    finally:
        for child in children.values():
            child.stop()
    return list(found.values())


def start(children: dict[str, Child], engines: Sequence[str], job: Job) -> Iterator[tuple[str, Any]]:
    """(engine, its first result), one after the other; a memory budget that is too small is told and left out."""
    for engine in engines:
        children[engine] = Child(engine, job)
        try:
            yield engine, children[engine].receive(START_LIMIT)
        except Failed as error:
            if engine != BUDGETED:
                raise
            print(str(error).splitlines()[0])


def compare(job: Job, results: dict[str, Any]) -> dict[str, float]:
    """Engine -> its largest difference from striate over striate's largest number. Raises: Failed if that is much."""
    ours = np.asarray(results[OURS])
    found = {}
    for engine, result in results.items():
        theirs = np.asarray(result)
        random = job.mode == TRAINING and job.network in DROPOUT
        equal = theirs.shape == ours.shape
        found[engine] = float(np.abs(theirs - ours).max() / np.abs(ours).max()) if equal else np.inf
        if not found[engine] <= (DROPOUT_TOLERANCE if random else TOLERANCES.get(engine, TOLERANCE)):
            raise Failed(f"peers: {engine} and {OURS} must agree on {job.network}'s {job.mode}, got "
                         f"{theirs.ravel()[:4]} and {ours.ravel()[:4]}")
    return found


class Child:
    """An engine in its process."""

    def __init__(self, engine: str, job: Job) -> None:
        self.engine = engine
        self.pipe, theirs = multiprocessing.Pipe()
        command = [sys.executable, str(HERE / "child.py"), str(theirs.fileno()), engine, json.dumps(asdict(job))]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        theirs.close()

    def receive(self, limit: float) -> Any:
        """What the engine answers. Raises: Failed, with its last words."""
        try:
            if not self.pipe.poll(limit):
                raise Failed(f"peers: {self.engine} gave no answer within {limit:.0f} s")
            kind, value = self.pipe.recv()
        except (EOFError, ConnectionError):
            raise Failed(f"peers: {self.engine} ended with status {self.process.wait()}") from None
        if kind == "failed":
            raise Failed(f"peers: {self.engine} failed: {value.strip().splitlines()[-1]}\n{value}")
        return value

    def ask(self, *message: Any) -> Any:
        self.pipe.send(message)
        return self.receive(START_LIMIT)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
