"""Predicted times: the fit against a planted model, the file, and what a prediction must not do."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import striate as st
from nets import Tiny
from striate.account import calibrate as calibration
from striate.account.calibrate.nets import SAMPLES, Sample, early, heads
from striate.account.calibrate.runs import Runner
from striate.account.latency import predict
from striate.account.latency.amounts import NAMES, Amounts, amounts
from striate.account.latency.model import CLASSES, Prices, Seen, fit, least_squares, roofline
from striate.account.latency.reuse import traffic
from striate.account.latency.spread import Spread, spread
from striate.account.latency.store import Calibration, load, path_of, save
from striate.account.memory import plan_of
from striate.cli import main
from striate.errors import ConfigError, FormatError, StriateError
from striate.kernels import _native, native
from striate.models.registry import MODELS

ROOF = roofline(0.02, 0.1)
PLANTED = {"multiplies": 0.03, "read all": 0.2, "calls": 900.0}  # ns


def _amounts(rng: np.random.Generator, family: str = "planted", kernel: str = "planted") -> Amounts:
    found = {"calls": 1.0, "multiplies": 10 ** rng.uniform(4, 8), "read all": 10 ** rng.uniform(3, 7)}
    return Amounts("layer", kernel, family, "forward", 1, np.array([found.get(name, 0.0) for name in NAMES]))


def _seen(count: int, noise: float) -> list[Seen]:
    rng = np.random.default_rng(3)
    prices = np.array([PLANTED.get(name, 0.0) for name in NAMES])
    each = [_amounts(rng) for _ in range(count)]
    return [Seen(f"design{i % 6}", f"run{i % 24}", a, float(a.values @ prices) * math.exp(rng.normal(0, noise)))
            for i, a in enumerate(each)]


def _calibration() -> Calibration:
    prices = dict.fromkeys(CLASSES, ROOF)
    return Calibration(native.default_isa(), native.get_threads(), Prices({"add": ROOF * 2}, prices),
                       Spread({"add": 0.1}, dict.fromkeys(CLASSES, 0.3), 0.05, 1.5), 0.02, 1e6, 20.0, 60, 3000)


@pytest.fixture
def calibrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A calibration in a cache of its own."""
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path))
    return save(_calibration())


# ---- the fit

def test_fit_recovers_planted_prices() -> None:
    """200 calls with 5 % of noise pin each price to 5 % / sqrt(200 / 3) of itself or so: 10 % is far outside."""
    found = fit(_seen(200, 0.05), ROOF).families["planted"]
    for name, ns in PLANTED.items():
        assert found[NAMES.index(name)] == pytest.approx(ns, rel=0.1)


def test_fit_is_not_moved_by_outliers() -> None:
    seen = [replace(s, ns=s.ns * (8 if i % 20 == 0 else 1)) for i, s in enumerate(_seen(200, 0.03))]
    found = fit(seen, ROOF).families["planted"]
    assert found[NAMES.index("multiplies")] == pytest.approx(PLANTED["multiplies"], rel=0.15)


def test_spread_is_the_noise_that_was_planted() -> None:
    """A run sums 10 calls, some much larger than others: it is off by one call's noise at most."""
    seen = _seen(240, 0.2)
    found = spread(seen, fit(seen, ROOF), {})
    assert 0.05 < found.families["planted"] < 0.3
    assert 1.0 < found.factor < 2.6  # 1.64 for normal errors


def test_least_squares_keeps_bounds() -> None:
    """Against every choice of columns: the best of those whose solution is not negative."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.normal(size=(12, 5)), rng.normal(size=12)
        found = least_squares(a, b)
        best = min(_choices(a, b))
        assert (found >= 0).all()
        assert np.linalg.norm(a @ found - b) == pytest.approx(best, rel=1e-6)


def _choices(a: np.ndarray, b: np.ndarray) -> list[float]:
    rests = [float(np.linalg.norm(b))]
    for bits in range(1, 1 << a.shape[1]):
        columns = [i for i in range(a.shape[1]) if bits >> i & 1]
        x = np.linalg.lstsq(a[:, columns], b, rcond=None)[0]
        if (x >= 0).all():
            rests.append(float(np.linalg.norm(a[:, columns] @ x - b)))
    return rests


def test_families_that_were_not_met_are_guessed_and_said() -> None:
    rng = np.random.default_rng(0)
    prices = fit(_seen(60, 0.05), ROOF)
    strange = _amounts(rng, family="strange", kernel="strange")
    assert prices.ns(strange) > 0
    wide = Spread({"planted": 0.05}, {"product": 0.4, "pass": 0.5, "run": 0.5}, 0.0, 1.6)
    assert wide.half([(strange, 1.0)]) > 4 * wide.half([(_amounts(rng), 1.0)])


# ---- the file

def test_a_calibration_comes_back_as_it_was_kept(calibrated: Path) -> None:
    kept, found = _calibration(), load(native.default_isa(), native.get_threads())
    assert calibrated == path_of(native.default_isa(), native.get_threads())
    assert (found.noise, found.networks, found.spread) == (kept.noise, kept.networks, kept.spread)
    np.testing.assert_array_equal(found.prices.families["add"], kept.prices.families["add"])


def _changed(path: Path, **fields: object) -> str:
    return json.dumps(json.loads(path.read_text()) | fields)


@pytest.mark.parametrize(("content", "message"), [
    (lambda p: "", "must be a calibration of this machine"),
    (lambda p: p.read_text()[:100], "must be a calibration"),
    (lambda p: "[" * 100_000, "must be a calibration"),
    (lambda p: "[]", "no JSON object"),
    (lambda p: "{}", "it has no 'cpu'"),
    (lambda p: _changed(p, cpu="another"), "another cpu"),
    (lambda p: _changed(p, threads=77), "another threads"),
    (lambda p: _changed(p, amounts=["calls"]), "another amounts"),
    (lambda p: _changed(p, noise="much"), "'much' where a number"),
    (lambda p: _changed(p, noise=float("nan")), "nan where a number"),
    (lambda p: _changed(p, factor=-1), "-1 where a number"),
    (lambda p: _changed(p, classes={}), "not the classes product, pass, run"),
    (lambda p: _changed(p, families={"add": {"ns": [1.0], "spread": 0.1}}), "prices a kernel"),
    (lambda p: _changed(p, families=[1]), "no table of kernels"),
    (lambda p: " " * (5 << 20), "more than"),
])
def test_a_file_that_is_no_calibration_is_an_error(calibrated: Path, content: object, message: str) -> None:
    calibrated.write_text(content(calibrated))  # type: ignore[operator]
    with pytest.raises(FormatError, match=message) as found:
        predict(Tiny(), (3, 8, 8))
    assert "striate calibrate" in str(found.value)
    assert "\n" not in str(found.value)


def test_without_a_calibration_the_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match=r"no calibration for .* make one with: striate calibrate"):
        predict(Tiny(), (3, 8, 8))
    assert main(["latency", "lenet5"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


# ---- predictions

@pytest.mark.usefixtures("calibrated")
@pytest.mark.parametrize("training", [False, True])
def test_rows_add_up(training: bool) -> None:
    found = predict(st.models.build("lenet5"), (1, 28, 28), 4, training=training)
    assert found.ms == pytest.approx(sum(r.ms for r in found.rows))
    assert found.ms == pytest.approx(sum(ms for _, ms, _, _ in found.layers().values()))
    assert 0 < found.low < found.ms < found.high
    assert {r.section for r in found.rows} >= ({"forward", "backward", "update"} if training else {"forward"})
    assert not any(r.calibrated for r in found.rows if r.kernel != "add")
    assert "a guess from the other kernels: " in str(found)


@pytest.mark.usefixtures("calibrated")
def test_more_images_take_longer() -> None:
    for training in (False, True):
        times = [predict(st.models.build("resnet20_cifar"), (3, 32, 32), n, training=training).ms for n in (1, 4, 16)]
        assert times == sorted(times)


@pytest.mark.usefixtures("calibrated")
def test_a_prediction_maps_and_draws_nothing() -> None:
    net = st.models.build("alexnet")
    before = _native.mapped_bytes()
    for training in (False, True):
        predict(net, (3, 224, 224), 8, training=training)
    assert _native.mapped_bytes() == before
    assert not np.asarray(next(iter(net.states().values())).storage).any()


@pytest.mark.usefixtures("calibrated")
def test_arguments_are_checked() -> None:
    with pytest.raises(ConfigError, match="latency: needs a Module, got str"):
        predict("lenet5", (1, 28, 28))  # type: ignore[arg-type]
    with pytest.raises(StriateError, match="batch"):
        predict(Tiny(), (3, 8, 8), 0)


@pytest.mark.parametrize("training", [False, True])
def test_the_plan_is_that_of_the_run(training: bool) -> None:
    """Call for call: what is predicted is what then runs."""
    runner = Runner(early(4), (1, 24, 24), 3, training)
    target = native.target(native.default_isa(), training=training)
    plan = plan_of(early(4), (1, 24, 24), 3, training=training)
    ran = runner.program.plan
    assert [c.row.name for c in plan.tape.calls] == [c.row.name for c in ran.tape.calls]
    assert (plan.arena_bytes, plan.constant_bytes, plan.state_bytes) == (
        ran.arena_bytes, ran.constant_bytes, ran.state_bytes)
    assert len(amounts(plan, target, native.get_threads())) == len(runner.profile()[0])


def test_weights_that_fit_a_cache_are_near_and_others_far() -> None:
    """One linear layer behind the other: the second walk finds small weights where the first left them."""
    far = {}
    for width in (20, 600):
        moved = traffic(plan_of(heads(width), (3, 32, 32)))
        total = sum((t.read for t in moved), np.zeros(6))
        far[width] = total[4] / total[0]  # beyond 16 MiB
    assert far[20] < 0.05 < 0.5 < far[600]


def test_no_sample_is_a_network_of_the_registry() -> None:
    for sample in SAMPLES:
        assert sample.design.__name__ not in MODELS


# ---- measuring

def test_a_small_calibration_predicts_what_it_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two samples, a moment each: what was seen is explained within a factor that a busy machine keeps too."""
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path))
    monkeypatch.setattr(calibration, "BUDGET", 0.1)
    samples = (Sample(early, 6, (1, 24, 24), 8), Sample(early, 10, (1, 24, 24), 2))
    found = calibration.calibrate(samples)
    save(found)
    assert found.networks == 2
    said = predict(early(6), (1, 24, 24), 8)
    assert all(r.calibrated for r in said.rows)
    assert 0 < said.low < said.ms < said.high < math.inf
    with pytest.raises(ConfigError, match="at least one network"):
        calibration.calibrate(())


def test_slow_rounds_are_left_out() -> None:
    ns = np.array([[100.0, 10.0], [100.0, 10.0], [900.0, 90.0], [102.0, 11.0]])
    np.testing.assert_allclose(calibration.calm_rounds(ns, np.array([1.0, 1.05, 3.0, 1.02])), [100, 10])
    slow = calibration.calm_rounds(ns * 2, np.full(4, 2.0))  # never calm: all are divided
    np.testing.assert_allclose(slow, np.quantile(ns, calibration.LOW, axis=0))


def test_the_commands(calibrated: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["latency", "lenet5", "--batch", "2"]) == 0
    printed = capsys.readouterr().out
    assert "predicted; 90 % between" in printed and max(map(len, printed.splitlines()[:-1])) <= 100
    assert main(["latency", "lenet5", "--training", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["training"] is True
    monkeypatch.setattr("striate.cli.calibrate.measure", _calibration)
    assert main(["calibrate", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == str(calibrated)
