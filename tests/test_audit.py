"""Published tables: what a printed number can stand for, and which cells of the field's best known tables cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from striate.account import TABLES, audit
from striate.account.printed import Printed
from striate.cli import main
from striate.errors import FormatError, UnknownName


@pytest.mark.parametrize(("text", "parts"), [
    ("138M", [138_344_128]),  # rounded
    ("1.7M", [1_727_962]), ("3.8G", [3_857_973_248]), ("73M", [73_608_192]),  # cut off
    ("112K", [114_688]), ("58MiB", [60_817_408]),  # 1024 and its square
    ("800K", [802_816]), ("100M", [96_400_000]),  # zeros that stand for rounded digits
    ("437K", [81_920, 57_344, 225_792, 12_288, 38_400, 32_768]),  # six layers, each cut off to K of 1024, then added
    ("1,728", [1_728]), ("0", [0]), ("4096", [4096]),
])
def test_what_a_number_can_stand_for(text, parts):
    assert Printed.of(text).can_be(parts)


@pytest.mark.parametrize(("text", "parts"), [
    ("2.7K", [9_408]), ("840K", [867_328]),  # a zero at the end was not cut off
    ("1,729", [1_728]), ("139M", [138_344_128]), ("24M", [15_237_608]), ("437K", [448_512]), ("0", [1]),
])
def test_what_it_cannot_stand_for(text, parts):
    assert not Printed.of(text).can_be(parts)


@pytest.mark.parametrize("text", ["many", "1.2.3M", "12,34", "-3K", "3X", "K"])
def test_what_is_no_number(text):
    with pytest.raises(FormatError, match="audit: a cell must be a number"):
        Printed.of(text)


# Cells that cannot be right: GoogLeNet's by multiplying out the maps it prints, the lecture's by adding its own column.
WRONG = {
    "googlenet1": [
        ("convolution 7x7/2", "parameters", "9,408"), ("convolution 7x7/2", "operations", "118,013,952"),
        ("inception (4a)", "parameters", "375,552"), ("inception (4c)", "parameters", "509,440"),
        ("inception (4d)", "parameters", "604,672"), ("inception (4e)", "parameters", "867,328"),
        ("inception (5a)", "parameters", "1,042,432"), ("inception (5a)", "operations", "51,079,168"),
        ("inception (5b)", "parameters", "1,442,816"),
    ],
    "lecture-vgg16": [("TOTAL", "activations", "15,237,608"), ("TOTAL", "memory", "60,950,432")],
}


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_of_the_field(name):
    found = audit(name)
    assert len(found.findings) >= 6 and found.source
    wrong = [(f.row, f.quantity, f.exact.split()[0]) for f in found.wrong]
    assert wrong == WRONG.get(name, [])
    assert str(found).endswith(f"{len(found.findings)} cells, {len(wrong)} cannot be right")
    assert max(map(len, str(found).splitlines())) <= 120


def test_a_table_of_mine(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("from striate import nn\nnet = nn.Conv2d(3, 8, 3)\nnet.input_shape = (3, 6, 6)\n")
    Path("mine.csv").write_text(
        '# My table\n# me\nrow,network,layers,output,macs,flops,memory\n'
        'C1,lenet5,conv1,6x28x28,"117,600","235,200",18.8KB\nall,mine.py:net,*,4x4x8,3.4K,7.0K,0.5KB\n')
    assert main(["audit", "mine.csv"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("My table\nme\n") and "8 cells, 1 cannot be right" in out
    assert [line.split()[1] for line in out.splitlines() if "WRONG" in line] == ["flops"]
    assert main(["audit", "mine.csv", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["wrong"] == 1 and found["findings"][0] == {
        "row": "C1", "quantity": "output", "printed": "6x28x28", "exact": "28x28x6", "right": True}


def test_a_table_from_a_spreadsheet(tmp_path):
    (tmp_path / "t.csv").write_text("row,network,layers,macs\nC1,lenet5,conv1,117600\n", encoding="utf-8-sig")
    assert not audit(str(tmp_path / "t.csv")).wrong


def test_a_network_of_mine_must_say_its_images(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("from striate import nn\nnet = nn.Conv2d(3, 8, 3)\n")
    Path("mine.csv").write_text("row,network,layers,macs\nall,mine.py:net,*,1\n")
    assert main(["audit", "mine.csv"]) == 2
    assert "give it input_shape = (channels, height, width)" in capsys.readouterr().err


def test_exit_status(capsys):
    assert main(["audit", "vgg2"]) == 0 and "0 cannot be right" in capsys.readouterr().out
    assert main(["audit", "googlenet1"]) == 1
    assert main(["audit", "vgg3"]) == 2 and "no table named 'vgg3'; did you mean" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "error", "match"), [
    ("row,network\nC1,lenet5\n", FormatError, "needs the columns row, network, layers, missing layers"),
    ("row,network,layers,speed\n", UnknownName, "no column named 'speed'"),
    ("row,network,layers,macs\nC1,lenet5,conv1,117,600\n", FormatError, "row 1 must have 4 cells; quote numbers"),
    ("row,network,layers,macs\nC1,lenet5,conv9,1\n", UnknownName, "no layer named 'conv9'; did you mean 'conv2'"),
    ("row,network,layers,macs\nC1,lenet6,conv1,1\n", UnknownName, "no model named 'lenet6'"),
    ("row,network,layers,macs\nC1,lenet5,conv1,some\n", FormatError, "a cell must be a number.* row 'C1' of .*t.csv"),
    ("row,network,layers,macs\n", FormatError, "needs a row for each layer, got none"),
    (b"row,network,layers\nB\xe9la,lenet5,conv1\n", FormatError, "must be text in UTF-8, got byte 0xe9 at 20"),
])
def test_a_table_that_cannot_be_read(tmp_path, text, error, match):
    (tmp_path / "t.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(error, match=match):
        audit(str(tmp_path / "t.csv"))
