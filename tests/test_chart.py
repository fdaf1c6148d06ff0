"""The field's charts: the numbers behind them, and that each is a picture of those numbers."""

from __future__ import annotations

import csv
import functools
import json
import xml.etree.ElementTree

import pytest
from PIL import Image

import striate as st
from striate.account import chart
from striate.cli import main
from striate.errors import ConfigError, UnknownName

SOME = ("alexnet", "squeezenet1_1", "resnet18")
# Canziani et al. 2016, figure 10 (read off the figure): top-1 per million parameters
DENSITY = {"vgg_e": 0.4, "vgg_d": 0.4, "resnet152": 1.2, "resnet101": 1.7, "resnet50": 2.9, "inception_v3": 3.2,
           "resnet34": 3.3, "resnet18": 5.9, "googlenet": 9.8}


@functools.cache
def all_points():
    return chart.accuracy_points()


def test_densities_are_those_of_the_figure():
    """Within a tenth of the accuracy, which others measured on other crops, and the figure's two digits."""
    found = {p.name: p.density for p in all_points()}
    for name, read in DENSITY.items():
        assert abs(found[name] - read) <= 0.1 * read + 0.1, name


def test_points_are_the_accounts():
    names = [p.name for p in all_points()]
    assert len(names) >= 25 and not {"lenet5", "resnet20_cifar", "vgg_b_lrn"} & set(names)
    for point in chart.accuracy_points(("vgg16", "vgg_d", *SOME)):
        entry = st.models.find(point.name)
        total = st.account(st.models.build(point.name), entry.input_shape).total
        assert (point.parameters, point.macs, point.top1) == (total.parameters, total.macs, entry.top1)
        assert point.ms is None
    assert [p.name for p in chart.accuracy_points(("vgg16", "vgg_d"))] == ["vgg_d"]


def test_measured_ms():
    (point,) = chart.accuracy_points(("squeezenet1_1",), "measured")
    assert point.ms is not None and 0.1 < point.ms < 60_000


def test_profile_adds_up():
    """The lecture's two findings: memory sits in the convolutions, parameters in the fully connected layers."""
    net = st.models.build("vgg_d")
    layers, total = chart.profile_layers(net, (3, 224, 224)), st.account(net, (3, 224, 224)).total
    assert sum(layer.parameter_bytes for layer in layers) == 4 * total.parameters
    assert sum(layer.activation_bytes for layer in layers) == total.activation_bytes
    assert sum(layer.macs for layer in layers) == total.macs
    assert len(layers) == 16
    assert max(layers, key=lambda layer: layer.parameter_bytes).layer == "classifier.0"
    assert max(layers, key=lambda layer: layer.activation_bytes).layer == "features.2"


@pytest.mark.parametrize("call", [["lenet5"], ["squeezenet1_1", "plain20_cifar"]])
def test_no_accuracy_on_imagenet(call):
    with pytest.raises(ConfigError, match=r"chart: \w+ has no published accuracy on ImageNet"):
        chart.accuracy_points(call)
    with pytest.raises(UnknownName):
        chart.accuracy_points(["alexnett"])


@pytest.mark.parametrize("words", [["accuracy", *SOME], ["density", *SOME], ["profile", "lenet5"]], ids=lambda w: w[0])
def test_a_picture_and_its_numbers(words, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.svg", "c.svg"):
        assert main(["chart", *words, "--out", name, "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)["rows"]
        with (tmp_path / name).with_suffix(".csv").open() as file:
            assert [list(row.values()) for row in csv.DictReader(file)] == [
                ["" if v is None else str(v) for v in row.values()] for row in rows]
    with Image.open("a.png") as picture:
        assert min(picture.size) >= 200 and len(picture.convert("RGB").getcolors(2**16)) > 3
    text = (tmp_path / "b.svg").read_text()
    xml.etree.ElementTree.fromstring(text)
    assert text == (tmp_path / "c.svg").read_text()


def test_without_matplotlib_the_numbers_are_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    assert main(["chart", "profile", "lenet5"]) != 0
    said = capsys.readouterr().err
    assert "pip install 'striate[plot]'" in said and "the numbers are in profile.csv" in said
    assert (tmp_path / "profile.csv").exists() and not (tmp_path / "profile.png").exists()


@pytest.mark.parametrize(("words", "sentence"), [
    (["density", "--against", "measured-ms"], "--against is of accuracy, got it with density"),
    (["accuracy", "--input", "3x8x8"], "--input is of profile, got it with accuracy"),
    (["profile"], "profile needs one network, got 0"),
    (["accuracy", "--out", "x.pdf"], "--out must end in .png or .svg, got 'x.pdf'"),
    (["accuracy", "--out", "nowhere/x.png"], "--out must lie in a folder that is there, got nowhere/x.png"),
    (["profile", "lenet5", "--out", "taken.png"], "the numbers go to taken.csv, which holds something else"),
], ids=lambda w: " ".join(w) if isinstance(w, list) else "")
def test_a_mistake_writes_nothing(words, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.csv").write_text("mine\n")
    assert main(["chart", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["taken.csv"] and (tmp_path / "taken.csv").read_text() == "mine\n"


def test_hollow_circles_are_of_other_crops():
    hollow = {p.name for p in all_points() if not p.one_crop}
    assert hollow == {"plain18", "plain34", "alexnet_two_tower", "vgg_a_lrn", "vgg_c"}
