"""`load`: a data set by name, from a folder, or the best that can be had here and now."""

from __future__ import annotations

import os
from pathlib import Path

from striate.data.dataset import Dataset
from striate.data.fetch import get, is_cached, mnist_folder
from striate.data.folder import load_folder
from striate.data.pen import pen
from striate.errors import ConfigError, FormatError, StriateError, unknown_name

NAMES = ("auto", "mnist", "fashion-mnist", "pen")
AUTO_SECONDS = 8.0  # what "auto" may wait for the network before it takes what is here

DIGITS = tuple("0123456789")
CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # where Debian's dataset-fashion-mnist puts it
FASHION_FINGERPRINTS = (
    "13d7542c3d07c2263262c91f9167b7eb27401afaff3861786618ffbc505f694d",
    "e8b34004b1c3059018ff513ec8aff000486e47067f664adc4bc2a2fa513a9980",
)

Loaded = tuple[Dataset, Dataset, str]


def load(name: str | os.PathLike[str] = "auto") -> Loaded:
    """A training set, a test set, and a note that says which was taken and why.

    `name` is "mnist", "fashion-mnist", "pen", the path of a folder with four IDX files, or "auto": MNIST if cached or
    fetched within a few seconds, else Fashion-MNIST if installed, else `pen`. With STRIATE_OFFLINE=1 nothing
    is fetched.
    """
    if name == "auto":
        return _auto()
    if name == "mnist":
        note = "mnist: from the cache" if is_cached() else "mnist: fetched into the cache"
        return _mnist(f"{note}, {mnist_folder()}")
    if name == "fashion-mnist":
        return _fashion()
    if name == "pen":
        return pen("train"), pen("test"), "pen: digits drawn by striate itself"
    if isinstance(name, str) and os.sep not in name and not Path(name).is_dir():
        raise unknown_name("data", "data set", name, [*NAMES, "FOLDER"])
    folder = Path(name)
    return *load_folder(folder, folder.resolve().name), f"{folder}: four IDX files"


def _auto() -> Loaded:
    """The first of MNIST, Fashion-MNIST and `pen` that is to be had; the note says why not those before it."""
    if is_cached():
        return _mnist(f"mnist: from the cache, {mnist_folder()}")
    skipped = []
    try:
        return _mnist(f"mnist: fetched into the cache, {mnist_folder()}", AUTO_SECONDS)
    except StriateError as error:
        skipped.append(f"not mnist ({error})")
    try:
        train, test, note = _fashion()
    except StriateError as error:
        skipped.append(f"not fashion-mnist ({error})")
        train, test, note = load("pen")
    return train, test, f"{note}; {'; '.join(skipped)}"


def _mnist(note: str, seconds: float = 120.0) -> Loaded:
    train, test = load_folder(get("mnist", seconds=seconds), "mnist", DIGITS, "MNIST")
    return train, test, note


def _fashion() -> Loaded:
    if not FASHION_FOLDER.is_dir():
        raise ConfigError("data: fashion-mnist is not installed; on Debian: apt-get install dataset-fashion-mnist")
    train, test = load_folder(FASHION_FOLDER, "fashion-mnist", CLOTHES, "Fashion-MNIST")
    if (train.fingerprint, test.fingerprint) != FASHION_FINGERPRINTS:
        raise FormatError(f"data: {FASHION_FOLDER} must hold Fashion-MNIST as published, got other images or labels")
    return train, test, f"fashion-mnist: installed in {FASHION_FOLDER}"
