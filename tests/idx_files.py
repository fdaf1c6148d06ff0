"""IDX files and folders of them, written from the format's published description, not by the code under test."""

from __future__ import annotations

import gzip
import struct

import numpy as np


def idx(shape, content=None, *, kind=8, rank=None, zeros=b"\0\0"):
    """An IDX file, zeros inside unless `content` is given."""
    content = bytes(int(np.prod(shape, dtype=object))) if content is None else content
    return (
        zeros + bytes((kind, len(shape) if rank is None else rank)) + struct.pack(f">{len(shape)}I", *shape) + content
    )


def packed(content, **options):
    return gzip.compress(content, mtime=0, **options)


def damaged(content, at, xor=0xFF):
    return content[:at] + bytes((content[at] ^ xor,)) + content[at + 1 :]


def write_folder(
    place, images=(3, 2), labels=(3, 2), size=((28, 28), (28, 28)), values=((0, 1, 2), (2, 1)), pack=bytes
):
    place.mkdir(exist_ok=True)
    for i, part in enumerate(("train", "t10k")):
        (place / f"{part}-images-idx3-ubyte").write_bytes(pack(idx((images[i], *size[i]))))
        (place / f"{part}-labels-idx1-ubyte").write_bytes(pack(idx((labels[i],), bytes(values[i]))))
    return place
