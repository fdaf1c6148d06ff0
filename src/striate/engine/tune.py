"""Tune: where several algorithms may be the fastest, they are timed once, and what was found is remembered.

Each problem is timed by itself, its candidates in turns: what disturbs one disturbs the others. Where the network's
filters are more than a cache holds, they are driven out of it before each run, as the other layers would do. What is
predicted to take much longer than the best candidate is not tried.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from striate.engine import tuned
from striate.engine.choose import choose
from striate.engine.program import Arena, Program
from striate.engine.record import Recorder
from striate.engine.tape import Buffer, Tape, TapeInput
from striate.graph import Array, State
from striate.kernels.algorithms import Algorithm, candidates, key
from striate.kernels.contract import Shape, Spec
from striate.kernels.problem import PROBLEMS, Problem
from striate.kernels.target import Target

TRIED = 3  # candidates a problem
HOPELESS = 1.6  # times the best prediction: the predictions of calibrate.py are off by 1.3 at most
GAIN = 0.97  # of the predicted best's time: below that another one takes its place
SECONDS = 0.02  # for a problem, but at least ROUNDS
ROUNDS = 5
CACHE_BYTES = 32 << 20
PLACES = np.array([0, 3, 1, 2, 2, 0, 3], np.uint8)  # of maxima in their windows
READ = {"forward": ("x",), "dx": ("dy",), "dw": ("x", "dy")}


def tune(tape: Tape, target: Target, known: tuned.Table, threads: int) -> dict[str, str]:
    """Problem -> algorithm for all of a tape's problems that have a choice: as known, as on disk, else measured."""
    wanted = {key(p, target): p for p in problems(tape) if len(_tried(p, target)) > 1}
    table = dict(known)
    if not wanted.keys() <= table.keys():
        table = tuned.load(target.isa) | table
    arena = Arena()  # goes back when all are measured
    cold = sum(s.storage.nbytes for s in tape.states) > CACHE_BYTES
    measured = {
        name: fastest(p, target, threads, arena, cold).name for name, p in wanted.items() if name not in table
    }
    if measured:
        table = tuned.add(target.isa, measured) | table
    return {name: table[name] for name in wanted}


def problems(tape: Tape) -> Iterable[Problem]:
    """What the definitions of a tape compute."""
    for call in tape.calls:
        if call.row.name in PROBLEMS:
            yield PROBLEMS[call.row.name](*call.inputs, **call.params)


def _tried(p: Problem, target: Target) -> list[Algorithm]:
    found = candidates(p, target)
    return [a for a, cost in found if cost <= HOPELESS * found[0][1]][:TRIED] if p.n else []


def fastest(p: Problem, target: Target, threads: int, arena: Arena, cold: bool = False) -> Algorithm:
    """The fastest of the candidates, measured; the predicted one unless another gains something."""
    tried = _tried(p, target)
    tape, feeds = trial(p, target)
    programs = [
        Program(choose(tape, replace(target, tuned=((key(p, target), a.name),))), isa=target.isa, threads=threads,
                arena=arena)
        for a in tried
    ]
    found = least(programs, feeds, SECONDS, cold)
    best = min(range(len(tried)), key=found.__getitem__)
    return tried[best] if found[best] < GAIN * found[0] else tried[0]


def least(programs: list[Program], feeds: dict[str, Array], seconds: float, cold: bool) -> list[float]:
    """Microseconds of each program's fastest run, in turns for so long but at least ROUNDS times."""
    others = np.empty(CACHE_BYTES if cold else 0, np.uint8)
    for program in programs:
        program.run(feeds)  # the first run touches fresh memory and packs what is kept
    times = [float("inf")] * len(programs)
    start, turn = time.perf_counter(), 0
    while turn < ROUNDS or time.perf_counter() - start < seconds:
        turn += 1
        for i, program in enumerate(programs):
            others.fill(turn % 256)
            times[i] = min(times[i], program.profile(feeds).ns / 1000)
    return times


def trial(p: Problem, target: Target) -> tuple[Tape, dict[str, Array]]:
    """A tape of nothing but the problem, and numbers to feed it with."""
    k = Recorder(target)
    pooled = p.kind != "forward" and p.epilogue == "max_pool"
    behind = (p.n, p.o, p.out[0] // 2, p.out[1] // 2) if pooled else (p.n, p.o, *p.out)
    specs = {"x": Spec((p.n, p.c, *p.size)), "dy": Spec(behind), "index": Spec(behind, "uint8"), "y": Spec(behind)}
    given = {name: k.buffer(name, specs[name]) for name in READ[p.kind] + ("index", "y") * pooled}
    weight = State(_numbers((p.o, p.c // p.groups, *p.kernel)), trainable=False, path="w")
    w = k.buffer("w", Spec(weight.shape), dense=True, source=None if target.training else weight)
    made = _recorded(k, p, given, w)
    results = {f"result{i}": b for i, b in enumerate(made if isinstance(made, tuple) else (made,))}
    if target.training and p.kind != "dw":  # an input like the others: what changes is packed in every run
        given["w"] = w
    states = {} if target.training else {weight: w}
    tape = Tape(k.calls, [TapeInput(name, b, 0) for name, b in given.items()], results, states=states)
    feeds = {name: _numbers(b.shape) for name, b in given.items()}
    return tape, feeds | {name: np.resize(PLACES, b.shape) for name, b in given.items() if b.dtype == "uint8"}


def _recorded(k: Recorder, p: Problem, given: dict[str, Buffer], w: Buffer) -> Any:
    at: dict[str, Any] = dict(stride=p.stride, padding=p.padding, dilation=p.dilation, groups=p.groups)
    pool = "max_pool_" if p.epilogue == "max_pool" else ""
    if p.kind == "dw":
        return getattr(k, f"conv2d_{pool}dw")(*given.values(), kernel=p.kernel, **at)
    if p.kind == "dx":
        return getattr(k, f"conv2d_{pool}dx")(*given.values(), w, size=p.size, **at)
    if p.epilogue:
        if p.epilogue == "max_pool":
            at["activation"] = 1
        return getattr(k, f"conv2d_{p.epilogue}")(given["x"], w, None, **at)
    return k.conv2d(given["x"], w, None, None, **at, activation=0)


def _numbers(shape: Shape) -> Array:
    """Numbers of both signs; where they lie and not what they are decides the time."""
    few = np.random.default_rng(0).standard_normal(4099).astype(np.float32)
    return np.resize(few, shape)
