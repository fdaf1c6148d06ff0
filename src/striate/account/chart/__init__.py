"""The figures behind the field's charts: accuracy against cost, accuracy per parameter, and a network's profile.

Ref: Canziani, Paszke and Culurciello 2016, arXiv 1605.07678, figures 1, 2 and 10. Accuracy is the published top-1
on ImageNet's validation images (the registry says by whom, and on how many crops); all else is counted here.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from striate.account.cost import account
from striate.account.latency import predict
from striate.engine.programs import Request
from striate.errors import ConfigError
from striate.kernels.contract import Shape, Spec
from striate.models import MODELS, build, find
from striate.models.registry import Entry
from striate.nn import Module

IMAGENET = 1000  # classes
PRODUCTS = ("conv2d", "linear", "rbf")  # begin a layer
RUNS, WARM = 9, 2  # of a network whose time is measured


@dataclass(frozen=True)
class Point:
    """A network in the chart. Units: macs and parameters of what inference uses, top1 in percent, ms of one image."""

    name: str
    year: int
    paper: str
    parameters: int
    macs: int
    top1: float
    top1_source: str
    ms: float | None = None

    @property
    def one_crop(self) -> bool:
        """Whether the accuracy is that of one centre crop of each image, as most are."""
        return not any(word in self.top1_source for word in ("crops", "whole images"))

    @property
    def density(self) -> float:
        """Percent of top-1 accuracy per million parameters."""
        return self.top1 / (self.parameters / 1e6)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"top1_per_million_parameters": self.density}


@dataclass(frozen=True)
class Layer:
    """A layer of products with the norm, activation and pooling behind it; bytes as float32."""

    layer: str
    parameter_bytes: int
    activation_bytes: int
    macs: int


def accuracy_points(names: Collection[str] = (), milliseconds: str | None = None) -> list[Point]:
    """The networks called `names`, or all of the registry, that have a published accuracy on ImageNet.

    `milliseconds` adds the time of one image on this machine: "predicted" from its calibration, or "measured".
    Raises: ConfigError for a name that has no such accuracy, or if this machine was not calibrated.
    """
    entries = [find(name) for name in names] or [e for e in MODELS.values() if _published(e)]
    for entry in entries:
        if not _published(entry):
            raise ConfigError(f"chart: {entry.name} has no published accuracy on ImageNet")
    times = {None: _no_time, "predicted": _predicted, "measured": _measured}
    if milliseconds not in times:
        raise ConfigError(f"chart: milliseconds must be 'predicted' or 'measured', got {milliseconds!r}")
    return [_point(entry, times[milliseconds]) for entry in {e.name: e for e in entries}.values()]


def _published(entry: Entry) -> bool:
    return entry.top1 is not None and entry.classes == IMAGENET


def _point(entry: Entry, time_of: Callable[[Module, Shape], float | None]) -> Point:
    net = build(entry.name)
    total = account(net, entry.input_shape).total
    assert entry.top1 is not None
    return Point(entry.name, entry.year, entry.paper, total.parameters, total.macs, entry.top1, entry.top1_source,
                 time_of(net, entry.input_shape))


def _no_time(net: Module, shape: Shape) -> None:
    return None


def _predicted(net: Module, shape: Shape) -> float:
    return predict(net, shape).ms


def _measured(net: Module, shape: Shape) -> float:
    """The median of a few runs on one image."""
    x = np.random.default_rng(0).standard_normal((1, *shape), np.float32)
    feeds = {"x": x, "seed": np.int64(0), "step": np.int64(0)}
    program = net.programs.get(Request(Spec(shape)), 1)
    ns = [sum(call.ns for call in program.profile(feeds).calls) for _ in range(WARM + RUNS)]
    net.release()
    return statistics.median(ns[WARM:]) / 1e6


def profile_layers(net: Module, image: Shape) -> list[Layer]:
    """Where a network's parameters and activations sit: what is no product counts to the layer in front of it."""
    layers: list[Layer] = []
    for row in account(net, image).rows:
        found = Layer(row.layer, 4 * row.parameters, row.activation_bytes, row.macs)
        if row.op in PRODUCTS or not layers:
            layers.append(found)
        else:
            last = layers[-1]
            layers[-1] = Layer(last.layer, last.parameter_bytes + found.parameter_bytes,
                               last.activation_bytes + found.activation_bytes, last.macs + found.macs)
    return layers
