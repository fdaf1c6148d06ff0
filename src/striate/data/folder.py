"""A training and a test set from a folder of four IDX files under their usual names."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.data.dataset import Dataset
from striate.data.idx import read_idx
from striate.errors import ConfigError, FormatError

PARTS = ("train", "t10k")
FILES = tuple(f"{part}-{kind}-ubyte" for part in PARTS for kind in ("images-idx3", "labels-idx1"))


def load_folder(
    folder: Path, name: str, classes: tuple[str, ...] | None = None, origin: str = ""
) -> tuple[Dataset, Dataset]:
    """The two sets in `folder`; without `classes` these are the numbers up to the training set's largest label.

    Raises: ConfigError if one of the four files is missing; FormatError if they are broken or do not fit together.
    """
    paths = find_files(folder)
    arrays = {name: read_idx(path) for name, path in paths.items()}
    classes = classes or _numbered(arrays[FILES[1]], paths[FILES[1]])
    sets = []
    for part, images_file, labels_file in zip(PARTS, FILES[::2], FILES[1::2], strict=True):
        images = _images(arrays[images_file], paths[images_file])
        labels = _labels(arrays[labels_file], paths[labels_file], len(classes))
        if len(images) != len(labels):
            raise FormatError(
                f"data: {paths[labels_file]} must have one label for each of the {len(images)} images "
                f"in {paths[images_file].name}, got {len(labels)}"
            )
        label = "train" if part == "train" else "test"
        sets.append(Dataset(f"{name}-{label}", images, labels, classes, origin=origin or str(folder)))
    train, test = sets
    if train.image_shape != test.image_shape:
        raise FormatError(
            f"data: the images in {folder} must have one size, got {train.image_shape} to train and "
            f"{test.image_shape} to test"
        )
    return train, test


def find_files(folder: Path) -> dict[str, Path]:
    """The four files by their usual names; `-idx3-` may be `.idx3-`, and each may be gzipped."""
    if not folder.is_dir():
        raise ConfigError(f"data: {folder} must be a folder that holds {', '.join(FILES)}; there is no such folder")
    found: dict[str, Path] = {}
    for name in FILES:
        dotted = name.replace("-idx", ".idx")
        spellings = (folder / (spelling + end) for end in ("", ".gz") for spelling in (name, dotted))
        path = next((path for path in spellings if path.exists()), None)
        if path is not None:
            found[name] = path
    missing = [name for name in FILES if name not in found]
    if missing:
        raise ConfigError(f"data: {folder} must hold four IDX files, plain or .gz; missing {', '.join(missing)}")
    return found


def md5(path: Path) -> str:
    """The checksum by which these files are known; it tells damage apart, not an adversary."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _images(array: npt.NDArray[Any], path: Path) -> npt.NDArray[np.uint8]:
    if array.dtype != np.uint8 or array.ndim != 3:
        raise FormatError(f"data: {path} must hold uint8 images (N, H, W), got {array.dtype} {array.shape}")
    return array[:, None]


def _labels(array: npt.NDArray[Any], path: Path, classes: int) -> npt.NDArray[np.int64]:
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise FormatError(f"data: {path} must hold whole numbers (N,), got {array.dtype} {array.shape}")
    wrong = np.flatnonzero((array < 0) | (array >= classes))
    if wrong.size:
        raise FormatError(
            f"data: {path} must hold labels from 0 to {classes - 1}, got {array[wrong[0]]} at index {wrong[0]}"
        )
    return array.astype(np.int64)


def _numbered(labels: npt.NDArray[Any], path: Path) -> tuple[str, ...]:
    """A class for each number up to the largest training label."""
    most = 65_536  # a label this large is a broken file, not a class
    labels = _labels(labels, path, most)
    if labels.max() < 1:
        raise FormatError(f"data: {path} must hold at least two classes, got only label 0")
    return tuple(str(number) for number in range(int(labels.max()) + 1))
