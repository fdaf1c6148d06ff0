"""The nouns of the case table: a call of an operation, a call of a kernel.

A tuple under a tensor's name is the shape of random numbers; anything else is passed as it stands. `layout` names how
the arrays lie in memory, `data` what is in them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from striate.kernels.contract import ROWS

TENSORS = {"conv2d": "x w b r", "linear": "x w b", "batch_norm": "x running_mean running_var weight bias",
           "add": "a b", "sub": "a b", "mul": "a b", "div": "a b", "concat": "values", "lerp": "old new",
           "conv2d_norm": "x w b mean var gamma beta r", "linear_norm": "x w b mean var gamma beta",
           "conv2d_moments": "x w b", "conv2d_max_pool": "x w b", "norm_act": "x mean var gamma beta r",
           "conv2d_max_pool_norm": "x w b mean var gamma beta",
           "cross_entropy": "logits targets weight", "count_correct": "logits targets", "mse_loss": "x target",
           "rbf": "x centers"}


@dataclass(frozen=True, eq=False)
class Case:
    """One call of a public operation."""

    op: str
    error: type[Exception] | None = None
    match: str = ""
    layout: str = "plain"
    data: str = "normal"
    given: dict[str, Any] = field(default_factory=dict)

    def __init__(self, op: str, *, error: Any = None, match: str = "", layout: str = "plain", data: str = "normal",
                 **given: Any) -> None:
        for name, value in dict(op=op, error=error, match=match, layout=layout, data=data, given=given).items():
            object.__setattr__(self, name, value)

    @property
    def tensors(self) -> dict[str, Any]:
        names = TENSORS.get(self.op, "x").split()
        return {name: self.given[name] for name in names if name in self.given}

    @property
    def options(self) -> dict[str, Any]:
        return {name: value for name, value in self.given.items() if name not in self.tensors}

    def __str__(self) -> str:
        words = [f"{k}={short(v)}" for k, v in self.given.items()]
        words += [getattr(self, k) for k, usual in (("layout", "plain"), ("data", "normal"))
                  if getattr(self, k) != usual]
        return f"{self.op}({' '.join(words)})".replace(", ", ",")[:100]


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a kernel."""

    kernel: str
    given: dict[str, Any] = field(default_factory=dict)

    def __init__(self, kernel: str, /, **given: Any) -> None:
        object.__setattr__(self, "kernel", kernel)
        object.__setattr__(self, "given", given)

    @property
    def tensors(self) -> dict[str, Any]:
        return {name.rstrip("?"): self.given.get(name.rstrip("?")) for name in ROWS[self.kernel].inputs}

    @property
    def params(self) -> dict[str, Any]:
        return {name: value for name, value in self.given.items() if name not in self.tensors}

    def __str__(self) -> str:
        return f"{self.kernel}({' '.join(f'{k}={short(v)}' for k, v in self.given.items())})".replace(", ", ",")[:100]


def short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}" if value.ndim else str(value)
    return getattr(value, "__name__", None) or str(value).split(" at 0x")[0]  # addresses change


LENGTHS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 34, 66)  # around the vector widths 4, 8 and 16
LAYOUTS = ("strided", "reversed", "fortran", "channels_last", "misaligned", "odd_bytes", "readonly", "big_endian",
           "repeated")
NAN, INF = float("nan"), float("inf")
