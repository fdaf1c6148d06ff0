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
DROPOUT = ("vgg16", "alexnet")  # their first losses depend on the masks: they must be within a factor of 2
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
        compare(job, results)
        found = {engine: Measured(engine) for engine in results}
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


def compare(job: Job, results: dict[str, Any]) -> None:
    """Raises: Failed if an engine computes something else than striate."""
    ours = np.asarray(results[OURS])
    for engine, result in results.items():
        theirs, scale = np.asarray(result), float(np.abs(ours).max())
        if job.mode == TRAINING and job.network in DROPOUT:
            equal = bool(0.5 < theirs / ours < 2.0)
        else:
            equal = theirs.shape == ours.shape and float(np.abs(theirs - ours).max()) <= TOLERANCE * scale
        if not equal:
            raise Failed(f"peers: {engine} and {OURS} must agree on {job.network}'s {job.mode}, got "
                         f"{theirs.ravel()[:4]} and {ours.ravel()[:4]}")


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
