"""The charts as pictures. A circle's area is the number of parameters, its colour the paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from striate.account.chart import Layer, Point
from striate.picture import figure

AREA = 5.0  # square points for a million parameters
LEGEND = (5, 50, 150)  # millions of parameters
MANY = 40  # layers: more are numbered, not named
COLOURS = ("#1f5fa8", "#9c5b17", "#3c7d3c", "#a83232", "#6b4fa0", "#7a7a22", "#2a8c8c", "#b0447e", "#555555", "#c98a1b",
           "#4477cc", "#886644")
GREY = "#444444"
# Where a name may stand beside its point: points to the right and up, and which end of it stands there.
SIDES = {"left": 0.0, "center": 0.5, "right": 1.0}
PLACES = ((6, -3, "left"), (-6, -3, "right"), (0, 6, "center"), (0, -13, "center"), (8, 8, "left"), (-8, 8, "right"),
          (8, -14, "left"), (-8, -14, "right"), (0, 16, "center"), (0, -23, "center"), (8, 18, "left"),
          (-8, -24, "right"))
LETTER, LINE = 4.7, 8.0  # points, of a name of size 8
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def draw_accuracy(points: Sequence[Point], milliseconds: str | None = None) -> Any:
    """Accuracy against operations, or against the ms of the points, "predicted" or "measured".

    A circle is hollow where the accuracy is not that of one centre crop: more crops give a point or two more.
    """
    drawn = figure("chart", (10, 6.5))
    axes = drawn.subplots()
    xs = [float(p.ms or 0) if milliseconds else p.macs / 1e9 for p in points]
    colours = _colours(points)
    for point, x in sorted(zip(points, xs, strict=True), key=lambda pair: -pair[0].parameters):
        colour = colours[point.paper]
        filled = point.one_crop
        axes.scatter(x, point.top1, s=AREA * point.parameters / 1e6, facecolor=colour if filled else "none",
                     edgecolor=colour, alpha=0.4, linewidth=0 if filled else 1.2)
        axes.scatter(x, point.top1, s=6, color=colour)
    axes.set_xscale("log")
    axes.margins(x=0.09, y=0.06)
    left, right = axes.get_xlim()
    ticks = [tick for tick in TICKS if left <= tick <= right]
    if len(ticks) > 1:
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
    axes.set_xlabel(f"ms of one image on this machine, {milliseconds}" if milliseconds else
                    "GMACs of one image (FLOPs are twice as many)")
    axes.set_ylabel("top-1 accuracy on ImageNet, as published (%)")
    _legend(axes)
    _plain(axes)
    _name_points(drawn, axes, points, xs)
    return drawn


Box = tuple[float, float, float, float]  # left, bottom, right, top in points


def _name_points(drawn: Any, axes: Any, points: Sequence[Point], xs: Sequence[float]) -> None:
    """Each name beside its point, at the first of a few places where it covers no other name and no point."""
    drawn.draw_without_rendering()  # the axes have their place and limits only then
    at = [tuple(axes.transData.transform((x, p.top1)) * 72 / drawn.dpi) for p, x in zip(points, xs, strict=True)]
    taken: list[Box] = [(x - 3, y - 3, x + 3, y + 3) for x, y in at]
    for point, x, (px, py) in sorted(zip(points, xs, at, strict=True), key=lambda found: -found[0].top1):
        width = LETTER * len(point.name)
        boxes = {(dx, dy, side): (px + dx - width * SIDES[side], py + dy, px + dx + width * (1 - SIDES[side]),
                                  py + dy + LINE) for dx, dy, side in PLACES}
        place, box = next(((place, box) for place, box in boxes.items() if not any(_meet(box, b) for b in taken)),
                          next(iter(boxes.items())))
        taken.append(box)
        axes.annotate(point.name, (x, point.top1), xytext=place[:2], textcoords="offset points", ha=place[2],
                      fontsize=8, color=GREY)


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _legend(axes: Any) -> None:
    axes.scatter([], [], s=AREA * 25, facecolor="none", edgecolor="#888888", linewidth=1.2, label="not one centre crop")
    for millions in LEGEND:
        axes.scatter([], [], s=AREA * millions, color="#888888", alpha=0.45, linewidth=0, label=f"{millions} M")
    axes.legend(title="parameters", labelspacing=1.8, borderpad=1.2, frameon=False, loc="lower right")


def draw_density(points: Sequence[Point]) -> Any:
    """Percent of accuracy per million parameters, the densest first."""
    ranked = sorted(points, key=lambda p: p.density)
    drawn = figure("chart", (8, 1 + 0.24 * len(ranked)))
    axes = drawn.subplots()
    colours = _colours(points)
    axes.barh([p.name for p in ranked], [p.density for p in ranked], color=[colours[p.paper] for p in ranked])
    for i, point in enumerate(ranked):
        axes.text(point.density, i, f" {point.density:.3g}", va="center", fontsize=8, color=GREY)
    axes.set_xlabel("top-1 accuracy per million parameters (%)")
    axes.tick_params(axis="y", labelsize=8)
    axes.margins(y=0.01)
    _plain(axes)
    return drawn


def draw_profile(name: str, layers: Sequence[Layer]) -> Any:
    """Parameters and activations by layer, each with its share."""
    drawn = figure("chart", (max(7, 2 + 0.22 * min(len(layers), 120)), 6))
    named = len(layers) <= MANY
    places = range(len(layers))
    panels = drawn.subplots(2, 1, sharex=True)
    for axes, field, label, colour in ((panels[0], "activation_bytes", "activations (MiB)", COLOURS[0]),
                                       (panels[1], "parameter_bytes", "parameters (MiB)", COLOURS[1])):
        values = [getattr(layer, field) / 2**20 for layer in layers]
        axes.bar(places, values, color=colour)
        axes.set_ylabel(label)
        axes.margins(x=0.01)
        _plain(axes)
    panels[0].set_title(f"{name}, one image: memory and parameters by layer", fontsize=10)
    if named:
        panels[1].set_xticks(places, [layer.layer for layer in layers], rotation=90, fontsize=8)
    else:
        panels[1].set_xlabel("layer, from the image on")
    return drawn


def _colours(points: Sequence[Point]) -> dict[str, str]:
    papers = dict.fromkeys(p.paper for p in points)
    return {paper: COLOURS[i % len(COLOURS)] for i, paper in enumerate(papers)}


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.set_axisbelow(True)
