"""The walls: imports go one way, names are listed, files stay small, and importing the package does nothing."""

from __future__ import annotations

import ast
import functools
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "striate"
ORDER = [
    "errors", "atomic", "picture", "cache", "kernels", "graph", "ops", "engine", "nn", "models", "data", "train",
    "account", "probe", "prune", "search", "interop", "lens", "web", "cli",
]
FILES = sorted(SOURCE.rglob("*.py"))


def room(path):
    return path.relative_to(SOURCE).with_suffix("").parts[0]


@functools.cache
def nodes(path):
    return list(ast.walk(ast.parse(path.read_text())))


def imported_rooms(path):
    for node in nodes(path):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{a.name}" for a in node.names] if node.module == "striate" else [node.module]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "striate" and len(parts) > 1 and parts[1] in ORDER:
                yield parts[1]


@pytest.mark.parametrize("path", [f for f in FILES if room(f) != "__init__"], ids=lambda f: str(f.relative_to(SOURCE)))
def test_imports_go_one_way(path):
    assert room(path) in ORDER, f"{room(path)} is no room of the design"
    wrong = [r for r in imported_rooms(path) if ORDER.index(r) > ORDER.index(room(path))]
    assert not wrong, f"{path.name} imports {wrong}, which stand to the right of {room(path)}"


@pytest.mark.parametrize("path", FILES, ids=lambda f: str(f.relative_to(SOURCE)))
def test_files_and_functions_stay_small(path):
    assert len(path.read_text().splitlines()) <= 400
    for node in nodes(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert length <= 40, f"{node.name} has {length} lines"


def test_no_drawer_for_everything():
    banned = {"utils", "util", "misc", "common", "helpers", "helper", "core", "manager"}
    assert not [f for f in FILES if banned & set(f.relative_to(SOURCE).with_suffix("").parts)]


@pytest.mark.parametrize("name", ["striate", "striate.ops", "striate.nn", "striate.models", "striate.train",
                                  "striate.data", "striate.account"])
def test_all_is_sorted_and_true(name):
    module = importlib.import_module(name)
    assert all(getattr(module, n) is not None for n in module.__all__)
    assert len(set(module.__all__)) == len(module.__all__)


def test_import_is_light_and_starts_no_thread():
    code = (
        "import numpy, sys, time; t = time.perf_counter(); import striate; d = time.perf_counter() - t\n"
        "heavy = {'matplotlib', 'rich', 'typer', 'PIL', 'torch'} & set(sys.modules)\n"
        "import threading, os; print(d < 0.15, sorted(heavy), len(os.listdir('/proc/self/task')))\n"
    )
    alone = subprocess.run([sys.executable, "-c", "import numpy, os; print(len(os.listdir('/proc/self/task')))"],
                           capture_output=True, text=True, check=True)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "[]", *alone.stdout.split()]
