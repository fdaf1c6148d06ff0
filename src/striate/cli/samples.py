"""Pictures as files: a few of a data set to try a network on, and those a user brings, made to fit it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.data import Dataset
from striate.errors import FormatError
from striate.kernels.contract import Shape

FORMATS = ("PNG", "JPEG", "BMP")
MAX_PIXELS = 50_000_000  # checked before anything is decoded
MODES = {1: "L", 3: "RGB"}
Pixels = npt.NDArray[np.uint8]


def save_samples(data: Dataset, folder: Path) -> list[Path]:
    """The first image of each class as a PNG file named after it."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for label, name in enumerate(data.classes):
        found = np.flatnonzero(data.labels == label)
        if not found.size or data.image_shape[0] not in MODES:
            continue
        pixels = data.images[found[0]].transpose(1, 2, 0)
        path = folder / f"{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-').lower() or label}.png"
        Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path)
        paths.append(path)
    return paths


def read_picture(path: Path, shape: Shape, invert: bool | None = None) -> tuple[Pixels, bool]:
    """(pixels of shape (C, H, W), whether they were inverted), the picture fitted in with its aspect kept.

    Networks for digits learn light strokes on a dark ground: with invert=None a grey picture whose border is lighter
    than its inside is inverted. Raises: FormatError.
    """
    from PIL import Image, ImageOps

    C, H, W = shape
    if C not in MODES:
        raise FormatError(f"predict: pictures have 1 or 3 channels, the network needs {C}")
    try:
        with Image.open(path, formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise FormatError(f"{path}: needs at most {MAX_PIXELS:,} pixels, got {picture.width}x{picture.height}")
            upright = ImageOps.exif_transpose(_opaque(picture)).convert(MODES[C])
    except (FileNotFoundError, PermissionError, IsADirectoryError, FormatError):
        raise
    except Exception as error:  # a decoder may raise anything on a broken file
        raise FormatError(f"{path}: cannot be read as a {', '.join(FORMATS)} picture, {error!s:.120}") from error
    ground = _border(np.asarray(upright))
    if invert is None:
        invert = C == 1 and float(np.mean(ground)) > float(np.mean(np.asarray(upright)))
        invert = invert and float(np.mean(ground)) > 127
    if invert:
        upright, ground = ImageOps.invert(upright), 255 - ground
    colour = int(np.median(ground)) if C == 1 else tuple(int(c) for c in np.median(ground, axis=0))
    fitted = ImageOps.pad(upright, (W, H), Image.Resampling.LANCZOS, color=colour)
    pixels = np.asarray(fitted, np.uint8).reshape(H, W, C)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)), invert


def _opaque(picture: Any) -> Any:
    """A picture with transparency laid on white, as viewers show it."""
    from PIL import Image

    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture
    seen = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)


def _border(pixels: Pixels) -> Pixels:
    """The outermost pixels: (count,) or (count, 3)."""
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
