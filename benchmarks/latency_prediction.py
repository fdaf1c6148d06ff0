"""How good predicted times are: this machine is calibrated, then every network is predicted, run and compared.

    python benchmarks/latency_prediction.py [--networks resnet50 ...] [--inference 1 8] [--training 4] [--json FILE]

The bars: median error below 15 %, nine tenths of the measured medians inside the 90 % interval, median half-width of
the interval at most 25 % of the prediction. Calibration and measurement are of one sitting. The calibration's probe
runs around each round. While it says that other programs are busy, rounds are repeated for at most --patience seconds;
a network that had no nine rounds on the machine as the calibration found it when calm is shown, but not counted.
"""

from __future__ import annotations

import argparse
import gc
import time
from dataclasses import asdict, dataclass

import machine
import numpy as np

import striate as st
from striate.account.calibrate import DISTURBED, calibrate
from striate.account.calibrate.nets import PROBE
from striate.account.calibrate.runs import Runner
from striate.account.latency import predict
from striate.account.latency.store import Calibration, save
from striate.models.registry import ALIASES, MODELS

ROUNDS, MOST, SECONDS = 9, 25, 0.3  # of a network: at least, at most, and how long between them
ERROR, INSIDE, WIDTH = 0.15, 0.9, 0.25  # the bars


@dataclass(frozen=True)
class Compared:
    """Units: ms. `busy` is the probe's time over a calm machine's, while the network was measured."""

    network: str
    mode: str
    batch: int
    measured: float
    fastest: float
    slowest: float
    predicted: float
    low: float
    high: float
    busy: float

    @property
    def error(self) -> float:
        return abs(self.predicted / self.measured - 1)

    @property
    def inside(self) -> bool:
        return self.low <= self.measured <= self.high

    @property
    def calm(self) -> bool:
        return _calm(self.busy)

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2 / self.predicted


def compared(name: str, batch: int, training: bool, probe: Runner, found: Calibration, patience: float) -> Compared:
    """One network, predicted from zero weights, then run with its own."""
    image = st.models.find(name).input_shape
    said = predict(st.models.build(name), image, batch, training=training)
    runner = Runner(st.create(name), image, batch, training)
    ns, busy = measured(runner, probe, found.calm_ns, patience)
    runner.net.release()
    ms = np.array(ns) / 1e6
    return Compared(name, "training" if training else "inference", batch, float(np.median(ms)), float(ms.min()),
                    float(ms.max()), said.ms, said.low, said.high, busy)


def measured(runner: Runner, probe: Runner, calm_ns: float, patience: float) -> tuple[list[int], float]:
    """ns of the calm rounds, or of all if there were not enough within `patience` seconds; how slow the probe was."""
    rounds = list[tuple[int, float]]()
    start, before = time.perf_counter(), probe.settled_ns()
    while not _enough(rounds, time.perf_counter() - start, patience):
        ns, last = runner.settled_ns(), before
        before = probe.settled_ns()
        rounds.append((ns, max(before, last) / calm_ns))
    calm = [each for each in rounds if _calm(each[1])]
    counted = calm if len(calm) >= ROUNDS else rounds
    return [ns for ns, _ in counted], float(np.median([slowness for _, slowness in counted]))


def _enough(rounds: list[tuple[int, float]], seconds: float, patience: float) -> bool:
    calm = sum(_calm(slowness) for _, slowness in rounds)
    done = calm >= ROUNDS and (calm >= MOST or seconds > SECONDS)
    return done or (len(rounds) >= ROUNDS and seconds > patience)


def _calm(slowness: float) -> bool:
    """Whether the machine is as the calibration found it when calm: if that was never calm, it may be faster now."""
    return 1 / DISTURBED <= slowness <= DISTURBED


def shown(c: Compared) -> str:
    return (f"{c.network:24s} {c.mode:9s} batch {c.batch:3d}  measured {c.measured:9.3f} ({c.fastest:.3f} to "
            f"{c.slowest:.3f})  predicted {c.predicted:9.3f} ({c.low:.3f} to {c.high:.3f})  "
            f"{c.predicted / c.measured - 1:+6.1%} {'inside ' if c.inside else 'OUTSIDE'}"
            f"{'' if c.calm else f' (not counted: the probe took {c.busy:.2f} times as long)'}")


def summed(rows: list[Compared]) -> dict[str, float]:
    """Of the rows that were measured on a calm machine, which is what a prediction is of."""
    return {
        "networks": len({c.network for c in rows}), "rows": len(rows),
        "median_error": float(np.median([c.error for c in rows])),
        "inside": float(np.mean([c.inside for c in rows])),
        "median_half_width": float(np.median([c.half_width for c in rows])),
    }


def bars(found: dict[str, float]) -> str:
    told = [("median error", found["median_error"], "below", ERROR, found["median_error"] < ERROR),
            ("inside the 90 % interval", found["inside"], "at least", INSIDE, found["inside"] >= INSIDE),
            ("median half-width", found["median_half_width"], "at most", WIDTH, found["median_half_width"] <= WIDTH)]
    lines = [f"{name}: {value:.1%} ({word} {bar:.0%}: {'met' if met else 'MISSED'})"
             for name, value, word, bar, met in told]
    return "\n".join([f"{found['rows']:.0f} measurements of {found['networks']:.0f} networks, and "
                      f"{found['not_counted']:.0f} that other programs disturbed and that are not counted", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = [name for name in MODELS if name not in ALIASES]
    parser.add_argument("--networks", nargs="+", default=known)
    parser.add_argument("--inference", nargs="*", type=int, default=[1, 8], metavar="N", help="batch sizes")
    parser.add_argument("--training", nargs="*", type=int, default=[4], metavar="N", help="batch sizes")
    parser.add_argument("--patience", type=float, default=5.0, metavar="S", help="to wait for calm, a network")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    machine.heading("predicted times beside measured ones")
    st.set_threads(machine.THREADS)
    found = calibrate()
    print(f"calibrated in {found.seconds:.1f} s: {found.calls} calls of {found.networks} networks, "
          f"noise {found.noise:.1%}, {save(found)}")
    probe, rows = Runner(PROBE.design(PROBE.width), PROBE.image, PROBE.batch, PROBE.training), list[Compared]()
    for name in args.networks:
        for training, batches in ((False, args.inference), (True, args.training)):
            for batch in batches:
                rows.append(compared(name, batch, training, probe, found, args.patience))
                print(shown(rows[-1]), flush=True)
                gc.collect()
    calm = [c for c in rows if c.calm]
    if not calm:
        raise SystemExit("latency_prediction: the machine was never calm; run it when other programs are not busy")
    total = summed(calm) | {"not_counted": float(len(rows) - len(calm))}
    print(bars(total))
    machine.report({"rows": [asdict(c) for c in rows], "total": total, "seconds": found.seconds,
                    "noise": found.noise}, args.json)


if __name__ == "__main__":
    main()
