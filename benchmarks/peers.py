"""striate beside what users would pick instead: whole networks, inference and training, in one interleaved run.

    python benchmarks/peers.py [--quick] [--networks vgg16 ...] [--modes inference training] [--batches N ...]
                               [--engines NAME ...] [--rounds 15] [--seconds 0.25] [--json FILE] [--out FOLDER]
                               [--cache FOLDER]
    python benchmarks/peers.py --layers vgg16|resnet50

Every engine lives in a process of its own, so that no thread pool or allocator disturbs another and each has a peak of
resident memory; they take turns, one at a time, in rounds. A ratio compares an engine with striate within a round; the
median over the rounds is printed. Before anything is timed the engines' results are compared. Peak memory is counted
above what importing the engine takes, from when the network is built. Table and plot go to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import machine
import numpy as np
from engines import ENGINES, INFERENCE, MACS, NCNN, TRAINING, WEIGHTS, Job

from striate.models import find

HERE = Path(__file__).parent
OURS = "striate"
PLAN = {  # network -> batches, largest first
    INFERENCE: {"vgg16": (4, 1), "resnet50": (8, 1), "resnet20": (128,), "alexnet": (16,), "lenet5": (256,)},
    TRAINING: {"vgg16": (4, 32), "resnet50": (8, 32), "resnet20": (128,), "alexnet": (16,), "lenet5": (128,)},
}
QUICK = {INFERENCE: {"lenet5": (256,), "resnet20": (128,)}, TRAINING: {"lenet5": (128,), "resnet20": (128,)}}
# A training step of this batch is there for its peak memory: few rounds of the engines that are compared by it.
MEMORY_NETWORKS, MEMORY_BATCH, MEMORY_ROUNDS = ("vgg16", "resnet50"), 32, 3
BUDGETED = "striate memory_budget"
MEMORY_ENGINES = (OURS, BUDGETED, "torch channels_last")
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


# ---- before anything is timed

def check_installed(engines: Iterable[str]) -> None:
    """Raises: Failed unless every distribution the engines need is there in the pinned version."""
    pins = dict(re.findall(r"^(\S+)==(\S+)$", (HERE / "requirements.txt").read_text(), re.MULTILINE))
    for name in dict.fromkeys(d for e in engines for d in ENGINES[e].needs if d in pins):
        found = machine.version(name)
        if found is None or found.split("+")[0] != pins[name]:
            raise Failed(f"peers: needs {name} {pins[name]}, got {found or 'none'}; "
                         "pip install -r benchmarks/requirements.txt")


def prepare(job: Job, engines: Sequence[str]) -> None:
    """Writes the files that the engines read, unless another job has left them. Raises: Failed."""
    Path(job.folder).mkdir(parents=True, exist_ok=True)
    read = {"weights": job.file(WEIGHTS)}
    if any(ENGINES[e].converted and e != "ncnn" for e in engines):
        read["onnx"] = job.mnn
    if "ncnn" in engines:
        read["ncnn"] = job.file(f"{NCNN}.bin")
    for what, file in read.items():
        if Path(file).exists():
            continue
        command = [sys.executable, str(HERE / "convert.py"), what, json.dumps(asdict(job))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not Path(file).exists():
            raise Failed(f"peers: {Path(file).name} of {job.network} could not be written: "
                         f"{(done.stdout + done.stderr)[-2000:]}")


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


# ---- the run

def measure(job: Job, engines: Sequence[str], rounds: int, seconds: float) -> list[Measured]:
    """The engines in turns; the order moves on by one each round."""
    children: dict[str, Child] = {}
    found = {engine: Measured(engine) for engine in engines}
    try:
        results = {}
        for engine in engines:
            children[engine] = Child(engine, job)
            results[engine] = children[engine].receive(START_LIMIT)
        compare(job, results)
        for number in range(rounds):
            for i in range(len(engines)):
                engine = engines[(i + number) % len(engines)]
                time.sleep(PAUSE)
                found[engine].rounds.append(children[engine].ask("turn", seconds))
        for engine in engines:
            found[engine].peak_mib = children[engine].ask("memory")
    finally:
        for child in children.values():
            child.stop()
    return list(found.values())


def for_memory(job: Job) -> bool:
    """Whether the job is one of those that measure memory."""
    return job.mode == TRAINING and job.batch >= MEMORY_BATCH and job.network in MEMORY_NETWORKS


def engines_of(job: Job, asked: Sequence[str]) -> list[str]:
    """Those of `asked` that do the job."""
    able = [e for e in asked if job.mode == INFERENCE or ENGINES[e].trains]
    return [e for e in able if e in MEMORY_ENGINES] if for_memory(job) else [e for e in able if e != BUDGETED]


def jobs(args: argparse.Namespace, folder: str) -> list[Job]:
    """What is measured, one network after the other."""
    found = []
    for name in args.networks:
        entry = find(name)
        for mode in args.modes:
            batches = args.batches or (QUICK if args.quick else PLAN)[mode].get(name, ())
            found += [Job(name, n, mode, f"{folder}/{name}", entry.input_shape, entry.classes, machine.THREADS)
                      for n in batches]
    return found


def run(job: Job, args: argparse.Namespace) -> list[Measured]:
    """One job: its files, then its turns."""
    engines = engines_of(job, args.engines)
    prepare(job, engines)
    return measure(job, engines, min(args.rounds, MEMORY_ROUNDS) if for_memory(job) else args.rounds, args.seconds)


def macs_of(job: Job) -> int:
    """Multiply-accumulates of one call; a training step counts three times a forward pass."""
    passes = 3 if job.mode == TRAINING else 1
    return passes * job.batch * int(Path(job.file(MACS)).read_text())


# ---- what is told

HEADS = ("engine", "median ms", "rounds", "fastest ms", "x striate", "rounds", "GFLOP/s", "peak MiB")


def cells(job: Job, found: Sequence[Measured]) -> list[tuple[str, ...]]:
    """The rows of a job's table, fastest first."""
    macs = macs_of(job)
    ours = next(m for m in found if m.engine == OURS)
    rows = []
    for m in sorted(found, key=lambda m: m.median_ms):
        ratios = m.ratios(ours)
        rows.append((
            m.engine, f"{m.median_ms:.2f}", f"{min(m.medians):.2f} to {max(m.medians):.2f}", f"{m.min_ms:.2f}",
            f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}",
            f"{2e-6 * macs / m.median_ms:.0f}", f"{m.peak_mib:.0f}",
        ))
    return rows


def rows_of(job: Job, found: Sequence[Measured]) -> list[dict[str, Any]]:
    """The rows --json writes: one an engine, and the ratio against the fastest peer of the whole run."""
    head = dict(network=job.network, batch=job.batch, mode=job.mode)
    rows: list[dict[str, Any]] = [
        head | dict(engine=m.engine, median_ms=m.median_ms, min_ms=m.min_ms, peak_mib=m.peak_mib) for m in found
    ]
    peers = [m for m in found if m.engine not in (OURS, BUDGETED)]
    if peers:
        best = min(peers, key=lambda m: m.median_ms)
        ours = next(m for m in found if m.engine == OURS)
        rows.append(head | dict(ratio=statistics.median(best.ratios(ours)), against=best.engine))
    return rows


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="LeNet-5 and ResNet-20 only, few rounds")
    parser.add_argument("--networks", nargs="+", choices=list(PLAN[INFERENCE]), default=None)
    parser.add_argument("--modes", nargs="+", choices=[INFERENCE, TRAINING], default=[INFERENCE, TRAINING])
    parser.add_argument("--batches", nargs="+", type=int)
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of a turn")
    parser.add_argument("--layers", choices=["vgg16", "resnet50"], help="each convolution by itself, beside torch")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--cache", metavar="FOLDER", help="keeps the converted networks for the next run")
    parser.add_argument("--out", default=str(HERE / "results"), metavar="FOLDER")
    args = parser.parse_args()
    args.networks = args.networks or list((QUICK if args.quick else PLAN)[INFERENCE])
    args.rounds = args.rounds or (5 if args.quick else 15)
    args.seconds = args.seconds or (0.1 if args.quick else 0.25)
    if OURS not in args.engines:
        args.engines = [OURS, *args.engines]
    return args


def main() -> int:
    args = arguments()
    try:
        if args.layers:
            from layers import main as layers
            check_installed(["torch"])
            layers(args)
            return 0
        check_installed(args.engines)
        whole(args)
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def whole(args: argparse.Namespace) -> None:
    """All jobs, printed as they are done, then written."""
    from results import Results

    machine.heading("Networks beside their peers, interleaved, one process an engine")
    results = Results(HEADS)
    with tempfile.TemporaryDirectory(prefix="striate-peers-") as folder:
        for job in jobs(args, args.cache or folder):
            found = run(job, args)
            results.add(job, cells(job, found), rows_of(job, found), {m.engine: m.ratios(
                next(o for o in found if o.engine == OURS)) for m in found})
            print(results.tables[-1], flush=True)
            if args.json:
                Path(args.json).write_text(json.dumps(results.rows, indent=1))
    for file in results.write(Path(args.out), "peers-quick" if args.quick else "peers"):
        print(f"written: {file}")


if __name__ == "__main__":
    sys.exit(main())
