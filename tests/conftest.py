"""What every test file shares: the instruction sets of this machine, and a way to run a sample of the rows."""

from __future__ import annotations

import gc
import signal

import pytest

from striate.kernels import native


@pytest.fixture(params=native.isas())
def isa(request):
    """The name of each instruction set this machine can run."""
    return request.param


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
