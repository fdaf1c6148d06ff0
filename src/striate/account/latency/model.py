"""Model: ns of a call = its amounts times the prices of its family, fitted to measured calls.

Prices are non-negative and make the relative errors least. They are found from the general to the particular:
rooflines of the machine, then the prices of a class of kernels, then those of each family. Each is held to what stands
above it by weak ties, so that a family that was met twice is not believed as much as one that was met a hundred times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from striate.account.latency.amounts import NAMES, Amounts
from striate.account.latency.reuse import Floats

ROUNDS = 3  # of reweighting: the errors that count are relative to the prediction, which moves
TIE = 0.35  # of a price to the one above it: what a call's relative error of so much weighs
CLASSES = ("product", "pass", "run")
SMALL_NS = 2000.0  # calls below that pull the less the shorter they are
OUTLIER = 0.25  # relative error from which on a call pulls no harder


@dataclass(frozen=True)
class Seen:
    """A measured call: of which design, what it did, and its ns."""

    design: str
    run: str
    amounts: Amounts
    ns: float


@dataclass(frozen=True)
class Prices:
    """ns for each amount: of every family that was met, and of each class for families that were not."""

    families: Mapping[str, Floats]
    classes: Mapping[str, Floats]

    def ns(self, a: Amounts) -> float:
        known = self.families.get(a.family)
        return float(a.values @ (self.classes[class_of(a)] if known is None else known))


def class_of(a: Amounts) -> str:
    """Whether a call multiplies matrices, passes over tensors, or is what a run costs beside its calls."""
    return a.kernel if a.kernel == "run" else "product" if a.macs else "pass"


@dataclass(frozen=True)
class Group:
    """The calls of one family: amounts a row a call, ns, designs, and where among all that were seen."""

    kind: str
    x: Floats
    y: Floats
    designs: npt.NDArray[np.str_]
    where: npt.NDArray[np.intp]


def groups(seen: Sequence[Seen]) -> dict[str, Group]:
    """Family -> its calls."""
    members: dict[str, list[int]] = {}
    for i, s in enumerate(seen):
        members.setdefault(s.amounts.family, []).append(i)
    return {
        family: Group(class_of(seen[at[0]].amounts), np.array([seen[i].amounts.values for i in at]),
                      np.array([seen[i].ns for i in at]), np.array([seen[i].design for i in at]), np.array(at))
        for family, at in sorted(members.items())
    }


def fit(seen: Sequence[Seen], roofline: Floats) -> Prices:
    """The prices that explain what was seen."""
    found = groups(seen)
    classes = {kind: _of_class([g for g in found.values() if g.kind == kind], roofline) for kind in CLASSES}
    return Prices({family: fitted(g.x, g.y, classes[g.kind]) for family, g in found.items()}, classes)


def _of_class(members: Sequence[Group], roofline: Floats) -> Floats:
    if not members:
        return roofline
    return fitted(np.concatenate([g.x for g in members]), np.concatenate([g.y for g in members]), roofline)


def fitted(x: Floats, y: Floats, above: Floats) -> Floats:
    """Prices for calls of amounts `x` that took `y` ns, each tied to the one `above` it."""
    if not len(y):
        return above
    used = x.any(axis=0)
    start = np.maximum(above, 1e-9)
    start = start * np.exp(np.median(np.log(y / (x @ start))) * len(y) / (len(y) + 1))  # slower or faster in all
    prices: Floats = start.copy()
    ties = np.diag(TIE / start[used])
    for _ in range(ROUNDS):
        guess = np.maximum(x @ prices, 1.0)
        pull = np.minimum(1.0, OUTLIER / np.maximum(np.abs(y / guess - 1), 1e-9)) ** 0.5 / (guess + SMALL_NS)
        rows = np.vstack([x[:, used] * pull[:, None], ties])
        prices[used] = least_squares(rows, np.concatenate([y * pull, np.full(used.sum(), TIE)]))
    return prices


def least_squares(a: Floats, b: Floats) -> Floats:
    """x >= 0 that makes |a x - b| least.

    Ref: Lawson and Hanson 1974, Solving Least Squares Problems, chapter 23; here on the normal equations.
    """
    gram, want = a.T @ a, a.T @ b
    scale = np.sqrt(gram.diagonal())
    gram, want = gram / np.outer(scale, scale), want / scale
    x, free = np.zeros(len(want)), np.zeros(len(want), bool)
    for _ in range(3 * len(x)):
        gain = np.where(free, -np.inf, want - gram @ x)
        if gain.max() <= 1e-9:
            break
        free[int(gain.argmax())] = True
        x = _within(gram, want, x, free)
    found: Floats = x / scale
    return found


def _within(gram: Floats, want: Floats, x: Floats, free: npt.NDArray[np.bool_]) -> Floats:
    """From x towards the least over the `free` ones, which become fewer where a bound is met."""
    while free.any():
        best = np.zeros_like(x)
        best[free] = np.linalg.solve(gram[np.ix_(free, free)], want[free])
        short = free & (best <= 0)
        if not short.any():
            return best
        step = float((x[short] / (x[short] - best[short] + 1e-300)).min())
        x = x + step * (best - x)
        free &= x > 1e-12
        x = np.where(free, x, 0.0)
    return x


def roofline(multiply_ns: float, byte_ns: float) -> Floats:
    """Prices before anything was seen, from the rates of one thread: multiply-adds from registers, bytes copied."""
    guess = {"calls": 500.0, "shared": 1500.0, "parts": 100.0, "multiplies": multiply_ns, "gathered": 4 * byte_ns,
             "scattered": 4 * byte_ns, "packed": 8 * byte_ns, "again": byte_ns, "elements": byte_ns,
             "applied": 10 * byte_ns, "behind": byte_ns}
    return np.array([guess.get(name, byte_ns / 5) for name in NAMES])
