"""Images to learn from: data sets, where they come from, and how a network is fed with them."""

from __future__ import annotations

from striate.cache import cache_folder
from striate.data.dataset import Dataset
from striate.data.fetch import get
from striate.data.folder import load_folder
from striate.data.idx import idx_bytes, read_idx
from striate.data.images import is_dark_on_light, read_image
from striate.data.loader import Loader, as_float, statistics
from striate.data.pen import pen
from striate.data.sources import NAMES, load

__all__ = [
    "NAMES",
    "Dataset",
    "Loader",
    "as_float",
    "cache_folder",
    "get",
    "idx_bytes",
    "is_dark_on_light",
    "load",
    "load_folder",
    "pen",
    "read_idx",
    "read_image",
    "statistics",
]
