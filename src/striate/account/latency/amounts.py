"""What a call has to do, as amounts that time is linear in: each times the ns of its kernel's family.

Amounts that threads share are those of the thread that has most to do, as chunks go to threads whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from striate.account.latency.reuse import KNOTS, Floats, Traffic, traffic
from striate.engine.place import Plan
from striate.engine.profile import PRODUCTS
from striate.engine.program import alone
from striate.engine.tape import Call
from striate.kernels.costs import across_images, work
from striate.kernels.problem import Problem
from striate.kernels.target import Target

WORK = ("calls", "shared", "parts", "multiplies", "gathered", "scattered", "packed", "again", "elements", "applied",
        "behind", "apart")
READ = tuple(f"read {k}" for k in ("all", *KNOTS[:-1]))
WRITTEN = tuple(f"written {k}" for k in ("all", *KNOTS[:-1]))
NAMES = (*WORK, *READ, *WRITTEN)
CHUNK_MACS, CHUNKS = 1 << 19, 16  # csrc/conv.h: work below that is not cut, and into how many chunks
GRAIN = 16384  # csrc/grid.h: floats of a chunk
NARROW = (1, 2, 4, 8)  # csrc/narrow_groups.h: channels of a group that vectors go across
CURVED = (2, 3)  # csrc/kernels.h: tanh and sigmoid, which take time
PANEL_IMAGES = 4  # csrc/linear.h: above that, images come in panels


@dataclass(frozen=True)
class Amounts:
    """One call. `family` names the kernel, and which of its ways to compute; `values` follow NAMES."""

    layer: str
    kernel: str
    family: str
    section: str
    macs: int
    values: Floats


def amounts(plan: Plan, target: Target, threads: int) -> list[Amounts]:
    """Of every call that runs, in order."""
    calls = plan.tape.calls
    return [
        _amounts(call, moved, 1 if small else threads, target)
        for call, moved, small in zip(calls, traffic(plan), alone(calls), strict=True) if call.section != "prelude"
    ]


def run_amounts(plan: Plan, training: bool) -> Amounts:
    """Of a run beside its calls: Python, the fork and the join, arrays copied in and out."""
    tape = plan.tape
    copied = sum(b.nbytes / 4 for b in (*(i.buffer for i in tape.inputs), *tape.outputs.values()))
    counted = {"calls": 1.0, "parts": float(len(tape.calls) - plan.prelude), "elements": copied}
    values = np.array([counted.get(name, 0.0) for name in NAMES])
    return Amounts("(run)", "run", f"run {'training' if training else 'inference'}", "run", 0, values)


def _amounts(call: Call, moved: Traffic, threads: int, target: Target) -> Amounts:
    p = call.problem if call.row.name in PRODUCTS else None
    found = _product(call, p, target) if p is not None else _pass(call)
    share = _share(call, p, found["elements"], threads)
    found["apart"] = float(sum(math.prod(b.shape) for b in (*call.inputs, *call.outputs) if b and b.channels))
    values = [found.get(name, 0.0) * share for name in WORK[3:]]
    once = [1.0, float(threads > 1), float(call.repeat + (math.prod(p.stride) if p and p.kind == "dx" else 0))]
    every = np.array([*once, *values, *(moved.read * share), *(moved.written * share)])
    return Amounts(call.path, call.row.name, family(call, p, target), call.section, p.macs if p else 0, every)


def family(call: Call, p: Problem | None, target: Target) -> str:
    """The kernel and, where it computes in several ways of different speed, which of them."""
    name = call.row.name
    if p is None:
        return name
    if _narrow(p, target):
        return f"{name} groups"
    if name.startswith("conv2d_gemm") and across_images(p):
        return f"{name} across"
    if name == "linear_rows" and p.n > PANEL_IMAGES:
        return f"{name} panels"
    return name


def _narrow(p: Problem, target: Target) -> bool:
    per_group = p.c // p.groups
    if p.kind == "dw":
        return p.groups == p.c == p.o > 1
    return p.groups > 1 and p.c == p.o and per_group in NARROW and per_group <= target.width


def _product(call: Call, p: Problem, target: Target) -> dict[str, float]:
    outputs = float(p.n * p.columns * math.prod(p.pixels))
    curved = outputs if call.params.get("activation") in CURVED else 0.0
    return {"elements": outputs, "applied": curved, **_multiplied(call, p, target, outputs)}


def _multiplied(call: Call, p: Problem, target: Target, outputs: float) -> dict[str, float]:
    if call.row.name.startswith("linear"):
        images = -(-p.n // target.nr) * target.nr if p.n > PANEL_IMAGES else p.n
        return {"multiplies": float(images * p.c * p.o)}
    if _narrow(p, target):
        lanes = -(-p.c // target.width) * target.width
        done = p.n * math.prod(p.out) * math.prod(p.kernel) * (p.c // p.groups) * lanes
        return {"multiplies": float(done)}
    if call.row.name.startswith("conv2d_gemm") and across_images(p):
        return _across(p, target)
    w = work(p, replace(target, training=False), call.params.get("tile", 0))
    met = ("r?", "x", "y?") if call.row.name.endswith("_sums") else ("r?",)  # read beside the product's operands
    read = sum(b is not None for name, b in zip(call.row.inputs, call.inputs, strict=True) if name in met)
    extra = sum(b is not None for b in call.outputs) - 1 + read
    return {"multiplies": w.multiplies, "gathered": w.gathered, "scattered": w.scattered, "packed": w.packed,
            "again": w.again, "behind": outputs * extra}


def _across(p: Problem, target: Target) -> dict[str, float]:
    """Rows of a tile come from several images; each takes a broadcast for every panel, and each run of taps a start."""
    rows, panels = -(-p.n // target.mr) * target.mr * math.prod(p.out), -(-p.columns // target.nr)
    depth = p.c * math.prod(p.kernel)
    lanes = -(-p.columns // target.width) * target.width
    return {"multiplies": float(rows * depth * lanes), "gathered": float(rows * depth * panels),
            "scattered": float(rows * p.kernel[0] * panels)}


def _pass(call: Call) -> dict[str, float]:
    elements = [math.prod(b.shape) for b in (*call.inputs, *call.outputs) if b is not None]
    most = float(max(elements, default=0)) if call.repeat == 1 else float(sum(elements)) / len(call.row.inputs)
    taps = math.prod(call.params.get("kernel", (0,)))
    return {"elements": most, "applied": taps * float(min(_maps(call), default=0))}


def _maps(call: Call) -> list[int]:
    return [math.prod(b.shape) for b in (*call.inputs, *call.outputs) if b is not None and len(b.shape) == 4]


def _share(call: Call, p: Problem | None, elements: float, threads: int) -> float:
    """The part of the work that falls to the thread with the most chunks."""
    chunks = min(max(int(p.macs / CHUNK_MACS), 1), CHUNKS) if p else max(-(-int(elements) // GRAIN), 1)
    return -(-chunks // threads) / chunks
