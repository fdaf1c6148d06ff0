"""How far predictions are off: each design of the calibration is predicted from all the others.

The errors of one family in one network are mostly common (the same kernel at similar sizes), those of different
families mostly not. So a network's error is a sum over families of what each takes times what it is off, and a factor
that makes nine tenths of the calibration's own networks lie inside.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from striate.account.latency.amounts import Amounts
from striate.account.latency.model import Prices, Seen, class_of, fitted, groups
from striate.account.latency.reuse import Floats

INSIDE = 0.9  # of networks
USUAL = 3  # networks that what is usual in a class counts as, beside those that a family was met in
COMMON = tuple(i / 100 for i in range(0, 41, 2))  # tried, all with all
SCALES = tuple(i / 20 for i in range(4, 41))
LEAST = 0.02  # of a family's time: what repeats of a measurement differ by on a quiet machine


@dataclass(frozen=True)
class Spread:
    """Standard deviations of the logarithm of time: of families, of those that were not met, and common to a run.

    So many as `factor` says hold nine tenths of networks.
    """

    families: Mapping[str, float]
    classes: Mapping[str, float]  # of families that were not met
    common: float
    factor: float

    def of(self, a: Amounts) -> float:
        return self.families.get(a.family, self.classes[class_of(a)])

    def half(self, parts: Iterable[tuple[Amounts, float]]) -> float:
        """Half the width of the interval of a sum, in logarithms; `parts` are calls with their ns."""
        return self.factor * math.hypot(self.apart(parts), self.common)

    def apart(self, parts: Iterable[tuple[Amounts, float]]) -> float:
        """What the families' errors, each on its own, make of the sum."""
        sums: dict[str, float] = defaultdict(float)
        squares: dict[str, float] = {}
        for a, ns in parts:
            sums[a.family] += ns
            squares[a.family] = self.of(a) ** 2
        whole = max(sum(sums.values()), 1e-9)
        return math.sqrt(sum(ns**2 * squares[family] for family, ns in sums.items())) / whole


def spread(seen: Sequence[Seen], prices: Prices, unsure: Mapping[str, float]) -> Spread:
    """From predictions of designs that were left out; `unsure` says of each run how sure its own time is."""
    guessed = left_out(seen, prices)
    unmet = {name: _unmet(name, seen, prices) for name in prices.classes}
    plain = Spread(_families(seen, guessed), unmet, 0.0, 1.0)
    runs: dict[str, list[tuple[Seen, float]]] = defaultdict(list)
    for s, ns in zip(seen, guessed, strict=True):
        runs[s.run].append((s, ns))
    off = np.array([math.log(sum(s.ns for s, _ in each) / sum(ns for _, ns in each)) for each in runs.values()])
    apart = np.array([plain.apart((s.amounts, ns) for s, ns in each) for each in runs.values()])
    common, factor = _scaled(off, apart, np.array([unsure.get(run, 0.0) for run in runs]))
    return replace(plain, common=common, factor=factor)


def _scaled(off: Floats, apart: Floats, unsure: Floats) -> tuple[float, float]:
    """The common part, and the factor that holds nine tenths.

    Errors `off` are scale^2 (apart^2 + common^2) and the square of what the measurement itself is unsure of, together:
    common and scale are those that make them likeliest.
    """
    def unlikely(of: tuple[float, float]) -> float:
        squares = of[1] ** 2 * (apart**2 + of[0] ** 2) + unsure**2
        return float(np.mean(off**2 / squares + np.log(squares)))

    common, scale = min(itertools.product(COMMON, SCALES), key=unlikely)
    errors = np.abs(off) / np.sqrt(scale**2 * (apart**2 + common**2) + unsure**2)
    return common, scale * float(np.quantile(errors, INSIDE))


def left_out(seen: Sequence[Seen], prices: Prices) -> Floats:
    """ns of each call as predicted without its design; `prices` give what families are tied to."""
    guessed = np.zeros(len(seen))
    for g in groups(seen).values():
        for design in np.unique(g.designs):
            others = g.designs != design
            without = fitted(g.x[others], g.y[others], prices.classes[g.kind])
            guessed[g.where[~others]] = g.x[~others] @ without
    return guessed


def _families(seen: Sequence[Seen], guessed: Floats) -> dict[str, float]:
    """Family -> what its sum in a run is off by, drawn to what is usual in its class."""
    sums: dict[tuple[str, str, str], Floats] = defaultdict(lambda: np.zeros(2))
    for s, ns in zip(seen, guessed, strict=True):
        sums[class_of(s.amounts), s.amounts.family, s.run] += (s.ns, ns)
    squares: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (name, family, _), (took, said) in sums.items():
        squares[name][family].append(math.log(took / said) ** 2)
    found = {}
    for of_class in squares.values():
        usual = float(np.median([np.mean(each) for each in of_class.values()]))
        for family, each in of_class.items():
            found[family] = max(math.sqrt((sum(each) + USUAL * usual) / (len(each) + USUAL)), LEAST)
    return found


def _unmet(name: str, seen: Sequence[Seen], prices: Prices) -> float:
    """What the prices of a class are off by for the families in it."""
    off: dict[str, list[float]] = defaultdict(list)
    for s in seen:
        if class_of(s.amounts) == name:
            off[s.amounts.family].append(math.log(s.ns / float(s.amounts.values @ prices.classes[name])))
    return math.sqrt(float(np.mean([np.median(each) ** 2 for each in off.values()]))) if off else 1.0
