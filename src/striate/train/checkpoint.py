"""Checkpoints: one safetensors file a step, whole or not there at all, that notices when it was damaged.

The header carries one JSON text: the record of where the run stands, the SHA-256 of every tensor (name, dtype, shape
and bytes), and the SHA-256 of all this. The newest good file is found by reading the files, never by a pointer that
could be torn. The last two are kept, so that one damaged file loses one interval.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from striate.atomic import write_tensors
from striate.errors import FormatError
from striate.graph import Array

VERSION = 1
KEY = "striate.checkpoint"
KEPT = 2
PATTERN = re.compile(r"checkpoint-(\d{9})\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """Arrays by name, and a record that JSON can hold."""

    step: int
    tensors: dict[str, Array]
    record: dict[str, Any]


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Writes it to `folder`, then removes all but the newest few; returns the path of the file."""
    path = folder / f"checkpoint-{checkpoint.step:09d}.safetensors"
    sums = {name: _tensor_sum(name, array) for name, array in checkpoint.tensors.items()}
    body = dict(version=VERSION, step=checkpoint.step, record=checkpoint.record, sums=sums)
    text = json.dumps(body, allow_nan=False, sort_keys=True)
    sealed = json.dumps(dict(body=text, sum=_sum(text)))
    write_tensors(path, checkpoint.tensors, {KEY: sealed})
    for old in found(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def found(folder: Path) -> list[Path]:
    """The checkpoint files of a folder, newest first."""
    files = [path for path in folder.iterdir() if PATTERN.fullmatch(path.name)]
    return sorted(files, reverse=True)


def candidates(folder: Path) -> Iterator[tuple[Path, Checkpoint | FormatError]]:
    """Newest first, each file with what it holds or with what is wrong with it."""
    for path in found(folder):
        try:
            yield path, load(path)
        except FormatError as error:
            yield path, error


def load(path: Path) -> Checkpoint:
    """The checkpoint in `path`. Raises: FormatError if anything in it is not as it was written."""
    try:
        with safe_open(path, framework="numpy") as file:
            sealed = json.loads((file.metadata() or {})[KEY])
            text = sealed["body"]
            if _sum(text) != sealed["sum"]:
                raise FormatError(f"{path}: is damaged, its record does not match its checksum")
            body = json.loads(text)
            if body["version"] != VERSION:
                raise FormatError(f"{path}: needs format version {VERSION}, got {body['version']}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{path}: cannot be read as a checkpoint, {error!s:.200}") from error
    _verify(path, tensors, body["sums"])
    return Checkpoint(body["step"], tensors, body["record"])


def _verify(path: Path, tensors: dict[str, Array], sums: dict[str, str]) -> None:
    if tensors.keys() != sums.keys():
        raise FormatError(f"{path}: is damaged, it needs {len(sums)} tensors by name and has {len(tensors)}")
    for name, array in tensors.items():
        if _tensor_sum(name, array) != sums[name]:
            raise FormatError(f"{path}: is damaged, tensor {name} does not match its checksum")


def _tensor_sum(name: str, array: Array) -> str:
    digest = hashlib.sha256(f"{name} {array.dtype.str} {array.shape}".encode())
    digest.update(array.tobytes())
    return digest.hexdigest()


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
