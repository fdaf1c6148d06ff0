"""A few images of a data set as files, to try a network on."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from striate.data import Dataset

CHANNELS = (1, 3)  # what a picture file can hold


def save_samples(data: Dataset, folder: Path) -> list[Path]:
    """The first image of each class as a PNG file named after it."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for label, name in enumerate(data.classes):
        found = np.flatnonzero(data.labels == label)
        if not found.size or data.image_shape[0] not in CHANNELS:
            continue
        pixels = data.images[found[0]].transpose(1, 2, 0)
        path = folder / f"{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-').lower() or label}.png"
        Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path)
        paths.append(path)
    return paths


def short_name(data: Dataset) -> str:
    """The name of the pair that a training or test set belongs to."""
    return data.name.removesuffix("-train").removesuffix("-test")
