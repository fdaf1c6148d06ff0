"""Why a network runs as fast as it does: for each call its algorithm, its time, and what holds it back on this machine.

Two rooflines are measured on the spot: multiply-adds from registers, and memory copied. A call is held back by the one
that explains most of its time, or by overhead (packing, transforms, starting the threads) if neither explains much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from striate.engine.profile import PRODUCTS, CallProfile, Profile
from striate.engine.programs import Request
from striate.engine.step import TrainingStep
from striate.errors import ConfigError
from striate.graph import sizes, table
from striate.kernels import _native, native
from striate.kernels.algorithms import candidates, key
from striate.kernels.contract import Shape, Spec
from striate.kernels.costs import work
from striate.kernels.target import Target
from striate.models import name_of
from striate.nn import Module
from striate.ops.arguments import integer
from striate.train import SGD
from striate.train.evaluation import loss_of, main_output

EXPLAINS = 0.4  # of a call's time: less than that and a roofline does not hold it back
LAYER = 26  # columns
SHOWN = 3  # predictions a call; all are in `predicted`
HEADS = ("layer", "kernel", "algorithm", "us", "share", "GFLOP/s", "of peak", "GB/s", "held back by", "predicted us")


@dataclass(frozen=True)
class Line:
    """One call. Units: us; gflops of the definition; peak and bandwidth as shares of what this machine reaches.

    `peak_share` counts the multiplications that are really done, Winograd's and those of padding included.
    `predicted` has the microseconds of every algorithm that applies, if there is more than one.
    """

    layer: str
    kernel: str
    section: str
    algorithm: str
    us: float
    gflops: float
    gbs: float
    peak_share: float
    bandwidth_share: float
    held_back_by: str
    predicted: Mapping[str, float]
    measured: bool  # the algorithm was chosen by tune


@dataclass(frozen=True)
class Explanation:
    """All calls of one run; prints as a table."""

    name: str
    input: Shape
    training: bool
    isa: str
    threads: int
    precision: str
    peak_gflops: float
    copy_gbs: float
    lines: tuple[Line, ...]

    @property
    def us(self) -> float:
        return sum(line.us for line in self.lines)

    def as_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers, as JSON has them."""
        return asdict(self) | {"total_us": self.us}

    def __str__(self) -> str:
        what = "a training step" if self.training else "inference"
        head = (f"{self.name}, input {sizes(self.input)}, {what}: isa {self.isa}, threads {self.threads}, "
                f"precision {self.precision}")
        machine = f"this machine: {self.peak_gflops:.0f} GFLOP/s of multiply-adds, {self.copy_gbs:.1f} GB/s copied"
        rows = [_cells(line, self.us) for line in self.lines]
        return "\n".join([head, machine, "", table(HEADS, rows, right=HEADS[3:8]), "", self._total()])

    def _total(self) -> str:
        flops = sum(line.gflops * line.us for line in self.lines) / max(self.us, 1e-9)
        held = {why: sum(line.us for line in self.lines if line.held_back_by == why) for why in HELD}
        shares = ", ".join(f"{why} {us / max(self.us, 1e-9):.0%}" for why, us in held.items())
        return (f"{self.us / 1000:.3f} ms in {len(self.lines)} calls, {flops:.1f} GFLOP/s of the definitions; "
                f"held back by {shares}")


HELD = ("compute", "memory", "overhead")


def explain(net: Module, image: Shape, batch: int = 1, *, training: bool = False, tune: bool = False,
            rounds: int = 5) -> Explanation:
    """Runs `net` on random images, and says of each call what it took (the median of `rounds`) and why.

    With training=True a step of SGD with learning rate 0; batch statistics move all the same.
    """
    isa, threads = native.default_isa(), native.get_threads()
    profiles = _profiles(net, image, integer("explain", "batch", batch), training, tune, rounds)
    peak, copied = _native.peak_gflops(isa, threads, 0.2), _native.copy_gbs(threads, 0.2)
    target = native.target(isa, training=training, tuned=tuple(sorted(net.programs.tuned.items())) if tune else ())
    columns = zip(*(p.calls for p in profiles), strict=True)
    medians = [sorted(column, key=lambda c: c.ns)[rounds // 2] for column in columns]
    lines = tuple(_line(c, target, peak, copied) for c in medians if c.ns)
    return Explanation(name_of(net), (batch, *image), training, isa, threads, target.precision, peak, copied, lines)


def _profiles(net: Module, image: Shape, batch: int, training: bool, tune: bool, rounds: int) -> list[Profile]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, *image), np.float32)
    if not training:
        program = net.programs.get(Request(Spec(tuple(image)), tune=tune), batch)
        feeds = {"x": x, "seed": np.int64(0), "step": np.int64(0)}
        program.run(feeds)  # packs the filters and touches fresh memory
        return [program.profile(feeds) for _ in range(rounds)]
    y = main_output(net.graph(image, batch=batch).outputs)
    if len(y.shape) != 2:
        raise ConfigError(f"explain: training needs a network whose output is (N, classes), got {tuple(y.shape)}")
    step = TrainingStep(net.programs, loss_of(net), SGD(lr=0.1, momentum=0.9), tune=tune)
    targets = rng.integers(0, y.shape[1], batch)
    step(x, targets, lr=0.0, step=1)
    return [step.profile(x, targets, lr=0.0) for _ in range(rounds)]


def _line(c: CallProfile, target: Target, peak: float, copied: float) -> Line:
    p = c.call.problem if c.kernel in PRODUCTS else None
    tile = c.call.params.get("tile", 0)
    done = c.flops if p is None else 2 * work(p, target, tile).multiplies
    shares = {"compute": done / c.ns / peak if p is not None else 0.0, "memory": c.bytes / c.ns / copied}
    bound = max(shares, key=lambda name: shares[name])
    found = candidates(p, target) if p is not None else ()
    return Line(
        layer=c.layer, kernel=c.kernel, section=c.section,
        algorithm="" if p is None else f"winograd_{tile}" if tile else "direct", us=c.ns / 1000,
        gflops=c.flops / c.ns, gbs=c.bytes / c.ns, peak_share=shares["compute"], bandwidth_share=shares["memory"],
        held_back_by=bound if shares[bound] >= EXPLAINS else "overhead",
        predicted={a.name: us for a, us in found} if len(found) > 1 else {},
        measured=p is not None and key(p, target) in target.table,
    )


def _cells(line: Line, total: float) -> Sequence[str]:
    name = line.layer if len(line.layer) <= LAYER else f"...{line.layer[3 - LAYER:]}"
    best = list(line.predicted.items())[:SHOWN]
    predicted = ", ".join(f"{a.replace('winograd_', 'F')} {us:,.0f}" for a, us in best)
    why = f"{predicted} (measured)" if line.measured else predicted
    return (name, line.kernel, line.algorithm, f"{line.us:,.1f}", f"{line.us / max(total, 1e-9):.1%}",
            f"{line.gflops:.1f}", f"{line.peak_share:.0%}" if line.algorithm else "", f"{line.gbs:.1f}",
            line.held_back_by, why)
