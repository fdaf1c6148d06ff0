"""Algorithms: what they are chosen for, and that nothing else has a say; tuned tables on disk."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace

import numpy as np
import pytest

import striate as st
from nets import Tiny
from striate import ops
from striate.engine import tune, tuned
from striate.engine.program import Arena
from striate.engine.programs import Request
from striate.engine.step import TrainingStep
from striate.errors import ConfigError, DtypeError, UnknownName
from striate.kernels import native, reference
from striate.kernels.algorithms import ALGORITHMS, candidates, chosen, key
from striate.kernels.contract import Spec
from striate.kernels.costs import NS, microseconds
from striate.kernels.lower import ON_TAPE
from striate.kernels.problem import PROBLEMS, Problem
from striate.kernels.target import Target
from striate.train import SGD

AVX2 = Target("avx2", width=8, mr=6, nr=16, mc=96, kc=256)
STEP = replace(AVX2, training=True)


def problem(kind="forward", n=4, c=64, o=64, size=56, kernel=3, stride=1, padding=1, dilation=1, groups=1, epilogue=""):
    out = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    return Problem(kind, n, c, o, (size, size), (out, out), (kernel, kernel), (stride, stride), (padding,) * 4,
                   (dilation, dilation), groups, epilogue)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path))


@pytest.fixture
def default_precision():
    yield
    st.set_precision("default")


# ---- precision

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


def test_each_precision_has_its_own_program(default_precision):
    net, x = Tiny().initialize(0), np.ones((2, 3, 8, 8), np.float32)
    for precision in ("default", "direct", "default"):
        st.set_precision(precision)
        net(x)
    assert len(net.programs._programs) == 2


# ---- what applies

@pytest.mark.parametrize(("given", "target", "tiles"), [
    (problem(), AVX2, {0, 2, 3, 4}),
    (problem(), replace(AVX2, precision="direct"), {0}),
    (problem(), replace(AVX2, precision="fast"), {0, 2, 3, 4, 6}),
    (problem("dx"), STEP, {0, 2, 3, 4}),
    (problem("dw"), STEP, {0, 2, 3, 4}),
    (problem(kernel=5, padding=2), AVX2, {0, 2, 4}),
    (problem(kernel=5, padding=2), STEP, {0, 2}),
    (problem("dx", kernel=5, padding=2), STEP, {0, 2}),
    (problem("dw", kernel=5, padding=2), STEP, {0, 2}),
    (problem(kernel=1, padding=0), AVX2, {0}),
    (problem(kernel=7, padding=3), AVX2, {0}),
    (problem(stride=2), AVX2, {0}),
    (problem(dilation=2), AVX2, {0}),
    (problem(groups=4), AVX2, {0}),
    (problem(padding=3), AVX2, {0}),  # dX would need a negative border
    (problem(n=0), AVX2, {0, 2, 3, 4}),
])
def test_what_applies(given, target, tiles):
    assert {a.tile for a, _ in candidates(given, target)} == tiles


def test_the_choice_is_the_least_cost_unless_a_table_names_another():
    p = problem()
    (best, cost), (second, more), *_ = candidates(p, AVX2)
    assert cost <= more and chosen(p, AVX2) == best
    assert chosen(p, replace(AVX2, tuned=((key(p, AVX2), second.name),))) == second
    assert chosen(p, replace(AVX2, tuned=((key(p, STEP), second.name),))) == best  # of a training step
    assert chosen(p, replace(AVX2, tuned=((key(p, AVX2), "winograd_6"),))) == best  # not at this precision
    assert chosen(p, replace(AVX2, tuned=((key(p, AVX2), "strassen"),))) == best


def test_every_width_has_its_constants():
    for isa in native.isas():
        target = native.target(isa)
        assert all(target.width in widths for widths in NS.values())
        for kind in ("forward", "dx", "dw"):
            assert all(microseconds(problem(kind), target, a.tile) > 0 for a in ALGORITHMS)


def test_a_key_tells_problems_apart():
    names = {key(p, t) for t in (AVX2, STEP, replace(AVX2, precision="fast")) for p in (
        problem(), problem("dx"), problem("dw"), problem(n=5), problem(c=8), problem(o=8), problem(size=9),
        problem(kernel=5), problem(stride=2), problem(padding=0), problem(dilation=2), problem(groups=2),
        problem(epilogue="moments"), problem(epilogue="max_pool"), problem("dx", epilogue="max_pool"),
    )}
    assert len(names) == 3 * 15


# ---- lowering

@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
@pytest.mark.parametrize("name", ["conv2d", "conv2d_moments", "conv2d_max_pool", "conv2d_dx", "conv2d_dx_add",
                                  "conv2d_dw", "conv2d_max_pool_dx", "conv2d_max_pool_dw"])
@pytest.mark.parametrize("kernel", [3, 5])
def test_lowered_is_the_definition(name, algorithm, kernel):
    """Every algorithm, as the reference computes it in float64, gives what the definition says."""
    exact, k = reference.kernels(), reference.kernels()
    arrays, params = _definition(name, kernel)
    p = PROBLEMS[name](*arrays, **params)
    fast = replace(reference.TARGET, precision="fast")
    k.target = replace(fast, tuned=((key(p, fast), algorithm.name),))
    if not algorithm.applies(p, k.target):
        pytest.skip("does not apply")
    found, wanted = ON_TAPE[name](k, *arrays, **params), getattr(exact, name)(*arrays, **params)
    many = found if isinstance(found, tuple) else (found,)
    for y, other in zip(many, wanted if isinstance(wanted, tuple) else (wanted,), strict=True):
        np.testing.assert_allclose(y, other, rtol=0, atol=1e-9 * max(1, np.abs(other).max()))


def _definition(name, kernel):
    """Arrays and parameters with a padding of its own on each side."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 5, 11, 9)), rng.standard_normal((7, 5, kernel, kernel))
    at = dict(stride=(1, 1), padding=(2, 1, 0, kernel - 1), dilation=(1, 1), groups=1)
    dy = reference.kernels().conv2d(x, w, None, None, **at, activation=0)
    b, r = rng.standard_normal(7), rng.standard_normal(dy.shape)
    y, index = reference.kernels().conv2d_max_pool(x, w, b, **at, activation=1)
    pooled = (rng.standard_normal(y.shape), index, y)
    return {
        "conv2d": ((x, w, b, r), at | {"activation": 1}), "conv2d_moments": ((x, w, b), at),
        "conv2d_max_pool": ((x, w, b), at | {"activation": 1}),
        "conv2d_max_pool_dx": ((*pooled, w), at | {"size": (11, 9)}),
        "conv2d_max_pool_dw": ((x, *pooled), at | {"kernel": (kernel, kernel)}),
        "conv2d_dx_add": ((dy, w, rng.standard_normal(x.shape)), at | {"size": (11, 9)}),
        "conv2d_dx": ((dy, w), at | {"size": (11, 9)}), "conv2d_dw": ((x, dy), at | {"kernel": (kernel, kernel)}),
    }[name]


def test_direct_is_exact_on_integers_end_to_end(default_precision, isa, monkeypatch):
    """A network of small integers gives integers under "direct", and the fast algorithms what is near them."""
    monkeypatch.setenv("STRIATE_ISA", isa)
    net, rng = st.nn.Conv2d(32, 32, 3, padding=1), np.random.default_rng(0)
    net.weight, net.bias = rng.integers(-3, 4, (32, 32, 3, 3)).astype(np.float32), np.zeros(32, np.float32)
    x = rng.integers(-4, 5, (2, 32, 32, 32)).astype(np.float32)
    wanted = reference.kernels().conv2d(x.astype(np.int64), net.weight.array.astype(np.int64), None, None,
                                        stride=(1, 1), padding=(1,) * 4, dilation=(1, 1), groups=1, activation=0)
    st.set_precision("direct")
    assert (net(x) == wanted).all()
    st.set_precision("default")
    np.testing.assert_allclose(net(x), wanted, atol=1e-5 * 12 * 32 * 9)


# ---- purity

def test_no_choice_depends_on_threads():
    fingerprints = set()
    for threads in (1, 2, 3):
        native.set_threads(threads)
        try:
            net = Tiny(channels=32).initialize(0)
            step = TrainingStep(net.programs, ops.cross_entropy, SGD(0.1))
            x, targets = np.ones((4, 3, 8, 8), np.float32), np.zeros(4, np.int64)
            inference = net.programs.get(Request(Spec((3, 8, 8))), 4)
            fingerprints.add((step.program(x, targets).fingerprint, inference.fingerprint))
        finally:
            native.set_threads(None)
    assert len(fingerprints) == 1


# ---- tuned tables

NAME = key(problem(), AVX2)


def test_a_table_is_kept_and_the_first_entry_stays():
    assert tuned.load("avx2") == {}
    assert tuned.add("avx2", {NAME: "winograd_4"}) == {NAME: "winograd_4"}
    assert tuned.add("avx2", {NAME: "direct", "other": "direct"}) == {NAME: "winograd_4", "other": "direct"}
    assert tuned.load("avx2") == {NAME: "winograd_4", "other": "direct"}
    assert tuned.load("baseline") == {}


@pytest.mark.parametrize("damage", [
    b"", b"{", b"\xff\xfe\x00", b"[]", b"null", b"[" * 100_000,
    json.dumps({"cpu": "another", "isa": "avx2", "striate": "0", "algorithms": {}}).encode(),
    {"algorithms": {NAME: "strassen"}}, {"algorithms": {NAME: ["direct"]}}, {"algorithms": [NAME]}, {"striate": "9.9"},
])
def test_a_damaged_table_is_warned_of_and_written_anew(damage):
    tuned.add("avx2", {NAME: "winograd_4"})
    path = tuned.table_path("avx2")
    path.write_bytes(damage if isinstance(damage, bytes) else
                     json.dumps(json.loads(path.read_text()) | damage).encode())
    with pytest.warns(UserWarning, match="cannot be read as a tuned table"):
        assert tuned.load("avx2") == {}
    with pytest.warns(UserWarning, match="written anew"):
        tuned.add("avx2", {NAME: "winograd_2"})
    assert tuned.load("avx2") == {NAME: "winograd_2"}


def test_a_table_that_cannot_be_kept_holds_for_this_process(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path / "file" / "x"))
    with pytest.warns(UserWarning, match="cannot be kept"):
        assert tuned.add("avx2", {NAME: "direct"}) == {NAME: "direct"}


def _adds(name):
    for i in range(20):
        tuned.add("avx2", {f"{name} {i}": "direct", f"both {i}": name})


def test_two_processes_at_once():
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_adds, args=(name,)) for name in ("winograd_2", "winograd_4")]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert [w.exitcode for w in workers] == [0, 0]
    table = tuned.load("avx2")
    assert len(table) == 60 and all(table[f"both {i}"] in ("winograd_2", "winograd_4") for i in range(20))


# ---- measuring

@pytest.mark.parametrize("kind", ["forward", "dx", "dw", "moments", "max_pool"])
@pytest.mark.parametrize("training", [False, True])
def test_the_fastest_is_one_of_the_candidates(kind, training, isa):
    target = native.target(isa, training=training)
    p = (problem(kind, n=1, c=16, o=16, size=12) if kind in ("forward", "dx", "dw") else
         problem(n=1, c=16, o=16, size=12, epilogue=kind))
    assert tune.fastest(p, target, 2, Arena()) in [a for a, _ in candidates(p, target)]


def test_a_tuned_network_takes_its_table_from_disk(monkeypatch):
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    first = Tiny(channels=32).initialize(0)
    y = first(x, tune=True)
    assert first.programs.tuned == tuned.load(native.default_isa())
    monkeypatch.setattr(tune, "fastest", lambda *_: pytest.fail("was measured before"))
    again = Tiny(channels=32).initialize(0)
    assert np.array_equal(again(x, tune=True), y) and again.programs.tuned == first.programs.tuned
    np.testing.assert_allclose(first(x), y, atol=1e-5)


def test_a_resumed_run_computes_with_the_table_of_its_checkpoint(tmp_path, monkeypatch, undrawn):
    """Another choice is on this machine's disk by then; the bits are those of the run that never stopped."""
    monkeypatch.setattr(tune, "HOPELESS", float("inf"))
    monkeypatch.setattr(tune, "fastest", lambda p, *_: ALGORITHMS[1])
    rng = np.random.default_rng(0)
    data = rng.integers(0, 255, (24, 3, 8, 8), np.uint8), rng.integers(0, 5, 24)

    def run(out, stop=None, **options):
        def listen(event):
            if isinstance(event, st.train.StepDone) and event.step == stop:
                raise KeyboardInterrupt
        net = Tiny().initialize(1)
        st.fit(net, data, epochs=2, batch_size=8, out=out, tune=True, progress=False, on_event=listen, **options)
        return net

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "part", stop=4, save_every=1)
    tuned.table_path(native.default_isa()).unlink()
    monkeypatch.setattr(tune, "fastest", lambda p, *_: ALGORITHMS[0])
    part = run(tmp_path / "part", resume=True)
    assert part.programs.tuned == whole.programs.tuned and set(whole.programs.tuned.values()) == {"winograd_2"}
    assert all(np.array_equal(s.array, part.states()[path].array) for path, s in whole.states().items())
    with pytest.raises(ConfigError, match="tune must be as it was, True"):
        st.fit(Tiny().initialize(1), data, epochs=2, batch_size=8, out=tmp_path / "part", resume=True, progress=False)
