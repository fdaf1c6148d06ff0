"""What test files share: the instruction sets of this machine, what saves time, a way to run a sample of the rows."""

from __future__ import annotations

import gc
import os
import signal

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # workers share the processors: NumPy's own threads take, not give


import numpy as np
import pytest

from striate.kernels import native, random
from striate.train import report


@pytest.fixture(params=native.isas())
def isa(request):
    """The name of each instruction set this machine can run."""
    return request.param


@pytest.fixture
def undrawn(monkeypatch):
    """No pictures behind a training: they take longer than it does. test_train.py has them drawn."""
    for name in ("draw_learning_curve", "draw_confusion"):
        monkeypatch.setattr(report, name, lambda path, *_: path)


@pytest.fixture(scope="module")
def numpy_weights():
    """Weights drawn by NumPy: ten times as fast."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random, "normal", lambda seed, key, n: np.random.default_rng(key).standard_normal(n, np.float32))
        yield


@pytest.fixture
def brief_peaks(monkeypatch):
    """What this machine can do, measured for a moment: what is proven with it are the words around it."""
    peak, copied = native._native.peak_gflops, native._native.copy_gbs
    monkeypatch.setattr(native._native, "peak_gflops", lambda isa, threads, seconds: peak(isa, threads, 0.01))
    monkeypatch.setattr(native._native, "copy_gbs", lambda threads, seconds: copied(threads, 0.01, 1 << 22))


def pytest_configure():
    """A shell starts what it puts in the background deaf to Ctrl-C, and so would be the programs that tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption("--every", type=int, default=1, metavar="N", help="run each N-th test only")


def pytest_collection_modifyitems(config, items):
    items[:] = items[:: config.getoption("--every")]


def pytest_collection_finish():
    gc.collect()
    gc.freeze()  # thousands of rows live to the end: without this each collection walks them all again


def pytest_sessionfinish():
    gc.unfreeze()
