"""Where a calibration is kept: one JSON file in the cache folder for each processor, instruction set, threads, version.

A file that cannot be read as one is an error, not an empty calibration: nothing is predicted from it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from striate.account.latency.amounts import NAMES
from striate.account.latency.model import CLASSES, Prices
from striate.account.latency.reuse import Floats
from striate.account.latency.spread import Spread
from striate.cache import cache_folder, store
from striate.errors import ConfigError, FormatError
from striate.kernels import _native
from striate.kernels.native import cpu_name

NUMBERS = ("noise", "calm_ns", "seconds", "networks", "calls", "common", "factor")
LARGEST = 1 << 22  # bytes of a file that may be one
WIDEST = 50.0  # of a part of the interval: e^50 is no interval any more


@dataclass(frozen=True)
class Calibration:
    """What a machine was found to take.

    noise: between the quartiles of a network's runs, as a share of their time. calm_ns: of the probe on a calm machine.
    """

    isa: str
    threads: int
    prices: Prices
    spread: Spread
    noise: float
    calm_ns: float
    seconds: float  # that it took to measure
    networks: int
    calls: int


def path_of(isa: str, threads: int) -> Path:
    """The file of this processor. Raises: ConfigError without a folder to keep it in."""
    words = re.sub(r"[^a-z0-9]+", "-", f"{cpu_name()} {isa}".lower()).strip("-")
    return cache_folder() / "latency" / f"{words}-{threads}-threads-{_native.version}.json"


def save(found: Calibration) -> Path:
    """Writes a calibration where `load` finds it. Raises: ConfigError if the folder cannot be written."""
    path = path_of(found.isa, found.threads)
    store(path, json.dumps(_head(found.isa, found.threads) | _content(found), indent=1).encode())
    return path


def load(isa: str, threads: int) -> Calibration:
    """The calibration of this machine.

    Raises: ConfigError if there is none; FormatError if the file is not one, or another machine's.
    """
    path = path_of(isa, threads)
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise ConfigError(f"latency: this machine has no calibration for {isa} and {threads} thread"
                          f"{'s' * (threads > 1)}; make one with: striate calibrate --threads {threads}") from None
    except OSError as error:
        raise FormatError(f"latency: {path} must be a calibration, but cannot be read; {error.strerror}") from None
    try:
        if len(text) > LARGEST:
            raise ValueError(f"it has more than {LARGEST} bytes")
        return _checked(json.loads(text), isa, threads)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise FormatError(f"latency: {path} must be a calibration of this machine, {_said(error)}; make it anew with: "
                          f"striate calibrate --threads {threads}") from None


def _said(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else f"got: {error}".replace("\n", " ")


def _head(isa: str, threads: int) -> dict[str, Any]:
    return {"cpu": cpu_name(), "isa": isa, "threads": threads, "striate": _native.version, "amounts": list(NAMES)}


def _content(c: Calibration) -> dict[str, Any]:
    return {
        "noise": c.noise, "calm_ns": c.calm_ns, "seconds": c.seconds, "networks": c.networks,
        "calls": c.calls, "factor": c.spread.factor,
        "families": _table(c.prices.families, c.spread.families),
        "common": c.spread.common,
        "classes": _table(c.prices.classes, c.spread.classes),
    }


def _table(prices: Mapping[str, Floats], spread: Mapping[str, float]) -> dict[str, Any]:
    return {name: {"ns": ns.tolist(), "spread": spread[name]} for name, ns in prices.items()}


def _checked(content: Any, isa: str, threads: int) -> Calibration:
    if not isinstance(content, dict):
        raise ValueError("no JSON object")
    for name, value in _head(isa, threads).items():
        if content[name] != value:
            raise ValueError(f"another {name}")
    families, classes = content["families"], content["classes"]
    if not isinstance(families, dict) or not isinstance(classes, dict):
        raise ValueError("no table of kernels")
    if set(classes) != set(CLASSES):
        raise ValueError(f"not the classes {', '.join(CLASSES)}")
    noise, calm_ns, seconds, networks, calls, common, factor = (_number(content[name]) for name in NUMBERS)
    if max(common, factor) > WIDEST:
        raise ValueError(f"a spread above {WIDEST}")
    spread = Spread(_spreads(families), _spreads(classes), common, factor)
    return Calibration(isa, threads, Prices(_prices(families), _prices(classes)), spread, noise, calm_ns, seconds,
                       int(networks), int(calls))


def _prices(table: Any) -> dict[str, Floats]:
    found = {name: np.array([_number(ns) for ns in entry["ns"]]) for name, entry in table.items()}
    if any(len(ns) != len(NAMES) for ns in found.values()):
        raise ValueError(f"not {len(NAMES)} prices a kernel")
    return found


def _spreads(table: Any) -> dict[str, float]:
    return {name: _number(entry["spread"]) for name, entry in table.items()}


def _number(given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given < math.inf:
        raise ValueError(f"{given!r:.40} where a number from 0 on is needed")
    return float(given)
