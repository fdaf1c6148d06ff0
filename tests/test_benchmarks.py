"""The benchmark beside other engines: its arithmetic, its refusals, and that the networks it compares are the same."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import striate as st
from striate import ops
from striate.models import find

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.exists(), reason="the benchmarks come with a checkout, not the package")


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import peers
    import results
    import turns

    return SimpleNamespace(**vars(turns) | vars(results) | vars(peers))


def job(peers, **given):
    return peers.Job(**dict(network="lenet5", batch=2, mode="inference", folder="", shape=(1, 28, 28), classes=10,
                            threads=2) | given)


def test_the_heading_names_the_instruction_set_that_runs(peers, monkeypatch, isa, capsys):
    import machine

    monkeypatch.setenv("STRIATE_ISA", isa)
    machine.heading("LeNet-5")
    assert f", isa {isa}, " in capsys.readouterr().out
    assert machine.describe()["isa"] == isa


def measured(peers, engine, *rounds):
    return peers.Measured(engine, [list(times) for times in rounds], peak_mib=7.0)


def test_the_fastest_is_that_of_the_whole_run_and_the_ratio_the_median_of_rounds(peers):
    found = [
        measured(peers, "striate", [1.0, 2.0, 3.0], [4.0], [2.0]),  # 2, 4, 2
        measured(peers, "torch", [4.0], [8.0], [10.0]),  # ratios 2, 2, 5
        measured(peers, "ncnn", [1.0], [90.0], [90.0]),  # the fastest call of all, but not the lowest median
    ]
    *engines, ratio = peers.rows_of(job(peers), found)
    head = dict(network="lenet5", batch=2, mode="inference")
    assert engines[0] == head | dict(engine="striate", median_ms=2.0, min_ms=1.0, peak_mib=7.0)
    assert ratio == head | dict(ratio=2.0, against="torch")
    assert json.loads(json.dumps([*engines, ratio])) == [*engines, ratio]


def test_results_must_agree(peers):
    y = np.ones((2, 10), np.float32)
    assert peers.compare(job(peers), {"striate": y, "torch": y + 5e-4})["torch"] == pytest.approx(5e-4, rel=1e-3)
    with pytest.raises(peers.Failed, match="torch and striate must agree on lenet5's inference"):
        peers.compare(job(peers), {"striate": y, "torch": y + 2e-3})
    peers.compare(job(peers, network="vgg16", mode="training"), {"striate": 6.9, "torch": 7.9})
    with pytest.raises(peers.Failed, match="must agree"):
        peers.compare(job(peers, network="resnet20", mode="training"), {"striate": 6.9, "torch": 7.0})


@pytest.mark.parametrize(("version", "got"), [(None, "none"), ("3.0.0", "3.0.0")])
def test_a_missing_peer_is_one_sentence(peers, monkeypatch, version, got):
    monkeypatch.setattr(peers.machine, "version", lambda name: version)
    with pytest.raises(peers.Failed, match=rf"^peers: needs MNN 3.6.1, got {got}; pip install -r \S+$"):
        peers.check_installed(["striate", "MNN"])


def test_an_engine_that_fails_says_so(peers, tmp_path):
    child = peers.Child("striate", job(peers, folder=str(tmp_path)))
    try:
        with pytest.raises(peers.Failed, match="peers: striate failed: FileNotFoundError"):
            child.receive(60)
    finally:
        child.stop()


@pytest.mark.torch
@pytest.mark.parametrize("name", ["lenet5", "resnet20"])
def test_twins(peers, name):
    torch = pytest.importorskip("torch")
    from twins import twin_of

    net = st.create(name)
    twin = twin_of(net)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, *find(name).input_shape)).astype(np.float32)
    targets = rng.integers(0, 10, 4)
    theirs = twin.eval()(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(net(x), theirs, atol=1e-4 * np.abs(theirs).max())
    loss, grads = st.value_and_grad(net, ops.cross_entropy)(x, targets)
    other = torch.nn.functional.cross_entropy(twin.train()(torch.from_numpy(x)), torch.from_numpy(targets))
    other.backward()
    assert loss == pytest.approx(other.item(), rel=1e-4)
    assert grads.keys() == {path for path, _ in twin.named_parameters()}
    for path, parameter in twin.named_parameters():
        g = parameter.grad.numpy()
        np.testing.assert_allclose(grads[path], g, atol=1e-3 * np.abs(g).max() + 1e-7, err_msg=path)


@pytest.mark.torch
def test_each_layer_of_a_network_is_measured(peers):
    """54 products in ResNet-50; a batch is a number here, and the sizes that follow from it."""
    pytest.importorskip("torch")
    import layers

    found = layers.layers("resnet50", 2)
    assert sum(found.values()) == 54
    assert all(layer.y[0] == 2 and layer.flops > 0 for layer in found)
