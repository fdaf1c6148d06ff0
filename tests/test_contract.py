"""The contract holds everything together: reference, C++ list, operations and the case table say the same."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import numpy as np
import pytest

from arrays import arrays_of, plain
from cases import CALLS, CASES, ERRORS, public_operations
from play import Playback, spied
from striate.errors import ConfigError, NonFiniteError, ShapeError
from striate.graph import OPS
from striate.kernels import native, reference
from striate.kernels.contract import ROWS
from striate.kernels.lower import LOWERINGS, ON_TAPE

INC = Path(__file__).parents[1] / "csrc" / "kernels.inc"
CONTROL = {"check_finite", "fill_nan"}  # no operation and no optimiser calls them; tested below


@pytest.mark.parametrize("name", ROWS)
def test_reference_signature(name):
    """The reference takes the row's tensors by position, then its parameters by keyword, without defaults."""
    parameters = inspect.signature(getattr(reference.kernels(), name)).parameters.values()
    assert all(p.default is p.empty for p in parameters)
    tensors = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    assert tensors == [label.rstrip("?*") for label in ROWS[name].inputs]
    assert [p.name for p in parameters if p.kind == p.KEYWORD_ONLY] == list(ROWS[name].params)


def test_lowered_signature():
    """A lowering has the parameters of the row it computes."""
    for name, lower in ON_TAPE.items():
        _, *rest = inspect.signature(lower).parameters.values()
        assert [p.name for p in rest] == [label.rstrip("?") for label in ROWS[name].inputs] + list(ROWS[name].params)


def test_native_list():
    """kernels.inc repeats each row's strings; rows that are lowered have no line of their own."""
    lines = re.findall(r'^KERNEL\((\w+),\s*"([^"]*)",\s*"([^"]*)"', INC.read_text(), re.M)
    assert {name: (signature, parameters) for name, signature, parameters in lines} == {
        name: (row.signature, row.parameters) for name, row in ROWS.items() if name not in LOWERINGS}
    assert all(callable(getattr(native.kernels(), name)) for name in ROWS)


def test_every_kernel_has_rows():
    missing = set(ROWS) - CONTROL - {name for name, row in ROWS.items() if row.algorithm} - {c.kernel for c in CALLS}
    for case in CASES:
        missing -= {call[0] for call in spied(case)} if missing else set()
    assert missing == set()


def test_every_operation_has_rows():
    assert set(public_operations()) - {case.op for case in CASES} == set()
    traced = {node.op.name for case in CASES for node in Playback(case, given(case)).graph.nodes}
    assert set(OPS) - traced == set()


def test_every_operation_has_error_rows():
    refused = {case.op for case in ERRORS}
    silent = {"relu", "tanh", "sigmoid", "softmax", "log_softmax", "sub", "mul", "div", "sum", "mean",
              "relu6", "hard_swish"}  # as add, or any
    assert set(public_operations()) - refused - silent == set()


def given(case):
    return {name: plain(value) for name, value in arrays_of(case).items()}


def test_overwrites_fit():
    """An output may share memory only with an input of the same shape; pairs name existing tensors."""
    for row in ROWS.values():
        for output, source in row.overwrites:
            assert output < len(row.outputs) and source < len(row.inputs), row.name


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_check_finite(value, isa):
    for k in (reference.kernels(), native.kernels(isa)):
        assert k.check_finite(np.zeros((), np.float32)) is None
        with pytest.raises(NonFiniteError, match="must be finite"):
            k.check_finite(np.array(value, np.float32))


def test_fill_nan(isa):
    for k in (reference.kernels(), native.kernels(isa)):
        x = np.ones((2, 3, 4, 5), np.float32)
        k.fill_nan(x)
        assert np.isnan(x).all()


def test_norm_act_knows_relu_only():
    x, c = np.zeros((2, 3), np.float32), np.ones(3, np.float32)
    with pytest.raises(ConfigError, match=r"norm_act: activation must be 0 \(none\), 1 \(relu\) or 4 \(relu6\), got 2"):
        native.kernels().norm_act(x, c, c, None, None, None, eps=0.1, activation=2)
    with pytest.raises(ShapeError, match="norm_act: r must have shape that of x"):
        native.kernels().norm_act(x, c, c, None, None, x[:1], eps=0.1, activation=1)
