"""`striate models`: the networks there are, and what each costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from striate import account
from striate.cli.output import Json, show_json
from striate.graph import table
from striate.models import MODELS, build

HEADS = ("network", "parameters", "MACs", "image", "top-1 %")


@dataclass(frozen=True)
class Listed:
    """A network of the registry with its counts: `macs` of one image, `top1` in percent as `top1_source` has it."""

    name: str
    aliases: tuple[str, ...]
    input: tuple[int, ...]
    classes: int
    parameters: int
    macs: int
    top1: float | None
    top1_source: str
    year: int
    paper: str


def models(json: Json = False) -> None:
    """The networks there are: parameters, multiply-accumulates of one image, published accuracy, year and paper.

    Example: striate models
    """
    found = sorted(listed(), key=lambda m: (m.year, m.paper))
    if json:
        show_json({"models": [vars(m) for m in found]})
        return
    ...
