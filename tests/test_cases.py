"""Every row of the case table: forward, kernels, gradient, native kernels, cost, errors."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

import expected
import expected.ops
from arrays import arrays_of, plain
from cases import CALLS, CASES, ERRORS
from play import Playback, invoke, many, spied
from striate.kernels import native, reference
from striate.kernels.contract import ROWS, Spec
from tolerance import allowed

PLAIN = [c for c in CASES if c.layout == "plain"]
SMOOTH = [c for c in PLAIN if c.data == "normal"]
BY_DIFFERENCE = {"batch_moments_dx", "softmax_grad", "log_softmax_grad", "cross_entropy_dx", "mse_dx",
                 "scale_shift_dstats"}


PACKED = {"conv2d_winograd", "conv2d_winograd_sums", "conv2d_dx_gemm_sums"}  # take panels as their second tensor
LARGE = 50_000  # numbers of a row


def rows(cases):
    """A test a row; of the large rows only the smallest of each operation and kernel, the others in `make proofs`."""
    seen = {case: getattr(case, "kernel", None) or case.op for case in sorted(cases, key=numbers)
            if numbers(case) > LARGE}
    first = {name: case for case, name in reversed(seen.items())}
    slow = [case in seen and case is not first[seen[case]] for case in cases]
    marked = [pytest.param(case, marks=pytest.mark.slow) if late else case
              for case, late in zip(cases, slow, strict=True)]
    return pytest.mark.parametrize("case", marked, ids=str)


def numbers(case):
    return sum(math.prod(shape) for shape in case.tensors.values() if isinstance(shape, tuple))


# ---- the reference

@rows(CASES)
def test_forward(case):
    """The public operation on float64 equals loops and closed forms; its trace has the same shapes."""
    given = arrays_of(case)
    y = many(invoke(case.op, given, {**case.options, "kernels": "reference"}))
    wanted = many(getattr(expected.ops, case.op)(**{n: plain(v) for n, v in given.items()}, **case.options))
    traced = Playback(case, given).outputs
    assert len(y) == len(wanted) == len(traced)
    for one, other, value in zip(y, wanted, traced, strict=True):
        assert one.shape == np.shape(other) == value.shape
        assert one.dtype == np.float64
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12 * scale_of(other))


def scale_of(y):
    finite = np.abs(y)[np.isfinite(y)]
    return finite.max() if finite.size else 0.0


def reference_kernel(name, tensors, params, outputs):
    """A call equals its independent form, in the shapes and dtypes the contract says."""
    specs = ROWS[name].shapes(*(None if t is None else Spec(t.shape, str(t.dtype)) for t in tensors), **params)
    wanted = expected.kernel(name)(*tensors, **params)
    for spec, y, other in zip(specs, outputs, many(wanted), strict=True):
        if y is None and other is None:
            continue
        assert (y.shape, str(y.dtype)) == (spec.shape, spec.dtype), name
        rtol = 1e-6 if name in BY_DIFFERENCE else 1e-12
        np.testing.assert_allclose(y, other, rtol=rtol, atol=rtol * (scale_of(other) or 1), err_msg=name)


@rows(SMOOTH)
def test_gradient(case):
    """Along one random direction the gradients give the central difference of the forward, in float64."""
    played = Playback(case, {name: plain(value) for name, value in arrays_of(case).items()})
    rng = np.random.default_rng(len(str(case)))
    k = reference.kernels()
    ys = played.forward(k, played.feed)
    dys = [rng.standard_normal(y.shape) for y in ys]
    gradients = played.backward(k, dys)
    if not gradients:
        assert all(node.op.backward is None for node in played.graph.nodes)
        return
    aim = {v: rng.standard_normal(x.shape) if v in gradients else 0 for v, x in played.feed.items()}
    for value, dx in gradients.items():
        assert dx.shape == value.shape
        assert played.feed[value].size or not dx.size

    def loss(step):
        moved = {v: x + step * aim[v] if v in gradients else x for v, x in played.feed.items()}
        return sum((dy * y).sum() for dy, y in zip(dys, played.forward(k, moved), strict=True))

    step = 1e-6
    numeric = (loss(step) - loss(-step)) / (2 * step)
    analytic = sum((dx * aim[v]).sum() for v, dx in gradients.items())
    size = sum(np.abs(dx * aim[v]).sum() for v, dx in gradients.items())
    assert abs(numeric - analytic) <= 1e-7 * (1 + size), f"central difference {numeric}, gradient {analytic}"


# ---- the native kernels

@rows(PLAIN + CALLS)
def test_kernels(case):
    """Each kernel call of the row: the reference in float64, then native code in float32 on every instruction set."""
    for name, tensors, params, outputs in spied(case):
        if getattr(case, "data", "") != "large":
            reference_kernel(name, tensors, params, outputs)
        native_kernel(name, tensors, params)


def native_kernel(name, tensors, params):
    """A call is as near the float64 reference as derived."""
    single = [t.astype(np.float32) if t is not None and t.dtype == np.float64 else t for t in tensors]
    double = [t.astype(np.float64) if t is not None and t.dtype == np.float32 else t for t in single]
    wanted = many(getattr(reference.kernels(), name)(*double, **params))
    bounds = iter(allowed(name, double, params, [y for y in wanted if y is not None]))
    bounds = [None if y is None else next(bounds) for y in wanted]
    for isa in native.isas():
        k = native.kernels(isa, precision="direct")
        if panels_of(name, tensors, params) not in (None, k.target.nr):
            continue
        for y, other, bound in zip(many(getattr(k, name)(*single, **params)), wanted, bounds, strict=True):
            if other is None:
                continue  # an optional output whose input is absent
            assert y.shape == other.shape, name
            assert y.dtype == np.float32 or y.dtype == other.dtype, name
            near(y, other, bound, f"{name} {params} on {isa}")


def panels_of(name, tensors, params):
    """Columns of a packed panel, where a call makes or takes panels."""
    return tensors[1].shape[-1] if name in PACKED else params.get("nr")


def near(y, wanted, bound, what):
    """|y - wanted| <= bound where both are finite, and the same NaN and infinities elsewhere."""
    rounded = wanted.astype(np.float32) if wanted.dtype == np.float64 else wanted
    odd = ~np.isfinite(rounded) if rounded.dtype.kind == "f" else np.zeros(rounded.shape, bool)
    if odd.any():
        np.testing.assert_array_equal(y[odd], rounded[odd], err_msg=what)
    with np.errstate(invalid="ignore"):
        error = np.abs(y.astype(np.float64) - (rounded if (bound == 0).all() else wanted))
    over = ~odd & ~(error <= bound)
    assert not over.any(), f"{what}: {over.sum()} of {over.size} beyond the bound, worst {worst(error, bound, over)}"


def worst(error, bound, over):
    ratio = np.where(over, error / np.maximum(bound, 1e-300), 0)
    at = np.unravel_index(ratio.argmax(), ratio.shape)
    return f"{error[at]:.3g} against {bound[at]:.3g} at {tuple(map(int, at))}"


@rows(CASES)
def test_native_call(case):
    """The public operation on float32 arrays, in the row's layout, agrees with the reference and changes no input."""
    given = arrays_of(case, np.float32)
    before = {name: plain(value) for name, value in given.items()}
    ys = many(invoke(case.op, given, case.options))
    wanted = many(invoke(case.op, before, {**case.options, "kernels": "reference"}))
    for y, other in zip(ys, wanted, strict=True):
        assert (y.shape, y.dtype) == (other.shape, np.float32)
        np.testing.assert_allclose(y, other, rtol=2e-5, atol=2e-6 * max(scale_of(other), 1))
    for name, value in given.items():
        np.testing.assert_equal(plain(value), before[name])


# ---- cost and errors

def test_cost():
    """Multiply-accumulates are those of the definition; nothing costs less than nothing."""
    for case in PLAIN:
        given = arrays_of(case)
        played = Playback(case, given)
        costs = [node.cost() for node in played.graph.nodes]
        weights = given.get("w", given.get("centers"))
        per_output = 0 if weights is None else weights[0].size
        assert sum(c.macs for c in costs) == int(np.prod(map_of(case, played))) * per_output, case
        assert all(c.other >= 0 for c in costs), case


def map_of(case, played):
    """The shape of what the filters give: the output, or what lies in front of its 2x2 pooling."""
    if "max_pool" not in case.op or "w" not in case.given:
        return played.outputs[0].shape
    geometry = {name: case.given[name] for name in ("stride", "padding", "dilation", "groups")}
    return expected.ops.conv2d(*(plain(arrays_of(case)[name]) for name in "xw"), **geometry).shape


@rows(ERRORS)
@pytest.mark.parametrize("traced", [False, True], ids=["arrays", "traced"])
def test_error(case, traced):
    """The operation refuses, on arrays and while tracing, in the words of the row."""
    given = arrays_of(case, np.float32)
    if traced and "out of range" in case.match:
        pytest.skip("targets are data: they are checked when a program runs")
    with pytest.raises(case.error, match=case.match) as caught:
        if traced:
            Playback(case, given)
        else:
            invoke(case.op, given, case.options)
    text = str(caught.value)
    assert re.match(r"[a-z0-9_]+: ", text), text
    assert not text.endswith("."), text
