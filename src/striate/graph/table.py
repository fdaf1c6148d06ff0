"""Tables of text, as graphs, tapes, plans and profiles print themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def sizes(shape: Sequence[int]) -> str:
    """A shape as it is written on the command line: 1x28x28."""
    return "x".join(map(str, shape)) or "scalar"


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[str] = ()) -> str:
    """Aligned text columns under `heads`; the heads named in `right` are right-aligned."""
    cells = [tuple(heads), *(tuple(map(str, r)) for r in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(c.rjust(w) if h in right else c.ljust(w) for c, w, h in zip(r, widths, heads, strict=True)).rstrip()
        for r in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])
