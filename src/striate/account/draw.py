"""How an account is drawn: tables that fit 80 columns, and the same in Markdown."""

from __future__ import annotations

import csv
import dataclasses
import io
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from striate.graph import sizes, table

if TYPE_CHECKING:
    from striate.account.cost import Account, Row

WIDTH = 80  # columns of a printed table
NARROWEST, LEAST = 26, 8  # columns of a layer's name beside numbers in full, and beside short ones
Cells = tuple[Any, ...]


@dataclass(frozen=True)
class Sheet:
    """One table: its heads, how many columns from the left are words, its rows and a last row of totals, if any."""

    heads: tuple[str, ...]
    words: int
    rows: list[Cells]
    total: Cells | None = None

    def lines(self) -> list[Cells]:
        return self.rows if self.total is None else [*self.rows, self.total]


def drawn(account: Account) -> str:
    """The account as text: what it computes and holds, what it moves and sees, shares, totals."""
    parts = [_head(account)]
    for sheet in _sheets(account):
        lines = table(sheet.heads, _fitted(sheet), right=sheet.heads[sheet.words:]).splitlines()
        if sheet.total is not None:
            lines.insert(-1, lines[1])  # a rule above the total
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, _ends(account)])


def markdown(account: Account) -> str:
    """The account in Markdown, numbers in full."""
    parts = [_head(account)]
    for sheet in _sheets(account):
        rule = ["---"] * sheet.words + ["---:"] * (len(sheet.heads) - sheet.words)
        lines = [sheet.heads, rule, *(tuple(map(_full, cells)) for cells in sheet.lines())]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join([*parts, _ends(account)])


def as_csv(account: Account) -> str:
    """The rows and their total as comma-separated values under the names of Row's fields; pairs as HxW."""
    heads = [field.name for field in dataclasses.fields(account.rows[0])] if account.rows else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([_cell(getattr(row, head)) for head in heads] for row in account.rows)
    writer.writerow(["total", *(_cell(getattr(account.total, head, None)) for head in heads[1:])])
    return text.getvalue()


def _cell(value: Any) -> Any:
    return sizes(value) if isinstance(value, tuple) else value


def _head(account: Account) -> str:
    return f"{account.name}, input {sizes(account.input)} (batch {account.input[0]})"


def _sheets(account: Account) -> list[Sheet]:
    rows, t = account.rows, account.total
    computes = Sheet(
        ("layer", "operation", "output", "parameters", account.convention.head, "other"), 3,
        [(r.layer, r.op, sizes(r.output[1:]), r.parameters, r.counted, r.other) for r in rows],
        ("total", "", "", t.parameters, t.counted, t.other))
    sees = Sheet(
        ("layer", "activation bytes", "bytes moved", "field", "stride", "padding", "FLOPs/byte"), 1,
        [(r.layer, r.activation_bytes, r.bytes_moved, *_sight(r), _rate(r.intensity)) for r in rows],
        ("total", t.activation_bytes, t.bytes_moved, "", "", "", _rate((t.flops + t.other) / max(t.bytes_moved, 1))))
    shares = Sheet(("part", "parameters", "MACs", "activation bytes"), 1, [
        (part, *(f"{100 * share:.1f} %" for share in found.values())) for part, found in account.shares.items()])
    return [computes, sees, shares]


def _sight(row: Row) -> tuple[str, str, str]:
    field, stride, padding = (_square(p) for p in (row.receptive_field, row.effective_stride, row.effective_padding))
    return field, stride, padding


def _square(pair: tuple[int, int] | None) -> str:
    """A pair as one number if both are the same; "-" if it is not known."""
    if pair is None:
        return "-"
    return str(pair[0]) if pair[0] == pair[1] else sizes(pair)


def _rate(intensity: float | None) -> str:
    return "-" if intensity is None else f"{intensity:.1f}"


def _ends(account: Account) -> str:
    t, c = account.total, account.convention
    lines = [f"{t.macs:,} MACs = {t.flops:,} FLOPs (2 a multiply-accumulate)",
             f"and {t.other:,} other operations (bias, activation, norm, pooling)"]
    if c.name != "striate":
        lines += textwrap.wrap(f"{c.name} counts {t.counted:,} {c.unit}: {c.why}", WIDTH)
    if t.all_parameters != t.parameters:
        lines.append(f"{t.all_parameters:,} parameters in all: some are used in training only, or never")
    return "\n".join(lines)


# ---- fitting 80 columns

def _fitted(sheet: Sheet) -> list[tuple[str, ...]]:
    """Cells as text: numbers in full if the layer's name keeps room beside them, else with four digits."""
    for shown in (_full, _short):
        cells = [tuple(map(shown, row)) for row in sheet.lines()]
        others = sum(max(map(len, column)) + 2 for column in list(zip(sheet.heads, *cells, strict=True))[1:])
        if WIDTH - others >= NARROWEST:
            break
    return [(cut(r[0], max(WIDTH - others, LEAST)), *r[1:]) for r in cells]


def _full(cell: Any) -> str:
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def _short(cell: Any) -> str:
    """A number with four significant digits: 1.85G for 1,849,688,064."""
    if not isinstance(cell, int) or cell < 100_000:
        return _full(cell)
    for factor, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "K")):
        if cell >= factor:
            return f"{cell / factor:.4g}{letter}"
    return _full(cell)


def cut(text: str, room: int) -> str:
    """`text` without its middle, so that it fits."""
    head = (room - 3) // 3
    return text if len(text) <= room else f"{text[:head]}...{text[len(text) - (room - 3 - head):]}"
