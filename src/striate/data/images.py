"""A picture file as a network's input."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from striate.data.idx import open_regular
from striate.errors import ConfigError, FormatError, LimitError

FORMATS = ("PNG", "JPEG", "BMP")
MAX_FILE = 64 << 20
MAX_PIXELS = 50_000_000  # 150 MB decoded


def read_image(
    path: str | os.PathLike[str], size: tuple[int, int], channels: int = 1, *, invert: bool | None = None
) -> tuple[npt.NDArray[np.uint8], bool]:
    """The picture in a PNG, JPEG or BMP file, whole and undistorted in size (H, W), and whether it was inverted.

    A grey picture is inverted if `invert`, or, by default, if `is_dark_on_light`: networks for digits learn light
    strokes on black. A coloured one only if `invert`. What the picture leaves free takes its border's colour.
    Shapes: -> (channels, H, W), channels 1 (grey) or 3 (red, green, blue).
    Raises: FormatError for what is not such a file; LimitError beyond 50 million pixels.
    """
    if channels not in (1, 3):
        raise ConfigError(f"read_image: channels must be 1 or 3, got {channels!r}")
    H, W = size
    if not (1 <= H <= 8192 and 1 <= W <= 8192):
        raise ConfigError(f"read_image: size (H, W) must be from 1 to 8192 each way, got {size}")
    picture = _decoded(Path(path)).convert("L" if channels == 1 else "RGB")
    pixels = np.asarray(picture, np.uint8)
    inverted = channels == 1 and is_dark_on_light(pixels) if invert is None else invert
    fitted = _fitted(255 - pixels if inverted else pixels, H, W)
    return fitted[None] if channels == 1 else np.ascontiguousarray(fitted.transpose(2, 0, 1)), inverted


def is_dark_on_light(grey: npt.NDArray[np.uint8]) -> bool:
    """Whether the border, where the paper shows, is lighter than mid-grey: its median pixel is above 127."""
    return bool(np.median(_border(grey)) > 127)


def _border(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The outermost pixels. Shapes: (H, W, ...) -> (count, ...)."""
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


def _fitted(pixels: npt.NDArray[np.uint8], H: int, W: int) -> npt.NDArray[np.uint8]:
    """The largest copy that fits into (H, W) undistorted, in the middle of the border's median colour."""
    height, width = pixels.shape[:2]
    scale = min(H / height, W / width)
    inner = (max(1, min(W, round(width * scale))), max(1, min(H, round(height * scale))))
    small = Image.fromarray(pixels).resize(inner, Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC)
    out = np.empty((H, W, *pixels.shape[2:]), np.uint8)
    out[:] = np.median(_border(pixels), axis=0)
    top, left = (H - inner[1]) // 2, (W - inner[0]) // 2
    out[top : top + inner[1], left : left + inner[0]] = np.asarray(small)
    return out


def _decoded(path: Path) -> Image.Image:
    """The picture in 8 bits a channel, upright, on white where it is transparent; sizes are checked before decoding."""
    with open_regular(path, "read_image") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_FILE:
            raise LimitError(f"read_image: {path} may have at most {MAX_FILE >> 20} MiB, got {size} bytes")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
                picture = Image.open(file, formats=FORMATS)
            _check_size(path, picture)
            picture.load()
            return _flat(ImageOps.exif_transpose(picture))
        except (FormatError, LimitError):
            raise
        except Image.DecompressionBombError as error:
            raise LimitError(f"read_image: {path} may have at most {MAX_PIXELS} pixels; {error}") from error
        except Exception as error:  # Pillow's readers raise a dozen kinds on broken files, and none of them is ours
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise FormatError(f"read_image: {path} must be a whole PNG, JPEG or BMP picture; {reason}") from error


def _check_size(path: Path, picture: Image.Image) -> None:
    if picture.width * picture.height > MAX_PIXELS:
        raise LimitError(
            f"read_image: {path} may have at most {MAX_PIXELS} pixels, got {picture.width} x {picture.height}"
        )
    frames = getattr(picture, "n_frames", 1)
    if frames != 1:
        raise FormatError(f"read_image: {path} must hold one picture, got {frames} frames")


def _flat(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16 bits: Pillow's own conversion would clip, not scale
        return Image.fromarray((np.asarray(picture).astype(np.uint32) >> 8).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        upper = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", upper.size, "white"), upper)
    return picture
