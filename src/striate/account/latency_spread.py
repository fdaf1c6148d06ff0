"""How far predictions are off: each design of the calibration is predicted from all the others.

The errors of one family in one network are mostly common (the same kernel at similar sizes), those of different
families mostly not. So a network's error is a sum over families of what each takes times what it is off, and a factor
that makes nine tenths of the calibration's own networks lie inside.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from striate.account.latency_amounts import Amounts
from striate.account.latency_model import Prices, Seen, class_of, fit
from striate.account.latency_reuse import Floats

INSIDE = 0.9  # of networks
USUAL = 3  # networks that what is usual in a class counts as, beside those that a family was met in
LEAST = 0.02  # of a family's time: what repeats of a measurement differ by on a quiet machine


@dataclass(frozen=True)
class Spread:
    """Standard deviations of the logarithm of time; `factor` of them hold nine tenths of networks."""

    families: Mapping[str, float]
    classes: Mapping[str, float]  # of families that were not met
    factor: float

    def of(self, a: Amounts) -> float:
        return self.families.get(a.family, self.classes[class_of(a)])

    def total(self, parts: Iterable[tuple[Amounts, float]]) -> float:
        """Half the width of the interval of a sum, in logarithms; `parts` are calls with their ns."""
        sums: dict[str, float] = defaultdict(float)
        spread: dict[str, float] = {}
        for a, ns in parts:
            sums[a.family] += ns
            spread[a.family] = self.of(a)
        whole = max(sum(sums.values()), 1e-9)
        return self.factor * math.sqrt(sum((sums[f] * spread[f]) ** 2 for f in sums)) / whole


def spread(seen: Sequence[Seen], prices: Prices, roofline: Floats) -> Spread:
    """From predictions of designs that were left out."""
    guessed = left_out(seen, roofline)
    families = _families(seen, guessed)
    unmet = {name: _unmet(name, seen, prices) for name in prices.classes}
    plain = Spread(families, unmet, 1.0)
    runs: dict[str, list[int]] = defaultdict(list)
    for i, s in enumerate(seen):
        runs[s.run].append(i)
    scores = []
    for members in runs.values():
        off = math.log(sum(seen[i].ns for i in members) / sum(guessed[i] for i in members))
        scores.append(abs(off) / plain.total((seen[i].amounts, guessed[i]) for i in members))
    return Spread(families, unmet, float(np.quantile(scores, INSIDE)) if scores else 2.0)


def left_out(seen: Sequence[Seen], roofline: Floats) -> Floats:
    """ns of each call as predicted without its design."""
    guessed = np.zeros(len(seen))
    for design in sorted({s.design for s in seen}):
        prices = fit([s for s in seen if s.design != design], roofline)
        for i, s in enumerate(seen):
            if s.design == design:
                guessed[i] = prices.ns(s.amounts)
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
