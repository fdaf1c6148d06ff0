"""Algorithms: what they are chosen for, and that nothing else has a say."""

from __future__ import annotations

import pytest

import striate as st
from striate.errors import DtypeError, UnknownName
from striate.kernels import native


@pytest.fixture
def default_precision():
    yield
    st.set_precision("default")


def test_precision_is_set_for_all_that_follows(default_precision):
    assert st.get_precision() == "default" == native.kernels().target.precision
    st.set_precision("direct")
    assert st.get_precision() == "direct" == native.kernels().target.precision
    assert native.kernels(precision="fast").target.precision == "fast"


@pytest.mark.parametrize(("given", "error", "match"), [
    ("drect", UnknownName, "set_precision: no precision named 'drect'; did you mean 'direct'?"),
    (1, DtypeError, "set_precision: precision must be a name, got 1"),
])
def test_no_other_precision(given, error, match, default_precision):
    with pytest.raises(error, match=match):
        st.set_precision(given)
    assert st.get_precision() == "default"
