"""A stand-in for the compiled module: calls are computed on copies of their tensors somewhere else.

Put in the place of `striate.kernels.native._native`, so that arrays, layouts and algorithms are as always.
"""

from __future__ import annotations

import ctypes
import math

ITEM_BYTES = (4, 1, 2, 8)  # by dtype code, kernels.h


class Elsewhere:
    """All of the compiled module but `call`, which is handed to `compute`."""

    def __init__(self, module):
        self.module = module

    def __getattr__(self, name):
        return getattr(self.module, name)

    def call(self, isa, kernel, tensors, integers, floats, threads):
        given = [b"" if t is None else ctypes.string_at(t[3], span(t)) for t in tensors]
        finished, results = self.compute(isa, kernel, tensors, given, integers, floats, threads)
        for tensor, before, after in zip(tensors, given, results, strict=True):
            if before != after:
                ctypes.memmove(tensor[3], after, len(after))
        return finished


def span(tensor):
    """Bytes from the first one of a tensor to behind its last."""
    shape, ld, dtype, _ = tensor
    if 0 in shape:
        return 0
    elements = math.prod(shape)
    if ld:
        channels = shape[1]
        elements = (elements // channels - 1) * ld + channels
    return elements * ITEM_BYTES[dtype]
