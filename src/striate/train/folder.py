"""The run folder: everything a training leaves behind, held by one process at a time.

    config.json          what would be needed to do it again
    log.jsonl            one JSON object a line: steps now and then, and every epoch
    checkpoint-*.safetensors   the last two
    model.safetensors, learning_curve.*, confusion.*   when it is done
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from striate.atomic import write_bytes
from striate.errors import ConfigError, FormatError

LOCK = ".lock"
STRAY = re.compile(r"\.[a-z_]+(-\d+)?\.(csv|json|jsonl|png|safetensors)\.\w{8}")  # as striate.atomic names them


# What every config.json has, and who reads it relies on.
CONFIG: dict[str, Any] = {
    "net": {"name": str}, "train": {"name": str, "classes": list}, "arguments": {"epochs": int}, "notes": dict,
}


class RunFolder:
    """A folder that this process alone writes to, until `close` or its death. Use it in a with block.

    Raises: ConfigError if another run holds it, if it is not empty and not resumed, or if there is nothing to resume.
    """

    def __init__(self, path: str | os.PathLike[str], *, resume: bool) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"train: out must be a folder, got {self.path}, which is not one")
        if resume and not (self.path / "config.json").is_file():
            raise ConfigError(f"train: there is no run to resume in {self.path}; leave out resume to start one")
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            self._take()
            self._sweep()
            self._check_empty(resume)
        except BaseException:
            os.close(self._lock)
            raise

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)  # which releases it; death would, too

    # ---- config and log

    def write_config(self, config: dict[str, Any]) -> None:
        text = json.dumps(config, indent=2, allow_nan=False) + "\n"
        with writing(self.path):
            write_bytes(self.path / "config.json", text.encode())

    def read_config(self) -> dict[str, Any]:
        return read_config(self.path)

    def log(self, line: dict[str, Any]) -> None:
        """Adds a line to the log."""
        with writing(self.path), open(self.path / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def read_log(self) -> list[dict[str, Any]]:
        """The lines of the log; one that was torn by a crash is left out."""
        lines = []
        with contextlib.suppress(FileNotFoundError):
            for text in (self.path / "log.jsonl").read_text("utf-8", "replace").splitlines():
                with contextlib.suppress(json.JSONDecodeError):
                    lines.append(json.loads(text))
        return [line for line in lines if isinstance(line, dict) and isinstance(line.get("step"), int)]

    def rewind_log(self, step: int) -> None:
        """Takes back the lines behind `step`: the run does those steps again."""
        kept = [json.dumps(line) + "\n" for line in self.read_log() if line["step"] <= step]
        with writing(self.path):
            write_bytes(self.path / "log.jsonl", "".join(kept).encode())

    # ---- taking it

    def _take(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            raise ConfigError(f"train: {self.path} is in use by another run; choose another out folder") from None

    def _check_empty(self, resume: bool) -> None:
        others = sorted(p.name for p in self.path.iterdir() if p.name != LOCK)
        if others and not resume:
            raise ConfigError(
                f"train: out must be a new or empty folder, {self.path} holds {', '.join(others[:3])}"
                f"{' ...' if len(others) > 3 else ''}; resume it, or choose another"
            )

    def _sweep(self) -> None:
        """Removes the temporary files of a run that was killed while it wrote."""
        for path in self.path.iterdir():
            if STRAY.fullmatch(path.name):
                path.unlink(missing_ok=True)


def read_config(path: Path) -> dict[str, Any]:
    """The configuration of the run in a folder. Raises: FormatError."""
    try:
        config = json.loads((path / "config.json").read_text("utf-8"))
    except ValueError as error:
        raise FormatError(f"{path / 'config.json'}: is not JSON, {error}") from error
    _need(path / "config.json", "the file", config, CONFIG)
    result: dict[str, Any] = config
    return result


def _need(path: Path, where: str, found: Any, form: Any) -> None:
    """Raises: FormatError unless `found` has the keys and kinds of `form`."""
    kind = dict if isinstance(form, dict) else form
    if not isinstance(found, kind):
        raise FormatError(f"{path}: {where} must be a {kind.__name__}, got {type(found).__name__}")
    for key, inner in form.items() if isinstance(form, dict) else ():
        if key not in found:
            raise FormatError(f"{path}: {where} must have {key!r}, got {', '.join(map(repr, found)) or 'nothing'}")
        _need(path, key, found[key], inner)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """What fails inside names the folder the user chose rather than a temporary file in it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"train: cannot write to {path}: {error.strerror}") from error
