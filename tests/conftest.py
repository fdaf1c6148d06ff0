"""What every test file shares: the instruction sets of this machine, and the marks."""

from __future__ import annotations

import pytest

from striate.kernels import native


@pytest.fixture(params=native.isas())
def isa(request):
    """The name of each instruction set this machine can run."""
    return request.param


def pytest_configure(config):
    config.addinivalue_line("markers", "torch: beside PyTorch, where it is installed")
