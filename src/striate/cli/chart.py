"""`striate chart`: the field's charts, as pictures and as the numbers behind them."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from striate.account import chart as charts
from striate.account.chart import draw as pictures
from striate.atomic import write_bytes
from striate.cli.network import open_network
from striate.cli.output import Json, Threads, say, show_json
from striate.cli.summary import shape_of
from striate.errors import ConfigError, MissingExtra, unknown_name
from striate.kernels import native
from striate.picture import KINDS, save_figure

CHARTS = ("accuracy", "density", "profile")
AGAINST = {"macs": None, "predicted-ms": "predicted", "measured-ms": "measured"}


def chart(
    what: Annotated[str, typer.Argument(
        metavar="|".join(CHARTS), help="Accuracy against cost, accuracy per parameter, or a network layer by layer.")],
    nets: Annotated[list[str] | None, typer.Argument(
        metavar="NET...", help="Default: all with a published accuracy on ImageNet. Of profile: one.")] = None,
    against: Annotated[str, typer.Option(
        metavar="|".join(AGAINST), help="What accuracy is drawn against; ms are those of one image here.")] = "macs",
    out: Annotated[Path | None, typer.Option(
        metavar="FILE", help="A .png or .svg; the numbers go beside it as .csv. Default: WHAT.png.")] = None,
    input: Annotated[str | None, typer.Option(
        metavar="CxHxW", help="Of profile: the shape of one image. Default: what the network is for.")] = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Draw a chart of the field with this machine's figures, and leave its numbers beside it.

    Example: striate chart accuracy --out chart.svg

    Example: striate chart profile vgg16
    """
    native.set_threads(threads)
    if what not in CHARTS:
        raise unknown_name("chart", "chart", what, CHARTS)
    if against not in AGAINST:
        raise unknown_name("chart", "axis", against, AGAINST)
    path = out or Path(f"{what}.png")
    if path.suffix.lower() not in KINDS:
        raise ConfigError(f"chart: --out must end in {' or '.join(KINDS)}, got {str(path)!r}")
    if input is not None and what != "profile":
        raise ConfigError(f"chart: --input is of profile, got it with {what}")
    if against != "macs" and what != "accuracy":
        raise ConfigError(f"chart: --against is of accuracy, got it with {what}")
    if not path.parent.is_dir():
        raise ConfigError(f"chart: --out must lie in a folder that is there, got {path}")
    rows, draw = _profile(nets or [], input) if what == "profile" else _points(what, nets or [], against)
    table = _write(path.with_suffix(".csv"), rows)
    if json:
        show_json({"chart": what, "rows": rows})
    say(f"written: {table}")
    try:
        say(f"written: {save_figure(draw(), path)}")
    except MissingExtra as error:
        raise MissingExtra(f"{error}; the numbers are in {table}") from error


def _points(what: str, nets: list[str], against: str) -> tuple[list[dict[str, Any]], Any]:
    points = charts.accuracy_points(nets, AGAINST[against])
    if what == "density":
        return [p.as_dict() for p in points], lambda: pictures.draw_density(points)
    return [p.as_dict() for p in points], lambda: pictures.draw_accuracy(points, AGAINST[against])


def _profile(nets: list[str], given: str | None) -> tuple[list[dict[str, Any]], Any]:
    if len(nets) != 1:
        raise ConfigError(f"chart: profile needs one network, got {len(nets)}")
    opened = open_network(nets[0], drawn=False)
    layers = charts.profile_layers(opened.net, shape_of("chart", opened, given))
    if not layers:
        raise ConfigError(f"chart: {nets[0]} computes nothing")
    return [asdict(layer) for layer in layers], lambda: pictures.draw_profile(opened.name, layers)


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows as a table, over none but an earlier one of the same columns."""
    text = _csv(rows)
    head = text.partition("\n")[0]
    if path.exists() and not path.read_bytes().startswith(head.encode() + b"\n"):
        raise ConfigError(f"chart: the numbers go to {path}, which holds something else; choose another --out")
    write_bytes(path, text.encode())
    return path


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
