"""No kernel touches memory beside its tensors: tests/guard_pages.py in a process of its own, which a fault may end."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def run(*arguments):
    return subprocess.run([sys.executable, *arguments], cwd=HERE, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("form", ["--short", pytest.param("--all", marks=pytest.mark.slow)])
def test_kernels_stay_within_their_tensors(form):
    """--short: four of the tails 1 to 67."""
    done = run("guard_pages.py", form)
    last = done.stdout.rstrip().rpartition("\n")[2]
    assert done.returncode == 0, f"{last}: ended with {done.returncode}\n{done.stderr[-2000:]}"


@pytest.mark.parametrize(("at_end", "offset"), [(True, 8), (False, -1)])
def test_guards_are_there(at_end, offset):
    """One byte beyond a tensor faults, and the tensor itself does not."""
    code = ("import ctypes; from guard_pages import Guarded; g = Guarded(None)\n"
            f"g.at_end = {at_end}; at = g.place(0, bytes(8)); print(ctypes.string_at(at, 8) == bytes(8), flush=True)\n"
            f"ctypes.string_at(at + {offset}, 1)")
    done = run("-c", code)
    assert (done.stdout, done.returncode) == ("True\n", -signal.SIGSEGV)
