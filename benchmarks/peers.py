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
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import machine
from engines import BUDGETED, ENGINES, INFERENCE, NCNN, TRAINING, WEIGHTS, Job
from results import Results
from turns import OURS, Failed, Measured, measure

from striate.models import find

HERE = Path(__file__).parent
PLAN = {  # network -> batches, largest first
    INFERENCE: {"vgg16": (4, 1), "resnet50": (8, 1), "resnet20": (128,), "alexnet": (16,), "lenet5": (256,)},
    TRAINING: {"vgg16": (4, 32), "resnet50": (8, 32), "resnet20": (128,), "alexnet": (16,), "lenet5": (128,)},
}
QUICK = {INFERENCE: {"lenet5": (256,), "resnet20": (128,)}, TRAINING: {"lenet5": (128,)}}
# A training step of this batch is there for its peak memory: few rounds of the engines that are compared by it.
MEMORY_NETWORKS, MEMORY_BATCH, MEMORY_ROUNDS = ("vgg16", "resnet50"), 32, 3
MEMORY_ENGINES = (OURS, BUDGETED, "torch channels_last")


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


# ---- the run

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
            batches = args.batches or (QUICK[mode].get(name, ()) if args.quick else PLAN[mode][name])
            found += [Job(name, n, mode, f"{folder}/{name}", entry.input_shape, entry.classes, machine.THREADS)
                      for n in batches]
    return found


def run(job: Job, args: argparse.Namespace) -> list[Measured]:
    """One job: its files, then its turns."""
    engines = engines_of(job, args.engines)
    prepare(job, engines)
    return measure(job, engines, min(args.rounds, MEMORY_ROUNDS) if for_memory(job) else args.rounds, args.seconds)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="LeNet-5, and ResNet-20's inference; few rounds")
    parser.add_argument("--networks", nargs="+", choices=list(PLAN[INFERENCE]))
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
    if args.quick and args.networks:
        parser.error("--quick names its own networks; --rounds makes others quick")
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
    machine.heading("Networks beside their peers, interleaved, one process an engine")
    results = Results()
    with tempfile.TemporaryDirectory(prefix="striate-peers-") as folder:
        for job in jobs(args, args.cache or folder):
            results.add(job, run(job, args))
            print(results.tables[-1], flush=True)
            if args.json:
                Path(args.json).write_text(json.dumps(results.rows, indent=1))
    for file in results.write(Path(args.out), "peers-quick" if args.quick else "peers"):
        print(f"written: {file}")


if __name__ == "__main__":
    sys.exit(main())
