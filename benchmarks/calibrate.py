"""The constants of the cost model (kernels/costs.py), fitted to what every algorithm takes on this machine.

    python benchmarks/calibrate.py measure FILE [--networks vgg16 ...] [--batches 1 4 ...] [--modes inference training]
    python benchmarks/calibrate.py fit FILE

`measure` times every algorithm that applies to every convolution of the networks that leaves a choice, and adds what it
finds to the JSON file. `fit` prints constants that make the relative errors least, and what the choice costs with the
constants now in the source: the sum of the chosen algorithms' times over the sum of the least times, per network.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import machine
import numpy as np

import striate as st
from striate import ops
from striate.engine import tune
from striate.engine.choose import choose
from striate.engine.fuse import fuse
from striate.engine.program import Arena, Program
from striate.engine.record import record
from striate.engine.trace import trace
from striate.kernels import native
from striate.kernels.algorithms import ALGORITHMS, candidates, chosen, key
from striate.kernels.contract import Spec
from striate.kernels.costs import NS, family_of, work
from striate.kernels.problem import Problem
from striate.kernels.target import Target

NETWORKS = {"vgg16": 1000, "resnet50": 1000, "resnet20": 10, "alexnet": 1000, "lenet5": 10, "googlenet": 0}
SMALL = {"resnet20", "lenet5"}  # their filters stay in cache
BATCHES = {"inference": (1, 4, 8, 16, 128, 256), "training": (8, 16, 128)}
MOST_MACS = 12e9  # of a layer: what takes longer than this takes as long an image as at a smaller batch
# GoogLeNet's convolutions with a choice (Szegedy et al. 2014, arXiv 1409.4842, table 1): C, O, map, kernel
GOOGLENET = [
    (64, 192, 56, 3), (96, 128, 28, 3), (16, 32, 28, 5), (128, 192, 28, 3), (32, 96, 28, 5), (96, 208, 14, 3),
    (16, 48, 14, 5), (112, 224, 14, 3), (24, 64, 14, 5), (128, 256, 14, 3), (24, 64, 14, 5), (144, 288, 14, 3),
    (32, 64, 14, 5), (160, 320, 14, 3), (32, 128, 14, 5), (160, 320, 7, 3), (32, 128, 7, 5), (192, 384, 7, 3),
    (48, 128, 7, 5),
]


def problems(network: str, batch: int, training: bool, target: Target) -> Counter[Problem]:
    """The problems of a network that leave a choice, with how often each comes."""
    if network == "googlenet":
        found = Counter(p for layer in GOOGLENET for p in _layer(*layer, batch, training))
    else:
        image = st.models.find(network).input_shape
        given: dict[str, Any] = dict(training=True, loss=ops.cross_entropy, targets=Spec((batch,), "int64"))
        graph = fuse(trace(st.create(network), Spec((batch, *image)), **(given if training else {})))
        tape = record(graph, target, loss=graph.outputs.get("loss"), gradients=training)
        found = Counter(tune.problems(tape))
    return Counter({p: n for p, n in found.items() if len(candidates(p, target)) > 1 and p.macs <= MOST_MACS})


def _layer(c: int, o: int, size: int, kernel: int, batch: int, training: bool) -> list[Problem]:
    at = ((kernel, kernel), (1, 1), (kernel // 2,) * 4, (1, 1), 1)
    return [Problem(kind, batch, c, o, (size, size), (size, size), *at)
            for kind in (("forward", "dx", "dw") if training else ("forward",))]


def measure(path: Path, networks: list[str], batches: list[int], modes: list[str], seconds: float) -> None:
    """Adds the microseconds of every algorithm for every problem to the file."""
    table: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    isa, arena = native.default_isa(), Arena()
    for mode in modes:
        target = native.target(isa, training=mode == "training")
        for network in networks:
            for batch in batches:
                for p in problems(network, batch, target.training, target):
                    if key(p, target) not in table:
                        table[key(p, target)] = times(p, target, arena, seconds, network not in SMALL)
                        path.write_text(json.dumps(table, indent=1))
    print(f"{len(table)} problems in {path}")


def times(p: Problem, target: Target, arena: Arena, seconds: float, cold: bool) -> dict[str, float]:
    """Algorithm -> the least of its times, all in turns: what disturbs a run makes it longer."""
    tape, feeds = tune.trial(p, target)
    names = [a.name for a, _ in candidates(p, target)]
    programs = [
        Program(choose(tape, replace(target, tuned=((key(p, target), name),))), isa=target.isa,
                threads=machine.THREADS, arena=arena)
        for name in names
    ]
    return dict(zip(names, tune.least(programs, feeds, seconds, cold), strict=True))


Row = tuple[str, str, Any, float]  # problem, family, amounts, microseconds


def fit(path: Path) -> None:
    """Prints constants, and how good the choice is that the source makes now."""
    table = json.loads(path.read_text())
    rows: dict[tuple[str, str], Row] = {}
    for mode, batches in BATCHES.items():
        target = native.target(native.default_isa(), training=mode == "training")
        for network in NETWORKS:
            for batch in batches:
                ours = least = direct = 0.0
                for p, count in problems(network, batch, target.training, target).items():
                    us = table.get(key(p, target))
                    if us is None:
                        continue
                    rows |= {(key(p, target), name): _row(p, name, us[name], target) for name in us}
                    ours += count * us[chosen(p, target).name]
                    least, direct = least + count * min(us.values()), direct + count * us["direct"]
                if least:
                    name = f"{mode:10s} {network:10s} batch {batch:4d}"
                    print(f"{name}  chosen / least {ours / least:6.3f}  direct / least {direct / least:5.2f}")
    width = native.blocking(native.default_isa())["width"]
    for family, ns in constants(list(rows.values()), width).items():
        print(f'    "{family}": {width}: ({", ".join(f"{x:.3g}" for x in ns)}),')


def _row(p: Problem, name: str, us: float, target: Target) -> Row:
    tile = {a.name: a.tile for a in ALGORITHMS}[name]
    return key(p, target), family_of(p, tile), np.array(astuple(work(p, target, tile))), us


def constants(rows: list[Row], width: int, rounds: int = 12) -> dict[str, Any]:
    """Family -> the ns that make the relative errors least.

    A problem's times were taken in turns, so that what disturbed them disturbed all: each problem has a factor of its
    own, found in turns with the constants. Weak ties to the constants of the source keep what no row tells.
    """
    ns = {family: np.array(widths[width]) for family, widths in NS.items()}
    names = sorted({row[0] for row in rows})
    factor: dict[str, float] = {}
    for _ in range(rounds):
        logs: dict[str, list[float]] = {name: [] for name in names}
        for name, family, amounts, us in rows:
            logs[name].append(np.log(1000 * us / (amounts @ ns[family])))
        factor = {name: float(np.exp(np.mean(found))) for name, found in logs.items()}
        for family in ns:
            a = np.array([r[2] * factor[r[0]] / 1000 / r[3] for r in rows if r[1] == family])
            if len(a):
                known = ns[family] > 0
                ties = (0.015 * np.sqrt(len(a)) * np.diag(1 / np.maximum(ns[family], 1e-12)))[known]
                ns[family] = least_squares(np.vstack([a, ties]), np.concatenate([np.ones(len(a)), ties @ ns[family]]))
    quiet = np.quantile(list(factor.values()), 0.15)  # of the least disturbed problems
    return {family: found * quiet for family, found in ns.items()}


def least_squares(a: Any, b: Any, rounds: int = 1500) -> Any:
    """x >= 0 with the least |a x - b|, coordinate by coordinate."""
    scale = np.linalg.norm(a, axis=0)
    used = scale > 0
    a = a[:, used] / scale[used]
    gram, want, x = a.T @ a, a.T @ b, np.zeros(used.sum())
    for _ in range(rounds):
        for i in range(len(x)):
            x[i] = max(0.0, x[i] + (want[i] - gram[i] @ x) / gram[i, i])
    result = np.zeros(len(scale))
    result[used] = x / scale[used]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=("measure", "fit"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--modes", nargs="+", default=list(BATCHES), choices=list(BATCHES))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 8, 128])
    parser.add_argument("--seconds", type=float, default=0.02, help="for a problem, but at least five rounds")
    args = parser.parse_args()
    machine.heading("algorithms of convolution, layer by layer")
    if args.verb == "fit":
        fit(args.file)
    else:
        measure(args.file, args.networks, args.batches, args.modes, args.seconds)


if __name__ == "__main__":
    main()
