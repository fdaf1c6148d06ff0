"""Target: all that an algorithm may be chosen for besides the problem: instruction set, precision, and a tuned table.

Not in it, because no result may depend on them: threads, the clock, free memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

# "default": fast algorithms whose error is bounded; "direct": no fast algorithm, exact on small integers;
# "fast": every algorithm there is (KERNELS: numerical policy).
PRECISIONS = ("default", "direct", "fast")


@dataclass(frozen=True)
class Target:
    """What kernels are chosen for; equal targets give equal choices.

    width: floats of a vector; mr, nr: the register tile; mc, kc: the packed block. `training` says that filters are
    packed anew in every run and that the results steer weights; `tuned` holds (problem, algorithm) pairs that were
    measured, which take the place of the cost model.
    """

    isa: str
    width: int
    mr: int
    nr: int
    mc: int
    kc: int
    precision: str = "default"
    training: bool = False
    tuned: tuple[tuple[str, str], ...] = ()

    @cached_property
    def table(self) -> Mapping[str, str]:
        """Problem -> the algorithm that was measured to be the fastest."""
        return dict(self.tuned)
