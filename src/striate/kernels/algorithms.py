"""The ways a convolution and its gradients can be computed, and which one is chosen.

The choice is a pure function of problem and target: what a tuned table of the target names, else what costs.py predicts
to be the fastest of all that apply. Precision decides what may be chosen. The error of Winograd's algorithm grows with
its tile, so the largest tiles are left to precision "fast": by the gate rms <= 3e-6 of the output's spread (measured:
F(4, 3) 1.0e-6 at C = 512, F(4, 5) 2.1e-6, F(6, 3) 4.9e-6; F(4, 5) not in training, whose errors add up).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from striate.kernels.costs import microseconds
from striate.kernels.problem import Problem
from striate.kernels.target import Target


@dataclass(frozen=True)
class Algorithm:
    """One way to compute. `tile` is the side of the output (for dW: of dy) that Winograd's algorithm takes at once."""

    name: str
    tile: int = 0  # 0: the direct algorithm

    def applies(self, p: Problem, target: Target) -> bool:
        """Whether it computes the problem, and may do so at the target's precision."""
        if not self.tile:
            return True
        if target.precision == "direct" or p.kernel[0] != p.kernel[1]:
            return False
        plain = p.stride == (1, 1) and p.dilation == (1, 1) and p.groups == 1
        return plain and max(p.padding) < p.kernel[0] and self.tile in _tiles(p, target)

    def cost(self, p: Problem, target: Target) -> float:
        """Predicted microseconds."""
        return microseconds(p, target, self.tile)

    def pools(self, p: Problem) -> bool:
        """Whether the pooling behind the convolution is part of its kernel: windows must lie within tiles."""
        return p.epilogue == "max_pool" and self.tile > 0 and self.tile % 2 == 0


DIRECT = Algorithm("direct")
ALGORITHMS = (DIRECT, *(Algorithm(f"winograd_{tile}", tile) for tile in (2, 3, 4, 6)))

# (kind, side of the kernel) -> tiles there are kernels for, and of those the ones for precision "fast" alone
FORWARD, DX, DW = "forward", "dx", "dw"
TILES: dict[tuple[str, int], tuple[tuple[int, ...], tuple[int, ...]]] = {
    (FORWARD, 3): ((2, 3, 4), (6,)), (DX, 3): ((2, 3, 4), (6,)), (DW, 3): ((2, 3, 4), ()),
    (FORWARD, 5): ((2, 4), ()), (DX, 5): ((2,), (4,)), (DW, 5): ((2,), (4,)),
}
IN_INFERENCE_ONLY = (FORWARD, 5, 4)  # kind, kernel, tile


def _tiles(p: Problem, target: Target) -> tuple[int, ...]:
    usual, fast = TILES.get((p.kind, p.kernel[0]), ((), ()))
    if target.precision == "fast":
        return usual + fast
    return tuple(t for t in usual if not target.training or (p.kind, p.kernel[0], t) != IN_INFERENCE_ONLY)


@lru_cache(maxsize=4096)
def candidates(p: Problem, target: Target) -> tuple[tuple[Algorithm, float], ...]:
    """What applies, each with its predicted microseconds, the fastest first."""
    found = [(a, a.cost(p, target)) for a in ALGORITHMS if a.applies(p, target)]
    return tuple(sorted(found, key=lambda pair: pair[1]))


def chosen(p: Problem, target: Target) -> Algorithm:
    """The algorithm that computes a problem."""
    found = candidates(p, target)
    named = target.table.get(key(p, target))
    return next((a for a, _ in found if a.name == named), found[0][0])


def key(p: Problem, target: Target) -> str:
    """What a tuned table holds an algorithm for."""
    return f"{p} {target.precision}{' training' if target.training else ''}"
