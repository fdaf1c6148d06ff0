"""What every benchmark prints with its numbers: machine, threads, versions, commit; and how ratios are summed up."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from striate.kernels import native

THREADS = int(os.environ.get("STRIATE_THREADS", "2"))
PEERS = ("striate", "numpy", "torch", "onnxruntime", "openvino", "MNN", "ncnn")


def describe() -> dict[str, Any]:
    """Machine, instruction set of striate's kernels, threads, versions and commit."""
    return {
        "cpu": _cpu(), "cores": os.cpu_count(), "isa": native.default_isa(), "threads": THREADS,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PEERS}, "commit": _commit(),
    }


def version(name: str) -> str | None:
    """The installed version of a package."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def _commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False,
                          cwd=Path(__file__).parent)
    return done.stdout.strip() or "not a checkout"


def spread(values: Sequence[float], unit: str = "ms") -> str:
    """Median, smallest and largest."""
    return f"{statistics.median(values):.3f} {unit} ({min(values):.3f} to {max(values):.3f})"


def report(result: dict[str, Any], path: str | None) -> None:
    """Writes the machine and `result` as JSON, if a path is given."""
    if path:
        Path(path).write_text(json.dumps({"machine": describe(), **result}, indent=1))


def described() -> str:
    """Machine, instruction set, threads, versions and commit in a line."""
    facts = describe()
    versions = ", ".join(f"{k} {v}" for k, v in facts["versions"].items() if v)
    return (f"{facts['cpu']}, {facts['cores']} cores, isa {facts['isa']}, {facts['threads']} threads, {versions}, "
            f"commit {facts['commit']}")


def heading(title: str) -> None:
    """The title and the machine."""
    print(title)
    print(described())
