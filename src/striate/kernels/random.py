"""Random bits as a function of a counter: the same in NumPy and in C++, whatever the order they are asked for in.

Philox4x32-10 turns a counter of four 32-bit words and a key of two into four random words. The key is `seed ^ key`,
where `key` names the consumer (`key_of("features.3.weight")`); the counter names the element. Nothing has state.
Ref: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]

LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # added to the key each round
ROUNDS = 10
BLOCK = 1 << 15  # numbers drawn at once: 47 ns a normal one; all 100 million of a layer at once: 330 (Zen 3, 2026-11)


def key_of(text: str) -> int:
    """A 63-bit number for a name, the same in every process (Python's own hash is not)."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def philox(counter: NDArray[np.uint64], key: tuple[int, int]) -> Words:
    """Philox4x32-10 of many counters at once.

    Shapes: counter (..., 4), each number below 2**32 -> (..., 4).
    """
    c0, c1, c2, c3 = (counter[..., i] for i in range(4))
    for i in range(ROUNDS):
        k0, k1 = (np.uint64((k + i * weyl) & 0xFFFFFFFF) for k, weyl in zip(key, WEYL, strict=True))
        p, q = c0 * np.uint64(MULTIPLIERS[0]), c2 * np.uint64(MULTIPLIERS[1])
        c0, c1, c2, c3 = (q >> HALF) ^ c1 ^ k0, q & LOW, (p >> HALF) ^ c3 ^ k1, p & LOW
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def mixed(seed: int, key: int) -> tuple[int, int]:
    """The two key words of `seed ^ key`, low word first, in 64-bit two's complement."""
    both = (seed ^ key) & 0xFFFFFFFFFFFFFFFF
    return both & 0xFFFFFFFF, both >> 32


def words(seed: int, key: int, count: int, first: int = 0) -> Words:
    """`count` words of a stream from word `first` on, a multiple of 4: word e & 3 of counter (e >> 2, 0, 0)."""
    block = np.arange(first // 4, -(-(first + count) // 4), dtype=np.uint64)
    zero = np.zeros_like(block)
    return philox(np.stack([block & LOW, block >> HALF, zero, zero], axis=-1), mixed(seed, key)).reshape(-1)[:count]


def unit(bits: Words) -> NDArray[np.float32]:
    """Words as float32 in [0, 1): their upper 24 bits, which is what a float32 holds exactly."""
    return (bits >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def image_uniform(shape: tuple[int, ...], *, seed: int, key: int, first: int, step: int) -> NDArray[np.float32]:
    """Numbers in [0, 1) for a batch whose images count from `first`, so that no number depends on the batch size.

    Element e (in NCHW order) of image n takes word e & 3 of counter (e >> 2, first + n, step's low word, its high
    word).
    """
    images, per_image = shape[0], int(np.prod(shape[1:], dtype=np.int64))
    counter = np.zeros((images, -(-per_image // 4), 4), np.uint64)
    counter[..., 0] = np.arange(counter.shape[1], dtype=np.uint64)
    image = np.arange(images, dtype=np.uint64) + np.uint64(first & 0xFFFFFFFF)
    counter[..., 1] = (image & LOW)[:, None]
    counter[..., 2], counter[..., 3] = mixed(step, 0)
    bits = philox(counter, mixed(seed, key)).reshape(images, 4 * counter.shape[1])
    return unit(bits[:, :per_image]).reshape(shape)


def uniform(seed: int, key: int, count: int) -> NDArray[np.float32]:
    """`count` numbers in [0, 1)."""
    return _in_blocks(count, lambda first, n: unit(words(seed, key, n, first)))


def normal(seed: int, key: int, count: int) -> NDArray[np.float32]:
    """`count` numbers of the standard normal distribution.

    Ref: Box and Muller 1958; the radius takes (word + 1/2) / 2**32 so that its logarithm is finite.
    """
    return _in_blocks(count, lambda first, n: _box_muller(words(seed, key, n + n % 2, first))[:n])


def _box_muller(bits: Words) -> NDArray[np.float32]:
    pairs = bits.reshape(-1, 2).astype(np.float64)
    radius = np.sqrt(-2.0 * np.log((pairs[:, 0] + 0.5) * 2.0**-32))
    angle = 2.0 * np.pi * pairs[:, 1] * 2.0**-32
    both = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return both.reshape(-1).astype(np.float32)


def _in_blocks(count: int, draw: Callable[[int, int], NDArray[np.float32]]) -> NDArray[np.float32]:
    """`count` numbers, drawn in blocks whose intermediate arrays stay in the cache."""
    numbers = np.empty(count, np.float32)
    for first in range(0, count, BLOCK):
        n = min(BLOCK, count - first)
        numbers[first : first + n] = draw(first, n)
    return numbers


def permutation(seed: int, key: int, n: int) -> NDArray[Any]:
    """The numbers 0..n-1 in random order: the order of n random 64-bit numbers."""
    pairs = words(seed, key, 2 * n).reshape(-1, 2).astype(np.uint64)
    return np.argsort(pairs[:, 0] << HALF | pairs[:, 1], kind="stable")
