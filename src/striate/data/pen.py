"""`pen`: handwritten-style digits the package draws itself, 28x28, every image's transformation known.

Image i of a split is a function of (seed, split, i) alone: its numbers come from the counter-based generator under its
own counter, and every arithmetic step is one correctly rounded operation an element (no sums over an axis, no sine, no
matrix product), so that the same bytes come out on every machine.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from striate.data.dataset import Dataset
from striate.data.strokes import STYLES, Curve, curve
from striate.errors import ConfigError
from striate.kernels.random import image_uniform, key_of

SIDE = 28  # pixels
BOX = 19.0  # pixels: the longer side of a digit at scale 1
SIZES = {"train": 60_000, "test": 10_000}
CLASSES = tuple("0123456789")

# What was done to each image. Position x' = shift + box * scale * rotated(slanted(x)); y points down.
TRANSFORM = np.dtype(
    [
        ("style", "u1"),  # which way of writing the digit
        ("slant", "f4"),  # how far the top leans to the right, per unit of height
        ("thickness", "f4"),  # of the line, in pixels
        ("dx", "f4"),  # in pixels, to the right
        ("dy", "f4"),  # in pixels, down
        ("rotation", "f4"),  # in degrees, clockwise
        ("scale", "f4"),
        ("aspect", "f4"),  # width over height, 1 as the style has it
    ]
)

# Largest values; see `_transforms` for how they are spread. A tremble moves one control point, a wobble all of them.
SLANT, ROTATION, SHIFT, WOBBLE, TREMBLE = 0.45, 14.0, 2.2, 1.3, 0.08
SCALE = (0.74, 1.12)
ASPECT = (0.62, 1.08)
THICKNESS = (1.4, 3.6)

# A point marks the 5x5 pixels around its nearest one, so no line may reach further than 2 pixels from its middle.
REACH = 2
MARGIN = 8  # pixels around the image that catch what is drawn outside it
FRAME = SIDE + 2 * MARGIN
BLOCK = 512  # images drawn at once: their frames, 4 MB, stay in cache
FIELD = 7  # terms of the wobble, each way
DRAWS = 64  # random numbers an image, those of its control points last


def pen(split: str = "train", *, count: int | None = None, seed: int = 0) -> Dataset:
    """The first `count` images of a split ("train" has 60,000, "test" 10,000), with their `transforms`.

    >>> pen("test", count=100).images.shape
    (100, 1, 28, 28)
    """
    if split not in SIZES:
        raise ConfigError(f"pen: split must be 'train' or 'test', got {split!r}")
    count = SIZES[split] if count is None else count
    if not 1 <= count <= SIZES[split]:
        raise ConfigError(f"pen: count must be from 1 to the {SIZES[split]:,} images of {split!r}, got {count}")
    draws = image_uniform((count, DRAWS), seed=seed, key=key_of(f"pen {split}"), first=0, step=0).astype(np.float64)
    labels = (draws[:, 0] * len(STYLES)).astype(np.int64)
    transforms = _transforms(draws, labels)
    images = np.empty((count, 1, SIDE, SIDE), np.uint8)
    for digit, styles in enumerate(STYLES):
        for style in range(len(styles)):
            drawn = np.flatnonzero((labels == digit) & (transforms["style"] == style))
            for start in range(0, len(drawn), BLOCK):
                some = drawn[start : start + BLOCK]
                images[some, 0] = _draw(_curve(digit, style), transforms[some], draws[some])
    origin = f"drawn by striate, seed {seed}"
    return Dataset(f"pen-{split}", images, labels, CLASSES, origin=origin, transforms=transforms)


@lru_cache(maxsize=64)
def _curve(digit: int, style: int) -> Curve:
    return curve(STYLES[digit][style], BOX * SCALE[1])


def _bell(u: npt.NDArray[np.float64], v: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Two numbers in [0, 1) as one in (-1, 1), middle values the most often."""
    return u + v - 1.0


def _between(u: npt.NDArray[np.float64], ends: tuple[float, float]) -> npt.NDArray[np.float64]:
    return ends[0] + u * (ends[1] - ends[0])


def _transforms(draws: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
    """Each image's row of TRANSFORM; numbers 1..13 of its draws."""
    out = np.empty(len(draws), TRANSFORM)
    many = np.array([len(styles) for styles in STYLES])[labels]
    u = draws[:, 1:14].T
    out["style"] = (u[0] * many).astype(np.uint8)
    out["slant"] = 0.12 + SLANT * _bell(u[1], u[2])
    out["thickness"] = _between((u[3] + u[4]) / 2, THICKNESS)
    out["dx"], out["dy"] = SHIFT * _bell(u[5], u[6]), SHIFT * _bell(u[7], u[8])
    out["rotation"] = ROTATION * _bell(u[9], u[10])
    out["scale"] = _between(u[11], SCALE)
    out["aspect"] = _between(u[12], ASPECT)
    return out


def _draw(curve: Curve, transforms: npt.NDArray[np.void], draws: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Images of one style. Shapes: transforms (N,), draws (N, DRAWS) -> (N, 28, 28)."""
    x, y = _wobbled(curve.controls, draws)  # (N, K)
    x, y = _smooth(curve, x), _smooth(curve, y)  # (N, P)
    x, y = _placed(x, y, transforms)
    # A hand presses unevenly: up to a quarter more ink at one end of the writing than in its middle.
    pressure = 1 + 0.25 * (2 * draws[:, 14:15] - 1) * (2 * curve.along - 1)
    radius = np.minimum(transforms["thickness"][:, None] / 2 * pressure, REACH)
    return _inked(x.astype(np.float32), y.astype(np.float32), radius.astype(np.float32))


def _wobbled(
    controls: npt.NDArray[np.float64], draws: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Control points moved by a smooth field (a cubic in their position) and each a little on its own."""
    K = len(controls)
    u, v = controls[:, 0], controls[:, 1]
    terms = (u * u, u * v, v * v, 2 * u * u * u, 2 * u * u * v, 2 * u * v * v, 2 * v * v * v)
    first, own = 15, 15 + 2 * FIELD
    moved = []
    for axis, position in enumerate((u, v)):
        place = np.broadcast_to(position, (len(draws), K)).copy()
        for term, values in enumerate(terms):
            # Less their mean, so that it bends the digit and leaves shifting it to dx and dy; fsum rounds once.
            bend = values - math.fsum(values) / K
            place += WOBBLE * (draws[:, first + axis * FIELD + term, None] - 0.5) * bend
        at = own + axis * ((DRAWS - own) // 2)
        place += TREMBLE * (draws[:, at : at + K] - 0.5)
        moved.append(place)
    return moved[0], moved[1]


def _smooth(curve: Curve, controls: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Points along the curve through control coordinates. Shapes: (N, K) -> (N, P)."""
    points = curve.weights[:, 0] * controls[:, curve.index[:, 0]]
    for j in (1, 2, 3):
        points += curve.weights[:, j] * controls[:, curve.index[:, j]]
    return points


def _placed(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], transforms: npt.NDArray[np.void]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Points of the box in pixels: aspect and slant, then rotation, then scale and shift."""
    slant, dx, dy, scale, aspect = (
        transforms[name].astype(np.float64)[:, None] for name in ("slant", "dx", "dy", "scale", "aspect")
    )
    cosine, sine = _rotation(transforms["rotation"].astype(np.float64)[:, None])
    x = aspect * x - slant * y
    x, y = cosine * x - sine * y, sine * x + cosine * y
    middle = (SIDE - 1) / 2
    return middle + dx + BOX * scale * x, middle + dy + BOX * scale * y


def _rotation(degrees: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Cosine and sine of small angles by their power series: NumPy's own may differ by a bit between processors."""
    a = degrees * (np.pi / 180)
    q = a * a
    cosine = 1 - q / 2 * (1 - q / 12 * (1 - q / 30 * (1 - q / 56)))
    sine = a * (1 - q / 6 * (1 - q / 20 * (1 - q / 42 * (1 - q / 72))))
    return cosine, sine


def _inked(
    x: npt.NDArray[np.float32], y: npt.NDArray[np.float32], radius: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint8]:
    """The pixels of lines through points (x, y): full where a line covers them, less over its last pixel.

    Each pixel keeps the largest radius - distance of any point. Shapes: (N, P) -> (N, 28, 28).
    """
    N, P = x.shape
    depth = np.full(N * FRAME * FRAME, -1.0, np.float32)
    frames = np.arange(N, dtype=np.intp) * (FRAME * FRAME)
    near = np.arange(-REACH, REACH + 1)
    window = (near[:, None] * FRAME + near).reshape(-1)
    x, y = (np.clip(at.T, REACH - MARGIN, SIDE - 1 + MARGIN - REACH) for at in (x, y))  # (P, N): a row for each turn
    column, row = np.rint(x), np.rint(y)
    pixel = frames + (row.astype(np.intp) + MARGIN) * FRAME + column.astype(np.intp) + MARGIN
    dx, dy = ((middle - at)[..., None] + near.astype(np.float32) for middle, at in ((column, x), (row, y)))
    dx, dy = dx * dx, dy * dy
    for p in range(P):
        distance = np.sqrt(dy[p, :, :, None] + dx[p, :, None, :]).reshape(N, -1)
        pixels = pixel[p, :, None] + window
        depth[pixels] = np.maximum(depth.take(pixels), radius[:, p, None] - distance)
    inside = depth.reshape(N, FRAME, FRAME)[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
    covered: npt.NDArray[np.float32] = np.clip(inside + np.float32(0.5), 0, 1)
    images: npt.NDArray[np.uint8] = np.rint(covered * np.float32(255)).astype(np.uint8)
    return images
