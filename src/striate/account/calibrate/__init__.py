"""Calibrate: small networks are run for half a minute, and what each kernel takes on this machine is read off them.

Other programs on the machine make times longer, for moments or for minutes. A probe, a network that never changes, is
run around every round: rounds in which it was slow are left out or, where all were, divided by how slow it was.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from striate.account.calibrate.nets import PROBE, SAMPLES, Sample
from striate.account.calibrate.runs import Runner, Times, measure
from striate.account.latency.amounts import Amounts, amounts, run_amounts
from striate.account.latency.model import Seen, fit, roofline
from striate.account.latency.reuse import Floats
from striate.account.latency.spread import spread
from striate.account.latency.store import Calibration
from striate.errors import ConfigError
from striate.kernels import _native, native

BUDGET, LIMIT = 15.0, 24.0  # s for all samples, and when the last begins; fitting comes behind them
LEAST, MOST = 3, 25  # rounds of a sample; between them its part of the budget decides
STEP = 31  # samples of one design are not measured one behind the other, but all over the time
CALM = 0.1  # quantile of the probe's times that counts as a calm machine
DISTURBED = 1.15  # times that: a round around which the probe took longer is left out
LOW = 0.3  # quantile of a call's times: of three rounds one may have met another program that the probe did not
MEDIAN = 1.25  # a median's standard deviation over a mean's
DIVIDED = 0.3  # a time that was divided by the probe's slowness is unsure by such a part of it
LEAST_NS = 20.0  # the clock's step
PEAK_SECONDS = 0.1


@dataclass(frozen=True)
class Finding:
    """A sample's calls and its run's own amounts, with their times."""

    sample: Sample
    calls: list[Amounts]
    own: Amounts
    times: Times


def calibrate(samples: Sequence[Sample] = SAMPLES) -> Calibration:
    """What kernels take on this machine with the threads that are set.

    Raises: ConfigError if there is nothing to run.
    """
    if not samples:
        raise ConfigError("calibrate: needs at least one network to run, got none")
    start = time.perf_counter()
    isa, threads = native.default_isa(), native.get_threads()
    rates = roofline(2 * threads / _native.peak_gflops(isa, threads, PEAK_SECONDS),
                     threads / _native.copy_gbs(threads, PEAK_SECONDS))
    probe = _runner(PROBE)
    findings = list(_all(samples, probe))
    seen = seen_in(findings)
    prices = fit(seen, rates)
    sure = spread(seen, prices, unsure_in(findings))
    return Calibration(isa, threads, prices, sure, noise_of([f.times for f in findings]), calm_ns(findings),
                       time.perf_counter() - start, len(findings), len(seen))


def _runner(sample: Sample) -> Runner:
    return Runner(sample.design(sample.width), sample.image, sample.batch, sample.training)


def _all(samples: Sequence[Sample], probe: Runner) -> Iterator[Finding]:
    """Every sample, each with its part of what is left of the budget; on a slow machine as many as LIMIT allows."""
    start = time.perf_counter()
    for number, sample in enumerate(spread_out(samples)):
        passed = time.perf_counter() - start
        if passed > LIMIT:
            return
        left = BUDGET - passed
        yield _found(sample, probe, left / (len(samples) - number))


def spread_out(samples: Sequence[Sample]) -> list[Sample]:
    """All of them in steps of STEP."""
    step = next(n for n in range(STEP, STEP + len(samples) + 1) if math.gcd(n, len(samples)) == 1)
    return [samples[i * step % len(samples)] for i in range(len(samples))]


def _found(sample: Sample, probe: Runner, seconds: float) -> Finding:
    """A sample's times; its memory goes back before the next one is built."""
    start = time.perf_counter()
    runner = _runner(sample)
    times = measure(runner, probe, LEAST, MOST, seconds - (time.perf_counter() - start))
    program = runner.program
    target = native.target(program.isa, training=sample.training)
    calls = amounts(program.plan, target, program.threads)
    own = run_amounts(program.plan, sample.training)
    runner.net.release()
    return Finding(sample, calls, own, times)


def seen_in(findings: Sequence[Finding]) -> list[Seen]:
    """Every call of every sample with the ns it takes on a calm machine; what a run takes beside them is one too."""
    calm = calm_ns(findings)
    found = []
    for f in findings:
        name, run = f.sample.design.__name__, str(f.sample)
        calls = calm_rounds(f.times.calls, f.times.probe / calm)
        found += [Seen(name, run, a, max(ns, LEAST_NS)) for a, ns in zip(f.calls, calls, strict=True)]
        beside = calm_rounds(f.times.beside[:, None], f.times.probe / calm)[0]
        found.append(Seen(name, run, f.own, max(beside, LEAST_NS)))
    return found


def unsure_in(findings: Sequence[Finding]) -> dict[str, float]:
    """Run -> the standard deviation of the logarithm of its time, as far as its rounds tell."""
    calm = calm_ns(findings)
    return {str(f.sample): _unsure(f.times.calls.sum(axis=1), f.times.probe / calm) for f in findings}


def _unsure(ns: Floats, slowness: Floats) -> float:
    keep = slowness <= max(DISTURBED, float(np.median(slowness)))
    logs = np.log(ns[keep] / np.maximum(slowness[keep], 1.0))
    busy = max(math.log(float(slowness[keep].max()) / DISTURBED), 0.0)
    return math.hypot(MEDIAN * float(logs.std()) / math.sqrt(max(keep.sum() - 1, 1)), DIVIDED * busy)


def calm_ns(findings: Sequence[Finding]) -> float:
    """What the probe takes on the machine when it is calm."""
    return float(np.quantile(np.concatenate([f.times.probe for f in findings]), CALM))


def calm_rounds(ns: Floats, slowness: Floats) -> Floats:
    """What each call takes in calm rounds; at least in the calmer half, then divided by how slow the probe was."""
    keep = slowness <= max(DISTURBED, float(np.median(slowness)))
    slowed = np.maximum(slowness[keep], 1.0) if slowness[keep].max() > DISTURBED else np.ones(keep.sum())
    found: Floats = np.quantile(ns[keep] / slowed[:, None], LOW, axis=0)
    return found


def noise_of(times: Sequence[Times]) -> float:
    """Between the quartiles of a network's runs, as a share of their median: what is usual."""
    quartiles = [np.quantile(t.run, (0.25, 0.5, 0.75)) for t in times]
    return float(np.median([(high - low) / middle for low, middle, high in quartiles]))
