"""Tuned tables: which algorithm was measured to be the fastest, kept on disk for a processor and a version of striate.

One small JSON file in the cache folder for each (processor, instruction set, version). An entry that is there stays:
what a process once computed with, it and all others go on computing with, so that the bits do not change.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from striate.cache import cache_folder
from striate.cache import store as write_whole
from striate.errors import ConfigError
from striate.kernels import _native
from striate.kernels.algorithms import ALGORITHMS
from striate.kernels.native import cpu_name

Table = Mapping[str, str]  # algorithms.key of a problem -> name of the algorithm
NAMES = frozenset(a.name for a in ALGORITHMS)


def table_path(isa: str) -> Path:
    """The file of this processor. Raises: ConfigError without a folder to keep it in."""
    words = re.sub(r"[^a-z0-9]+", "-", f"{cpu_name()} {isa}".lower()).strip("-")
    return cache_folder() / "tuned" / f"{words}-{_native.version}.json"


def load(isa: str) -> dict[str, str]:
    """The table of this processor; a file that is not one is warned of and counts as empty."""
    try:
        path = table_path(isa)
        return _checked(json.loads(path.read_text("utf-8")), isa)
    except (FileNotFoundError, ConfigError):
        return {}
    except (OSError, ValueError, RecursionError) as error:
        warnings.warn(f"tune: {path} cannot be read as a tuned table, {error}; it will be written anew", stacklevel=2)
        return {}


def add(isa: str, found: Table) -> dict[str, str]:
    """The table of this processor with `found` in it; an entry that another process was first to write stays.

    Where nothing can be written, that is warned of: the choice then holds for this process only.
    """
    try:
        path = table_path(isa)
        with _locked(path):
            table = dict(found) | load(isa)
            write_whole(path, json.dumps(_head(isa) | {"algorithms": table}, indent=1, sort_keys=True).encode())
        return table
    except (ConfigError, OSError) as error:
        warnings.warn(f"tune: what was measured cannot be kept, {error}", stacklevel=2)
        return dict(found)


def as_table(given: Any) -> dict[str, str]:
    """`given` as a table. Raises: ValueError unless it maps texts to names of algorithms."""
    if not isinstance(given, dict) or not NAMES.issuperset(map(str, given.values())):
        raise ValueError("it does not map problems to algorithms")
    return dict(given)


def _head(isa: str) -> dict[str, str]:
    return {"cpu": cpu_name(), "isa": isa, "striate": _native.version}


def _checked(content: Any, isa: str) -> dict[str, str]:
    if not isinstance(content, dict) or any(content.get(name) != value for name, value in _head(isa).items()):
        raise ValueError("it is of another processor, instruction set or version")
    return as_table(content.get("algorithms"))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """This process alone reads and writes the table for the length of a with block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # which releases it; death would, too
