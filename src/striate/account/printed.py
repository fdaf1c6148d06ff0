"""What a printed number can stand for: the rule by which a cell of a published table is right or wrong.

A cell is digits and a unit: "2.7K", "138M", "93MB", "1,728". It can be right if an exact number, divided by the unit,
gives the printed digits when it is rounded or when it is cut off after them. K is 1000 or 1024, M, G and T likewise.
Zeros at the end of a whole number may stand for digits that were rounded away: "800K" for 802,816. And a row of
several layers may have been added up from layers that were each rounded, or each cut off.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

from striate.errors import FormatError

POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
CELL = re.compile(r"(?P<digits>\d{1,3}(?:,\d{3})+|\d+)(?P<decimals>\.\d+)?\s*(?P<unit>[KMGT]?)(?:i?B)?", re.I)
WAYS = (ROUND_HALF_UP, ROUND_DOWN)


@dataclass(frozen=True)
class Printed:
    """A printed number: `value` in units of 1000**power (or 1024**power), printed to steps of `step`."""

    text: str
    value: Decimal
    step: Decimal
    power: int

    @classmethod
    def of(cls, text: str) -> Printed:
        """Raises: FormatError if `text` is no number with a unit."""
        match = CELL.fullmatch(text.strip())
        if match is None:
            raise FormatError(f"audit: a cell must be a number with K, M, G or T, as 2.7K or 1,728; got {text!r}")
        decimals = match["decimals"] or ""
        value = Decimal(match["digits"].replace(",", "") + decimals)
        return cls(text, value, Decimal(1).scaleb(-max(len(decimals) - 1, 0)), POWERS[match["unit"].upper()])

    def can_be(self, parts: Sequence[int]) -> bool:
        """Whether the sum of `parts`, one a layer, may be printed as this."""
        return any(self.value in self._printings(parts, Decimal(base) ** self.power) for base in (1000, 1024))

    def _printings(self, parts: Sequence[int], unit: Decimal) -> Iterator[Decimal]:
        exact = sum(parts) / unit
        for way in WAYS:
            yield _cut(exact, self.step, way)
            yield sum((_cut(part / unit, self.step, way) for part in parts), Decimal(0))
        step = self.step
        while self.value and step >= 1 and self.value % (10 * step) == 0:
            step *= 10
            yield _cut(exact, step, ROUND_HALF_UP)


def _cut(number: Decimal, step: Decimal, way: str) -> Decimal:
    """`number` as a multiple of `step`."""
    return (number / step).quantize(Decimal(1), rounding=way) * step
