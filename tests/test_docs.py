"""Every Python block of the README and the guide runs, page by page, in one namespace a page."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.S | re.M)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_block_runs(page, tmp_path, monkeypatch, undrawn, numpy_weights, brief_peaks):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STRIATE_OFFLINE", "1")
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path / "cache"))
    names = {"__name__": "page", "np": np}
    for block in BLOCK.findall(page.read_text()):
        exec(compile(block, str(page), "exec"), names)


def test_the_two_commands_stand_before_line_25():
    head = "\n".join((ROOT / "README.md").read_text().splitlines()[:25])
    assert "make demo" in head and "make test" in head


def test_links_between_pages_are_not_broken():
    for page in [*PAGES, *(ROOT / "docs").rglob("*.md"), ROOT / "CONTRIBUTING.md"]:
        for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_no_path_of_a_machine():
    home = os.path.expanduser("~")
    pages = [*ROOT.rglob("docs/**/*.md"), ROOT / "README.md"]
    assert not [p for p in pages if home in p.read_text() and len(home) > 5]
