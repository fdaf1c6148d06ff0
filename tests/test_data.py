"""IDX files, folders of them, and data sets: what is broken is refused in a sentence, soon and in little memory."""

from __future__ import annotations

import contextlib
import os
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest

from idx_files import damaged, idx, packed, write_folder
from striate import data
from striate.data import Dataset, folder
from striate.errors import ConfigError, DtypeError, FormatError, LimitError, ShapeError, UnknownName

NOISE = np.random.default_rng(0).bytes(2 * 28 * 28)
GOOD = idx((2, 28, 28), NOISE)
GZ = packed(GOOD)
BROKEN = {
    # ---- plain: magic number
    "empty": (b"", "magic"),
    "one-byte": (b"\0", "magic"),
    "three-bytes": (GOOD[:3], "magic"),
    "first-byte": (idx((2,), zeros=b"\1\0"), "00 00"),
    "second-byte": (idx((2,), zeros=b"\0\1"), "00 00"),
    "little-endian": (struct.pack("<4I", 2051, 2, 28, 28) + NOISE, "00 00"),
    "type-0": (idx((2,), kind=0), "type byte"),
    "type-7": (idx((2,), kind=7), "type byte"),
    "type-0a": (idx((2,), kind=10), "type byte"),
    "type-0f": (idx((2,), kind=15), "type byte"),
    "type-ff": (idx((2,), kind=255), "type byte"),
    "text": (b"label,1x1,1x2\n5,0,0\n", "00 00"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(64), "00 00"),
    "pickle": (b"\x80\x04\x95" + bytes(64), "00 00"),
    "npy": (b"\x93NUMPY\x01\0" + bytes(64), "00 00"),
    "zip": (b"PK\x03\x04" + bytes(64), "00 00"),
    "html": (b"<!DOCTYPE html><html>Not found</html>", "00 00"),
    # ---- plain: dimensions
    "rank-0": (b"\0\0\x08\0", "dimensions, got 0"),
    "rank-5": (idx((1,) * 5), "dimensions, got 5"),
    "rank-255": (idx((1,) * 255), "dimensions, got 255"),
    "no-sizes": (GOOD[:4], "3 sizes"),
    "half-a-size": (GOOD[:14], "3 sizes, got 10"),
    "size-0": (idx((0, 28, 28), b""), "at least 1"),
    "size-0-of-huge": (idx((0, 2**32 - 1, 2**32 - 1, 2**32 - 1), b""), "at least 1"),
    "inner-size-0": (idx((2, 0, 28), b""), "at least 1"),
    "more-than-the-file": (idx((60000, 28, 28), NOISE), "47040016"),
    "product-2**31": (idx((2**31,), NOISE), "2147483656"),
    "product-wraps-32-bits": (idx((2**16, 2**16 + 1), bytes(2**16)), "4 GiB"),
    "product-wraps-64-bits": (idx((2**32 - 1, 2**32 - 1, 4), NOISE), "4 GiB"),
    "product-wraps-to-the-file": (idx((2**31, 2**31, 4), b""), "4 GiB"),
    "four-largest": (idx((2**32 - 1,) * 4, b""), "4 GiB"),
    "element-size-forgotten": (idx((4,), bytes(4), kind=0x0E), "declares, got"),
    # ---- plain: elements
    "no-elements": (GOOD[:16], "declares, got 16"),
    "one-byte-short": (GOOD[:-1], "declares, got 1583"),
    "one-byte-more": (GOOD + b"\0", "declares, got 1585"),
    "another-file-behind": (GOOD + GOOD, "declares, got 3168"),
    # ---- gzip
    "gz-magic-only": (GZ[:2], "magic"),
    "gz-header-only": (GZ[:10], "magic"),
    "gz-method": (damaged(GZ, 2), "sound gzip"),
    "gz-flags": (damaged(GZ, 3), "sound gzip"),
    "gz-block-type": (damaged(GZ, 10, 0x06), "sound gzip"),
    "gz-crc": (damaged(GZ, len(GZ) - 8), "sound gzip"),
    "gz-length": (damaged(GZ, len(GZ) - 1), "sound gzip"),
    "gz-no-trailer": (GZ[:-8], "checksum|elements"),
    "gz-half-trailer": (GZ[:-3], "checksum"),
    "gz-half": (GZ[: len(GZ) // 2], "elements"),
    "gz-byte-behind": (GZ + b"\0", "one gzip member"),
    "gz-second-member": (GZ + GZ, "one gzip member"),
    "gz-members-of-one-array": (packed(GOOD[:800]) + packed(GOOD[800:]), "elements"),
    "gz-empty": (packed(b""), "magic"),
    "gz-one-byte-short": (packed(GOOD[:-1]), "elements"),
    "gz-one-byte-more": (packed(GOOD + b"\0"), "got more"),
    "gz-in-gz": (packed(GZ), "00 00"),
    "gz-bomb-declared": (packed(idx((1 << 24,))), "200 times"),
    "gz-bomb-behind": (packed(GOOD + bytes(1 << 24)), "got more"),
    "gz-bomb-promised": (packed(idx((2**31,), b"")), "200 times"),
    "gz-beyond-the-limit": (packed(idx((2**32 - 1, 2), b"")), "4 GiB"),
    "gz-raw-deflate-inside": (GZ[:10] + zlib.compress(GOOD), "sound gzip"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_idx_file_is_one_sentence_soon_and_in_little_memory(tmp_path, name):
    content, match = BROKEN[name]
    path = tmp_path / "broken-ubyte"
    path.write_bytes(content)
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises((FormatError, LimitError), match=match) as caught:
        data.read_idx(path)
    seconds, (_, peak) = time.perf_counter() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 1 and peak < (8 << 20)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_every_truncation_and_every_flipped_byte_is_an_array_or_a_format_error(tmp_path):
    path, small = tmp_path / "x", idx((2, 3, 4), bytes(range(24)))
    for whole in (small, packed(small)):
        cut, flipped = ([f(whole, i) for i in range(len(whole))] for f in (lambda w, i: w[:i], damaged))
        for content in cut + flipped:
            path.write_bytes(content)
            with contextlib.suppress(FormatError, LimitError):
                assert data.read_idx(path).nbytes <= 4 * len(small)


@pytest.mark.parametrize("kind, dtype", [(8, "u1"), (9, "i1"), (11, "i2"), (12, "i4"), (13, "f4"), (14, "f8")])
@pytest.mark.parametrize("pack", [bytes, packed])
def test_idx_of_every_type_is_read_in_the_machines_order(tmp_path, kind, dtype, pack):
    array = np.arange(-3, 21).reshape(2, 3, 4).astype(dtype)
    path = tmp_path / "array.gz"  # the content decides, not the name
    path.write_bytes(pack(idx(array.shape, array.astype(f">{dtype}").tobytes(), kind=kind)))
    read = data.read_idx(path)
    assert read.dtype == array.dtype and read.dtype.isnative and np.array_equal(read, array)


def test_idx_bytes_is_what_the_description_says():
    assert data.idx_bytes(np.frombuffer(NOISE, np.uint8).reshape(2, 28, 28)) == GOOD


@pytest.mark.parametrize("kind", ["folder", "pipe", "missing", "nul"])
def test_what_is_no_regular_file_does_not_keep_us_waiting(tmp_path, kind):
    path = tmp_path / ("a\0b" if kind == "nul" else "x")
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    for read in (data.read_idx, lambda p: data.read_image(p, (28, 28))):
        with pytest.raises(FormatError, match="must be a"):
            read(path)


# ---- folders


@pytest.mark.parametrize("rename", [lambda n: n, lambda n: n.replace("-idx", ".idx"), lambda n: n + ".gz"])
def test_a_folder_under_each_spelling(tmp_path, rename):
    place = write_folder(tmp_path / "digits", pack=packed)
    for name in folder.FILES:
        (place / name).rename(place / rename(name))
    train, test, note = data.load(place)
    assert (train.name, len(train), len(test), train.classes) == ("digits-train", 3, 2, ("0", "1", "2"))
    assert train.image_shape == (1, 28, 28) and test.labels.tolist() == [2, 1] and str(place) in note
    with pytest.raises(ValueError, match="read-only"):
        train.images[0] = 1


@pytest.mark.parametrize(
    ("match", "arguments"),
    [
        ("one label for each of the 3 images .* got 2", {"labels": (2, 2), "values": ((0, 1), (2, 1))}),
        ("labels from 0 to 2, got 3 at index 1", {"values": ((0, 1, 2), (2, 3))}),
        ("one size", {"size": ((28, 28), (27, 28))}),
        ("at least two classes", {"values": ((0, 0, 0), (0, 0))}),
    ],
)
def test_folders_whose_files_do_not_fit_together(tmp_path, match, arguments):
    with pytest.raises(FormatError, match=match):
        data.load(write_folder(tmp_path / "digits", **arguments))


def test_folders_with_the_wrong_files(tmp_path):
    place = write_folder(tmp_path / "digits")
    (place / folder.FILES[0]).write_bytes(idx((3,)))
    with pytest.raises(FormatError, match=r"uint8 images \(N, H, W\), got uint8 \(3,\)"):
        data.load(place)
    (place / folder.FILES[0]).unlink()
    (place / folder.FILES[3]).unlink()
    with pytest.raises(ConfigError, match="missing train-images-idx3-ubyte, t10k-labels-idx1-ubyte"):
        data.load(place)
    with pytest.raises(ConfigError, match="no such folder"):
        data.load(tmp_path / "nowhere")
    with pytest.raises(UnknownName, match="did you mean 'mnist'"):
        data.load("mnits")


@pytest.mark.parametrize(
    ("error", "match", "images", "labels", "classes"),
    [
        (DtypeError, "images must be an array of uint8, got float32", np.zeros((2, 1, 3, 3), np.float32), [0, 1], "ab"),
        (ShapeError, r"\(N, C, H, W\)", np.zeros((2, 3, 3), np.uint8), [0, 1], "ab"),
        (ShapeError, "each at least 1", np.zeros((2, 1, 0, 3), np.uint8), [0, 1], "ab"),
        (ShapeError, "one an image", np.zeros((2, 1, 3, 3), np.uint8), [0], "ab"),
        (ShapeError, "at least one class", np.zeros((2, 1, 3, 3), np.uint8), [0, 1], ""),
        (FormatError, "got 2 at index 1", np.zeros((2, 1, 3, 3), np.uint8), [0, 2], "ab"),
        (FormatError, "got -1 at index 0", np.zeros((2, 1, 3, 3), np.uint8), [-1, 2], "ab"),
    ],
)
def test_a_dataset_checks_its_arrays(error, match, images, labels, classes):
    with pytest.raises(error, match=match):
        Dataset("x", images, np.array(labels), tuple(classes), "here")
