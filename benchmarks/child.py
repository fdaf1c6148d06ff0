"""One engine with one network in a process of its own, which takes turns when peers.py says so.

Messages from the parent: ("turn", seconds) -> times of the calls in ms; ("memory",) -> MiB; None ends.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from engines import ENGINES, Job, keep_memory

WARM_CALLS = 3


def main() -> None:
    handle, name, job = int(sys.argv[1]), sys.argv[2], Job(**json.loads(sys.argv[3]))
    pipe = Connection(handle)
    try:
        serve(pipe, name, job)
    except EOFError:
        pass  # the parent has gone
    except Exception:
        pipe.send(("failed", traceback.format_exc()))


def serve(pipe: Connection, name: str, job: Job) -> None:
    """Builds, answers with the first result, and then takes turns."""
    if name.startswith("torch"):
        keep_memory()
    for module in ENGINES[name].modules:
        importlib.import_module(module)
    imported = resident("VmRSS")
    run = ENGINES[name].build(job)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what reading the weights left behind is not the network's
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    pipe.send(("ready", run()))
    for _ in range(WARM_CALLS):
        run()
    while (message := pipe.recv()) is not None:
        if message[0] == "turn":
            pipe.send(("times", turn(run, message[1])))
        else:
            pipe.send(("memory", (resident("VmHWM") - imported) / 1024))


def turn(run: Callable[[], Any], seconds: float) -> list[float]:
    """Times of calls for that long, in ms, behind one that brings caches and threads back."""
    run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def resident(field: str) -> int:
    """VmRSS or VmHWM of this process in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise RuntimeError(f"child: /proc/self/status must have a line {field}")


if __name__ == "__main__":
    main()
