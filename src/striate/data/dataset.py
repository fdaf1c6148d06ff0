"""Dataset: labelled images in memory, and what is known about them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.errors import DtypeError, FormatError, ShapeError


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images and the class of each; the arrays are read-only.

    Shapes: images uint8 (N, C, H, W), labels int64 (N,) below len(classes).
    """

    name: str
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    origin: str  # where it came from, as a reader would say it
    transforms: npt.NDArray[np.void] | None = None  # one row an image, where the images were drawn (see `pen`)

    def __post_init__(self) -> None:
        """Checked here, where every source passes, so that nothing further on meets a label out of range."""
        _check_arrays(self.images, self.labels)
        if not self.classes:
            raise ShapeError("Dataset: classes must name at least one class, got ()")
        wrong = np.flatnonzero((self.labels < 0) | (self.labels >= len(self.classes)))
        if wrong.size:
            raise FormatError(
                f"Dataset: every label must be one of the {len(self.classes)} classes 0 .. {len(self.classes) - 1}, "
                f"got {self.labels[wrong[0]]} at index {wrong[0]} of {self.name} ({self.origin})"
            )
        for name in ("images", "labels", "transforms"):
            if getattr(self, name) is not None:
                view = getattr(self, name).view()  # so that the caller's own array stays as it is
                view.setflags(write=False)
                object.__setattr__(self, name, view)

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        C, H, W = self.image_shape
        return f"Dataset({self.name!r}, {len(self):,} images {C}x{H}x{W}, {len(self.classes)} classes, {self.origin})"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.images.shape[1:]

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of shapes, images and labels: equal exactly when the data is."""
        digest = hashlib.sha256(repr((self.images.shape, len(self.classes))).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.labels, "<i8").data)
        return digest.hexdigest()

    def first(self, count: int) -> Dataset:
        """The first `count` images, for a quick look or a short run."""
        if not 1 <= count <= len(self):
            raise ShapeError(f"Dataset.first: count must be from 1 to the {len(self)} images, got {count}")
        transforms = None if self.transforms is None else self.transforms[:count]
        return Dataset(self.name, self.images[:count], self.labels[:count], self.classes, self.origin, transforms)


def _check_arrays(images: Any, labels: Any) -> None:
    for name, array, dtype in (("images", images, np.uint8), ("labels", labels, np.int64)):
        if not isinstance(array, np.ndarray) or array.dtype != dtype:
            came = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise DtypeError(f"Dataset: {name} must be an array of {np.dtype(dtype).name}, got {came}")
    if images.ndim != 4 or 0 in images.shape:
        raise ShapeError(f"Dataset: images must be (N, C, H, W), each at least 1, got {images.shape}")
    if labels.shape != images.shape[:1]:
        raise ShapeError(f"Dataset: labels must be one an image, ({len(images)},), got {labels.shape}")
