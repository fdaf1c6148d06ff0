"""Where striate keeps what it fetched or measured, and how a file gets there whole or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from striate.atomic import write_bytes
from striate.errors import ConfigError


def cache_folder() -> Path:
    """$STRIATE_CACHE if set, else the folder this platform keeps caches in."""
    if chosen := os.environ.get("STRIATE_CACHE"):
        return Path(chosen)
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "striate"
    try:
        home = Path.home()
    except RuntimeError as error:
        raise ConfigError("cache: there is no home folder to keep one in; set STRIATE_CACHE to a folder") from error
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "striate"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "striate"


def ready(path: Path) -> Path:
    """`path`, its folder made and found writable: said before work whose result will go there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            return path
    except OSError as error:
        raise ConfigError(f"cache: the folder {path.parent} must be writable; {error.strerror}") from error


def store(path: Path, content: bytes) -> None:
    """Writes a file of the cache that other processes see complete or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
    except OSError as error:
        raise ConfigError(f"cache: the folder {path.parent} must be writable; {error.strerror}") from error
