"""The random bits: known answers, and the same numbers however they are asked for."""

from __future__ import annotations

import numpy as np
import pytest

from expected.elementwise import philox
from striate.kernels import native, random, reference

ONES = 0xFFFFFFFF
KNOWN = [  # of the generator's authors: counter, key, words
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
     (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_known_answers(counter, key, words):
    assert tuple(random.philox(np.array(counter, np.uint64), key)) == words
    assert philox(counter, key) == words


def test_key_is_stable():
    assert random.key_of("features.3.weight") != random.key_of("features.4.weight")
    assert random.key_of("") == 6510301506637419378
    assert 0 <= random.key_of("x") < 2**63


def test_distributions():
    u, z = random.uniform(1, 2, 100_000), random.normal(1, 2, 100_000)
    assert u.dtype == z.dtype == np.float32
    assert u.min() >= 0 and u.max() < 1
    assert abs(u.mean() - 0.5) < 0.005 and abs(u.var() - 1 / 12) < 0.001
    assert abs(z.mean()) < 0.02 and abs(z.var() - 1) < 0.02 and abs((z**3).mean()) < 0.05
    assert abs(np.corrcoef(z[::2], z[1::2])[0, 1]) < 0.02
    assert not np.array_equal(u, random.uniform(2, 2, 100_000))


def test_prefix():
    """A longer stream begins with the shorter one."""
    for make in (random.uniform, random.normal):
        assert np.array_equal(make(3, 4, 101)[:37], make(3, 4, 37))
        assert make(3, 4, 0).shape == (0,)


def test_permutation():
    order = random.permutation(5, 6, 1000)
    assert np.array_equal(np.sort(order), np.arange(1000))
    assert not np.array_equal(order, random.permutation(6, 6, 1000))
    assert random.permutation(5, 6, 0).shape == (0,)


@pytest.mark.parametrize("shape", [(6, 3, 5, 7), (6, 11), (1, 1, 1, 1), (5, 33, 1, 2), (3, 8, 8, 8), (0, 3)])
@pytest.mark.parametrize(("seed", "step", "key", "first"), [
    (0, 0, 0, 0), (7, 3, 11, 40), (2**63 - 1, 2**40 + 1, 2**62 + 5, 2**32 - 2)])
def test_dropout_bits(shape, seed, step, key, first, isa):
    """Native dropout keeps exactly the elements the definition keeps, whatever the memory order of channels."""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    scalars = np.array(seed, np.int64), np.array(step, np.int64)
    wanted = reference.kernels().dropout(x, *scalars, p=0.3, key=key, first=first)
    assert np.array_equal(native.kernels(isa).dropout(x, *scalars, p=0.3, key=key, first=first), wanted)


def test_dropout_counts_images():
    """An image keeps its mask whatever batch it comes in."""
    x = np.ones((6, 3, 4, 4), np.float32)
    scalars = np.array(3, np.int64), np.array(9, np.int64)
    whole = reference.kernels().dropout(x, *scalars, p=0.5, key=1, first=0)
    assert np.array_equal(whole[4:], reference.kernels().dropout(x[4:], *scalars, p=0.5, key=1, first=4))
