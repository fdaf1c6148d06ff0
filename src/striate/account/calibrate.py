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

from striate.account.calibrate_nets import PROBE, SAMPLES, Sample
from striate.account.calibrate_runs import Runner, Times, measure
from striate.account.latency_amounts import Amounts, amounts, run_amounts
from striate.account.latency_model import Seen, fit, roofline
from striate.account.latency_reuse import Floats
from striate.account.latency_spread import spread
from striate.account.latency_store import Calibration
from striate.errors import ConfigError
from striate.kernels import _native, native

BUDGET = 20.0  # s for all samples; fitting comes behind them
LEAST, MOST = 3, 25  # rounds of a sample; between them its part of the budget decides
STEP = 31  # samples of one design are not measured one behind the other, but all over the time
CALM = 0.1  # quantile of the probe's times that counts as a calm machine
DISTURBED = 1.15  # times that: a round around which the probe took longer is left out
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
    return Calibration(isa, threads, prices, spread(seen, prices), noise_of([f.times for f in findings]),
                       calm_ns(findings), time.perf_counter() - start, len(findings), len(seen))


def _runner(sample: Sample) -> Runner:
    return Runner(sample.design(sample.width), sample.image, sample.batch, sample.training)


def _all(samples: Sequence[Sample], probe: Runner) -> Iterator[Finding]:
    """Every sample; each may take its part of what is left of the budget."""
    start = time.perf_counter()
    for number, sample in enumerate(spread_out(samples)):
        left = BUDGET - (time.perf_counter() - start)
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


def calm_ns(findings: Sequence[Finding]) -> float:
    """What the probe takes on the machine when it is calm."""
    return float(np.quantile(np.concatenate([f.times.probe for f in findings]), CALM))


def calm_rounds(ns: Floats, slowness: Floats) -> Floats:
    """The median of each call over the calm rounds; at least over the calmer half, then divided by how slow it was."""
    keep = slowness <= max(DISTURBED, float(np.median(slowness)))
    slowed = np.maximum(slowness[keep], 1.0) if slowness[keep].max() > DISTURBED else np.ones(keep.sum())
    median: Floats = np.median(ns[keep] / slowed[:, None], axis=0)
    return median


def noise_of(times: Sequence[Times]) -> float:
    """Between the quartiles of a network's runs, as a share of their median: what is usual."""
    quartiles = [np.quantile(t.run, (0.25, 0.5, 0.75)) for t in times]
    return float(np.median([(high - low) / middle for low, middle, high in quartiles]))
