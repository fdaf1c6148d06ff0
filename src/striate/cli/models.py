"""`striate models`: the networks there are, and what each costs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from striate.cli.output import Json, show_json
from striate.graph import elements, table
from striate.kernels.contract import Spec
from striate.models import MODELS, build

HEADS = ("network", "parameters", "MACs", "image", "top-1 %")
END = ("Top-1 as published, --json says by whom: of grey images on MNIST, of 3x32x32 on",
       "CIFAR-10, of larger ones on ImageNet. `striate summary NET` goes layer by layer.")


def models(json: Json = False) -> None:
    """The networks there are: parameters, multiply-accumulates of one image, published top-1, year and paper.

    Example: striate models
    """
    found = listed()
    if json:
        show_json({"models": found})
        return
    print("\n".join(_lines(found)))


def listed() -> list[dict[str, Any]]:
    """Every network of the registry by year and paper. Its counts are read off its graph; no weight is drawn.

    Units: macs of one image; top1 in percent, as `top1_source` measured it. Heads that only training needs count
    in `all_parameters` alone.
    """
    entries = sorted(MODELS.values(), key=lambda e: (e.year, e.paper))
    found = []
    for e in entries:
        net = build(e.name)
        graph = net.graph(e.input_shape)
        parameters = sum(elements(Spec(s.shape)) for s in graph.states if s.parameter)
        found.append(dict(
            name=e.name, aliases=e.aliases, input=e.input_shape, classes=e.classes, parameters=parameters,
            all_parameters=sum(elements(Spec(s.shape)) for s in net.parameters().values()),
            macs=sum(node.cost().macs for node in graph.nodes), top1=e.top1, top1_source=e.top1_source, year=e.year,
            paper=e.paper,
        ))
    return found


def _lines(found: list[dict[str, Any]]) -> Iterator[str]:
    """One table, cut by lines that name year and paper."""
    rows = [(", ".join((m["name"], *m["aliases"])), f"{m['parameters']:,}", f"{m['macs']:,}",
             "x".join(map(str, m["input"])), "" if m["top1"] is None else f"{m['top1']:.2f}") for m in found]
    head, rule, *cells = table(HEADS, rows, right=HEADS[1:]).splitlines()
    yield from (head, rule)
    papers = (f"{m['year']}  {m['paper']}" for m in found)
    for paper, lines in groupby(zip(papers, cells, strict=True), key=lambda pair: pair[0]):
        yield from ("", paper, *(line for _, line in lines))
    yield from ("", *END)
