"""IDX files, in which MNIST and its relatives come: big-endian arrays behind a short header, plain or gzipped.

Two zero bytes, a type byte, the number of dimensions, each dimension as four bytes, then the elements. The header is
believed only after its sizes were held against the file: nothing is allocated that the file cannot fill.
"""

from __future__ import annotations

import math
import os
import stat
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from striate.errors import FormatError, LimitError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_DIMENSIONS = 4
MAX_BYTES = 1 << 32
GZIP_MAGIC = b"\x1f\x8b"
# Images pack 3 to 20 times smaller; deflate itself reaches 1,030. Small files of equal labels may pass.
MAX_RATIO, SMALL_BYTES = 200, 1 << 20
CHUNK = 1 << 16

Fill = Callable[[memoryview], int]  # fills a buffer as far as the file goes; how many bytes it wrote


def read_idx(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """The array in an IDX file, plain or gzipped whatever its name says, in the machine's byte order.

    Raises: FormatError if the file is not exactly one whole IDX array; LimitError beyond 4 GiB of elements.
    """
    path = Path(path)
    with open_regular(path, "read_idx") as file:
        size = os.fstat(file.fileno()).st_size
        packed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        try:
            return _read_gzip(path, file, size) if packed else _read_plain(path, file, size)
        except OSError as error:
            raise FormatError(f"read_idx: {path} must be readable to its end, got {error.strerror}") from error


def idx_bytes(array: npt.NDArray[np.uint8]) -> bytes:
    """A uint8 array as an IDX file."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, 0x08, array.ndim)) + sizes + array.tobytes()


def open_regular(path: Path, who: str) -> BinaryIO:
    """The file, opened; never a folder, a device or a named pipe, which could keep us waiting for ever."""
    try:
        # Without O_NONBLOCK, opening a pipe that nobody writes to would not return.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise FormatError(f"{who}: {path} must be a readable file; {reason}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FormatError(f"{who}: {path} must be a regular file, got a folder, a pipe or a device")
    return os.fdopen(descriptor, "rb")


def _read_plain(path: Path, file: BinaryIO, size: int) -> npt.NDArray[Any]:
    fill: Fill = file.readinto  # type: ignore[attr-defined]  # every binary file has it
    dtype, shape, header = _header(path, fill)
    needed = header + math.prod(shape) * dtype.itemsize
    if needed != size:
        raise FormatError(
            f"read_idx: {path} must have the {needed} bytes its header {shape} declares, got {size} bytes"
        )
    return _elements(path, fill, dtype, shape)


def _read_gzip(path: Path, file: BinaryIO, size: int) -> npt.NDArray[Any]:
    stream = _Gunzip(path, file)
    dtype, shape, header = _header(path, stream.fill)
    needed = header + math.prod(shape) * dtype.itemsize
    if needed > max(MAX_RATIO * size, SMALL_BYTES):
        raise FormatError(
            f"read_idx: {path} must not unpack to more than {MAX_RATIO} times its size, "
            f"got {needed} bytes declared {shape} in {size} bytes"
        )
    array = _elements(path, stream.fill, dtype, shape)
    stream.finish(needed)
    return array


def _header(path: Path, fill: Fill) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """The dtype, the shape and the header's length; the shape's product is known to be sane."""
    zero, nought, kind, rank = _exactly(path, fill, 4, "the magic number")
    if zero or nought or kind not in TYPES:
        magic = bytes((zero, nought, kind, rank)).hex(" ")
        raise FormatError(f"read_idx: {path} must start 00 00 and a type byte 08, 09 or 0b to 0e, got {magic}")
    if not 1 <= rank <= MAX_DIMENSIONS:
        raise FormatError(f"read_idx: {path} must have 1 to {MAX_DIMENSIONS} dimensions, got {rank}")
    sizes = _exactly(path, fill, 4 * rank, f"{rank} sizes")
    shape = tuple(int.from_bytes(sizes[4 * i : 4 * i + 4], "big") for i in range(rank))
    dtype = np.dtype(TYPES[kind])
    if 0 in shape:
        raise FormatError(f"read_idx: {path} must have every size at least 1, got {shape}")
    if math.prod(shape) * dtype.itemsize > MAX_BYTES:
        raise LimitError(f"read_idx: {path} may declare at most {MAX_BYTES >> 30} GiB of elements, got shape {shape}")
    return dtype, shape, 4 + 4 * rank


def _exactly(path: Path, fill: Fill, count: int, what: str) -> bytes:
    buffer = bytearray(count)
    came = fill(memoryview(buffer))
    if came != count:
        raise FormatError(f"read_idx: {path} must have {count} bytes for {what}, got {came} before it ends")
    return bytes(buffer)


def _elements(path: Path, fill: Fill, dtype: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    array = np.empty(shape, dtype)
    came = fill(array.reshape(-1).view(np.uint8).data)
    if came != array.nbytes:
        raise FormatError(f"read_idx: {path} must have {array.nbytes} bytes of elements {shape}, got {came}")
    return array.astype(dtype.newbyteorder("="), copy=False)


class _Gunzip:
    """One gzip member, unpacked into buffers the caller sized: a bomb never gets more room than that."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.file = file
        self.inflate = zlib.decompressobj(wbits=31)

    def fill(self, buffer: memoryview) -> int:
        """Fills the buffer as far as the member goes."""
        at = 0
        while at < len(buffer) and not self.inflate.eof:
            packed = self.inflate.unconsumed_tail or self.file.read(CHUNK)
            piece = self._unpacked(packed, min(len(buffer) - at, 16 * CHUNK))
            if not packed and not piece:
                break
            buffer[at : at + len(piece)] = piece
            at += len(piece)
        return at

    def finish(self, needed: int) -> None:
        """Refuses anything behind the declared bytes: more elements, a wrong checksum, a second member."""
        if self.fill(memoryview(bytearray(1))):
            raise FormatError(f"read_idx: {self.path} must unpack to the {needed} bytes its header declares, got more")
        if not self.inflate.eof:
            raise FormatError(f"read_idx: {self.path} must end with a gzip checksum, got a file cut short")
        if self.inflate.unused_data or self.file.read(1):
            raise FormatError(f"read_idx: {self.path} must be one gzip member, got more bytes behind it")

    def _unpacked(self, packed: bytes, most: int) -> bytes:
        try:
            return self.inflate.decompress(packed, most)
        except zlib.error as error:
            raise FormatError(f"read_idx: {self.path} must be sound gzip; {error}") from error
