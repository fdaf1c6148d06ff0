"""What each call of a run took: time, bytes and floating-point operations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from striate.engine.tape import Call
from striate.graph import table

if TYPE_CHECKING:  # place asks here what a call costs
    from striate.engine.place import Plan


@dataclass(frozen=True)
class CallProfile:
    """One call: its time in ns, the bytes of its tensors, its FLOPs (2 a multiply-accumulate, 1 an element else).

    The FLOPs are those of the definition: Winograd's algorithm does fewer. `call` is what was run.
    """

    layer: str
    kernel: str
    section: str
    ns: int
    bytes: int
    flops: int
    call: Call


class Profile:
    """The calls of one run with their times; prints as a table."""

    def __init__(self, plan: Plan, times: Sequence[int], isa: str, threads: int) -> None:
        self.isa, self.threads = isa, threads
        self.calls = [
            CallProfile(c.path, c.row.name, c.section, ns, bytes_of(c), flops_of(c), c)
            for c, ns in zip(plan.tape.calls, times, strict=True)
        ]

    @property
    def ns(self) -> int:
        return sum(c.ns for c in self.calls)

    def __str__(self) -> str:
        rows: list[tuple[Any, ...]] = [
            (c.layer, c.kernel, c.section, f"{c.ns / 1e3:.1f}", c.bytes, c.flops, _rate(c.flops, c.ns),
             _rate(c.bytes, c.ns))
            for c in self.calls
        ]
        heads = ("layer", "kernel", "section", "us", "bytes", "FLOPs", "GFLOP/s", "GB/s")
        end = f"{self.ns / 1e6:.3f} ms in {len(self.calls)} calls, isa {self.isa}, threads {self.threads}"
        return f"{table(heads, rows, right=heads[3:])}\n{end}"


def _rate(amount: int, ns: int) -> str:
    return f"{amount / ns:.2f}" if ns else "-"


def bytes_of(call: Call) -> int:
    return sum(b.nbytes for b in (*call.inputs, *call.outputs) if b is not None)


def flops_of(call: Call) -> int:
    """2 MACs of its definition for the matrix products, else one operation for each element of the largest tensor."""
    if call.problem is not None and call.row.name in PRODUCTS:
        return 2 * call.problem.macs
    return max((math.prod(b.shape) for b in (*call.inputs, *call.outputs) if b is not None), default=0)


def estimated_ns(call: Call) -> float:
    """Roughly what one thread takes from cache: 50 GFLOP/s, 10 GB/s; infinite where the operations are not known."""
    heavy = call.row.algorithm or call.row.name.startswith(("conv", "linear", "callback"))
    known = call.row.name in PACKING or (call.problem is not None and call.row.name in PRODUCTS)
    return math.inf if heavy and not known else flops_of(call) / 50 + bytes_of(call) / 10


# The kernels that multiply; what else a definition is lowered to packs, pools or sums.
PRODUCTS = frozenset({"conv2d_gemm", "conv2d_gemm_pool", "conv2d_dx_gemm", "conv2d_dx_gemm_sums", "conv2d_dw",
                      "conv2d_winograd", "conv2d_winograd_sums", "conv2d_dw_winograd", "conv2d_pool_dx",
                      "conv2d_pool_dw", "linear_rows", "linear_dx_rows", "linear_dw_sgd", "linear_dw_adam"})
PACKING = frozenset({"pack_filters", "winograd_filters"})
