"""Where words go: results to standard output, all else to standard error; --json prints one object and nothing more."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option(
    "--json", metavar=" ", help="Print one JSON object on standard output, and all else on standard error.")]
Threads = Annotated[int | None, typer.Option(
    metavar="N", help="How many threads compute. Default: one a physical core you may use.")]

Precision = Annotated[str, typer.Option(
    metavar="default|direct|fast", help="Which algorithms may be chosen.", show_default=False)]
GivenPrecision = Annotated[str | None, typer.Option(
    metavar="default|direct|fast", help="Which algorithms may be chosen. Default: default.")]
Net = Annotated[str, typer.Argument(
    metavar="NET", help="A network's name, a saved file, a run folder, or FILE.py:NAME: a Module of yours, or a class "
    "or function that gives one; the file's code is run.")]
Batch = Annotated[int, typer.Option(metavar="N", help="How many images at once.")]
Training = Annotated[bool, typer.Option("--training", metavar=" ", help="A training step, not inference.")]
Input = Annotated[str | None, typer.Option(
    metavar="CxHxW", help="The shape of one image, as 1x28x28. Default: what the network is for.")]
Tune = Annotated[bool, typer.Option(
    "--tune", metavar=" ", help="Measure once which algorithm is the fastest for each layer, and remember it.")]


def say(text: str) -> None:
    """A line on standard error; if even that is gone there is nobody to tell."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def show(text: str, *, as_json: bool = False) -> None:
    """A line of the result: on standard output, unless that is kept free for the JSON object."""
    print(text, file=sys.stderr if as_json else sys.stdout)


def show_json(found: dict[str, Any]) -> None:
    """The one object that --json promises."""
    print(json.dumps(found, allow_nan=False))
