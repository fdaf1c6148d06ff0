"""Loader: batches of a Dataset, normalised, in an order that any epoch and step can be re-entered at."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from striate.data.dataset import Dataset
from striate.errors import ConfigError, DtypeError
from striate.kernels.random import key_of, permutation

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


def statistics(dataset: Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel's pixels / 255, over every image; exact sums, then float64."""
    means, stds = [], []
    values = np.arange(256)
    for channel in range(dataset.image_shape[0]):
        counts = sum(np.bincount(block[:, channel].reshape(-1), minlength=256) for block in _blocks(dataset.images))
        total, first, second = (int((counts * values**power).sum()) for power in (0, 1, 2))
        means.append(first / total / 255)
        stds.append(float(np.sqrt((total * second - first * first) / total**2)) / 255)
    return tuple(means), tuple(stds)


class Loader:
    """Batches (x, y) of a dataset: x float32 (n, C, H, W) is (pixel / 255 - mean) / std, y int64 (n,).

    Without mean and std, pixels / 255. The three steps are taken one by one in float32, as torchvision takes them. The
    order of an epoch is a function of (seed, epoch) alone. Every batch is a fresh pair of arrays that the caller may
    keep.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        self.dataset = dataset
        self.batch_size = _whole("batch_size", batch_size, 1)
        self.seed = _whole("seed", seed, 0)
        self.shuffle = shuffle
        self.drop_last = drop_last
        C = dataset.image_shape[0]
        self.mean = _per_channel("mean", (0.0,) * C if mean is None else mean, C)
        self.std = _per_channel("std", (1.0,) * C if std is None else std, C)
        if min(self.std) <= 0:
            raise ConfigError(f"Loader: std must be positive in every channel, got {self.std}")
        if drop_last and self.batch_size > len(dataset):
            raise ConfigError(
                f"Loader: batch_size must be at most the {len(dataset)} images of {dataset.name} when the last short "
                f"batch is dropped, got {self.batch_size}: no step would be left"
            )

    def __len__(self) -> int:
        """Steps in an epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + bool(rest and not self.drop_last)

    def order(self, epoch: int) -> npt.NDArray[np.intp]:
        """Which image comes when in this epoch."""
        epoch = _whole("epoch", epoch, 0)
        if not self.shuffle:
            return np.arange(len(self.dataset))
        return permutation(self.seed, key_of(f"order of epoch {epoch}"), len(self.dataset))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `start` on: those an epoch from 0 gives there, bit for bit."""
        start = _whole("start", start, 0)
        if start > len(self):
            raise ConfigError(f"Loader: start must be a step from 0 to {len(self)}, got {start}")
        return self._batches(self.order(epoch), start)

    def _batches(self, order: npt.NDArray[np.intp], start: int) -> Iterator[Batch]:
        for step in range(start, len(self)):
            chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield self.normalised(self.dataset.images[chosen]), self.dataset.labels[chosen]

    def normalised(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Images as this loader hands them to a network. Shapes: uint8 (n, C, H, W) -> float32 (n, C, H, W)."""
        x = as_float(images)
        if any(self.mean):
            x -= np.array(self.mean, np.float32)[:, None, None]
        if set(self.std) != {1.0}:
            x /= np.array(self.std, np.float32)[:, None, None]
        return x


def as_float(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Pixels / 255, the input of a network that was trained without mean and std."""
    if images.dtype != np.uint8:
        raise DtypeError(f"as_float: images must be uint8, 0 to 255, got {images.dtype}")
    x = images.astype(np.float32)
    x /= 255
    return x


def _blocks(images: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.uint8]]:
    """The images some at a time: counting widens every pixel to 8 bytes."""
    per_block = max(1, (1 << 22) // max(1, images[0].size))
    return (images[i : i + per_block] for i in range(0, len(images), per_block))


def _whole(name: str, value: object, least: int) -> int:
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # what is no integer raises
    except TypeError:
        raise ConfigError(f"Loader: {name} must be an integer, got {value!r}") from None
    if isinstance(value, bool) or number < least:
        raise ConfigError(f"Loader: {name} must be an integer of at least {least}, got {value!r}")
    return number


def _per_channel(name: str, values: Sequence[float], channels: int) -> tuple[float, ...]:
    try:
        numbers = tuple(float(v) for v in values)
    except (TypeError, ValueError):
        raise ConfigError(f"Loader: {name} must be {channels} numbers, one a channel, got {values!r}") from None
    if len(numbers) != channels or not np.isfinite(numbers).all():
        raise ConfigError(f"Loader: {name} must be {channels} finite numbers, one a channel, got {values!r}")
    return numbers
