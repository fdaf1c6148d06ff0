"""Where striate keeps what it fetched, and how a file gets there whole or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

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
        raise ConfigError("data: no home folder to keep a cache in; set STRIATE_CACHE to a folder") from error
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "striate"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "striate"


def store(path: Path, content: bytes) -> None:
    """Writes a file that other processes see complete or not at all, even after a power cut."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise ConfigError(f"data: the cache folder {path.parent} must be writable; {error.strerror}") from error
