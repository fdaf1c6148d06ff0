"""Schedules: what the learning rate is multiplied by, as a function of the step.

A schedule is a function (step, total) -> factor with steps counted from 0. `warmup` steps rise linearly to 1 first: an
integer counts steps, a float below 1 is a share of the whole training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from striate.errors import ConfigError
from striate.ops.arguments import integer, number

Schedule = Callable[[int, int], float]


def constant(warmup: float = 0) -> Schedule:
    """Always 1."""
    return _warmed(warmup, lambda done, step, total: 1.0, "constant()")


def step(milestones: Sequence[float], gamma: float = 0.1, warmup: float = 0) -> Schedule:
    """gamma to the number of milestones passed; a milestone is a fraction of the whole training, as 0.5 and 0.75."""
    marks = [number("step", "milestones", m, 0.0, 1.0) for m in milestones]
    factor = number("step", "gamma", gamma, 0.0, 1.0)
    return _warmed(warmup, lambda done, step, total: factor ** sum(step >= m * total for m in marks),
                   f"step(milestones={marks}, gamma={factor})")


def cosine(warmup: float = 0, floor: float = 0.0) -> Schedule:
    """Half a cosine from 1 down to `floor`. Ref: Loshchilov and Hutter 2017, arXiv 1608.03983, eq. 5."""
    low = number("cosine", "floor", floor, 0.0, 1.0)
    return _warmed(warmup, lambda done, step, total: low + (1.0 - low) * 0.5 * (1.0 + math.cos(math.pi * done)),
                   f"cosine(floor={low})")


def describe(schedule: Schedule) -> str:
    """The call that made a schedule, or the name of a function of your own."""
    return getattr(schedule, "__name__", type(schedule).__name__)


def _warmed(warmup: float, after: Callable[[float, int, int], float], text: str) -> Schedule:
    """A linear rise, then after(share done of what follows the rise, step, total)."""
    share = isinstance(warmup, float)
    rise = number("schedule", "warmup", warmup, 0.0, 0.99) if share else integer("schedule", "warmup", warmup, 0)

    def factor(step: int, total: int) -> float:
        rising = int(rise * total) if share else int(rise)
        if total and rising >= total:
            raise ConfigError(f"schedule: warmup must be shorter than the training of {total} steps, got {rising}")
        if step < rising:
            return (step + 1) / (rising + 1)
        return after(min((step - rising) / max(total - rising, 1), 1.0), step, total)

    factor.__name__ = text.replace("(", f"(warmup={rise}, ", 1).replace(", )", ")")
    return factor
