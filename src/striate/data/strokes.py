"""The shapes `pen` writes: for each digit some ways to write it, as strokes through control points.

A stroke is a line of `x,y` points in hundredths of the digit's box (x to the right, y down); the pen passes through
every point on a smooth curve (Catmull-Rom) and is lifted at a slash. A corner is two strokes that share a point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

STYLES: tuple[tuple[str, ...], ...] = (
    (  # 0: closed oval, end crossing inside, open at the top
        "52,0 26,10 12,45 20,84 48,100 78,84 88,45 76,10 50,1",
        "66,6 36,4 14,34 16,78 42,100 74,84 86,44 70,8 44,14",
        "34,8 14,32 14,72 40,100 72,92 88,56 82,18 58,0",
    ),
    (  # 1: bare, with a flag, with flag and foot
        "54,0 52,34 50,68 48,100",
        "34,20 44,12 54,0 / 54,0 53,50 52,100",
        "32,22 42,13 52,0 / 52,0 52,50 52,100 / 24,100 52,100 80,99",
    ),
    (  # 2: a corner at the foot, a loop at the foot, a flat swan
        "14,26 28,5 56,0 80,16 74,44 44,74 12,98 / 12,98 50,97 90,95",
        "14,20 36,1 68,4 78,30 58,64 28,94 10,92 18,78 42,84 66,98 92,92",
        "10,14 40,0 72,6 80,28 56,58 14,96 / 14,96 38,90 62,98 94,90",
    ),
    (  # 3: two bowls, a flat top, a small loop in the waist
        "16,14 42,0 74,10 76,32 40,47 / 40,47 76,56 84,78 56,99 24,97 10,86",
        "14,4 48,3 82,2 / 82,2 62,22 40,42 / 40,42 74,50 86,72 66,96 34,100 10,88",
        "18,10 48,0 76,14 70,36 46,48 36,46 44,40 74,56 80,80 52,100 14,90",
    ),
    (  # 4: open, closed, open with a curved shoulder
        "28,2 20,28 10,58 / 10,58 50,58 92,54 / 72,14 70,56 66,100",
        "66,0 38,34 8,68 / 8,68 50,68 94,66 / 66,0 66,50 65,100",
        "16,4 12,34 26,54 54,54 78,44 / 82,2 78,44 70,74 64,100",
    ),
    (  # 5: corners, one flowing stroke, a cap set apart
        "82,3 54,2 24,4 / 24,4 22,22 18,44 / 18,44 50,36 82,54 80,82 48,100 12,92",
        "86,4 58,2 34,10 24,32 46,44 74,54 80,78 56,98 14,92",
        "30,10 24,28 20,46 / 20,46 52,40 80,60 72,88 42,100 12,88 / 34,8 60,6 90,0",
    ),
    (  # 6: a sweep, an upright stem, a bowl that closes on the stem
        "70,2 42,18 18,52 18,84 46,100 78,86 76,62 50,52 22,68",
        "34,0 22,32 16,68 34,98 68,96 82,74 62,56 32,60 18,76",
        "78,8 52,0 26,26 14,64 32,98 66,96 76,72 52,58 26,74",
    ),
    (  # 7: plain, with a bar, with a hook
        "12,5 48,4 86,3 / 86,3 64,36 48,68 40,100",
        "14,6 48,4 84,4 / 84,4 62,40 46,72 36,100 / 28,54 50,52 76,50",
        "12,22 14,4 / 14,4 50,8 88,2 / 88,2 72,34 62,66 58,100",
    ),
    (  # 8: one stroke, two rings, open at the top
        "72,12 48,0 24,18 44,42 74,64 72,92 46,100 20,88 26,62 54,44 78,22 70,10",
        "50,46 24,36 26,8 50,0 76,10 74,36 50,46 / 50,46 20,60 18,88 50,100 82,88 80,60 50,46",
        "80,6 50,2 26,18 46,44 76,70 60,98 32,98 20,78 46,50 86,16",
    ),
    (  # 9: a straight leg, a curled leg, one stroke with a bent leg
        "76,26 58,2 26,6 16,34 40,52 68,40 76,22 / 77,20 74,60 70,100",
        "74,28 56,2 24,8 18,38 44,52 72,34 / 74,28 76,62 58,96 18,92",
        "78,10 50,0 22,20 24,46 50,52 74,32 80,8 / 80,8 72,52 44,100",
    ),
)

# The longest side of the digit's box in pixels times this is how many points the pen sets down along a stroke of that
# length: at scale 1 they lie 0.6 pixels apart, so that the edge of a thin stroke shows no beads.
POINTS_PER_PIXEL = 1.7


@dataclass(frozen=True)
class Curve:
    """A style made ready to draw: point p is the sum over j of weights[p, j] * controls[index[p, j]]."""

    controls: npt.NDArray[np.float64]  # (K, 2), the box is -0.5 .. 0.5; shared points are one control
    index: npt.NDArray[np.intp]  # (P, 4)
    weights: npt.NDArray[np.float64]  # (P, 4)
    along: npt.NDArray[np.float64]  # (P,), 0 where the pen sets down first, 1 where it leaves


def curve(style: str, pixels: float) -> Curve:
    """The style as a Curve, with points dense enough for a box of `pixels`."""
    strokes = [[tuple(int(v) for v in point.split(",")) for point in stroke.split()] for stroke in style.split(" / ")]
    places = {point: k for k, point in enumerate(dict.fromkeys(p for stroke in strokes for p in stroke))}
    controls = np.array(list(places), np.float64) / 100 - 0.5
    rows = [_stroke([places[p] for p in stroke], controls, pixels) for stroke in strokes]
    index = np.concatenate([i for i, _ in rows])
    weights = np.concatenate([w for _, w in rows])
    return Curve(controls, index, weights, np.arange(len(index)) / (len(index) - 1))


def _stroke(
    path: list[int], controls: npt.NDArray[np.float64], pixels: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Control indices and Catmull-Rom weights of the points along one stroke; its ends are doubled."""
    ends = [path[0], *path, path[-1]]
    index: list[tuple[int, ...]] = []
    weights: list[tuple[float, ...]] = []
    for i in range(len(path) - 1):
        four = tuple(ends[i : i + 4])
        length = float(np.abs(controls[four[2]] - controls[four[1]]).max()) * 1.2 + 0.02
        steps = max(2, round(length * pixels * POINTS_PER_PIXEL))
        for t in (np.arange(steps) / steps).tolist():
            index.append(four)
            weights.append(_catmull_rom(t))
    index.append(four)
    weights.append(_catmull_rom(1.0))
    return np.array(index, np.intp), np.array(weights, np.float64)


def _catmull_rom(t: float) -> tuple[float, float, float, float]:
    """Weights of the four control points around the piece of curve between the middle two, at 0 <= t <= 1."""
    return (
        0.5 * (-t + 2 * t * t - t * t * t),
        0.5 * (2 - 5 * t * t + 3 * t * t * t),
        0.5 * (t + 4 * t * t - 3 * t * t * t),
        0.5 * (-t * t + t * t * t),
    )
