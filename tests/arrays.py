"""The arrays of a row: seeded by the row itself, in the memory layout it names."""

from __future__ import annotations

import zlib

import numpy as np

INTEGERS = ("targets", "seed", "step")


def arrays_of(row, dtype=np.float64):
    """name -> array (or list of arrays, or whatever stands in the row) for every tensor of `row`."""
    rng = np.random.default_rng(zlib.crc32(str(row).encode()))
    made = {name: made_of(row, rng, name, value, dtype) for name, value in row.tensors.items()}
    layout = getattr(row, "layout", "plain")
    return {name: [relayout(v, layout) for v in value] if name == "values" and isinstance(value, list)
            else relayout(value, layout) for name, value in made.items()}


def made_of(row, rng, name, value, dtype):
    if isinstance(value, list) and name == "values":
        return [made_of(row, rng, name, shape, dtype) for shape in value]
    if isinstance(value, np.ndarray) and value.dtype.kind == "f" and hasattr(row, "kernel"):
        return value.astype(dtype)
    if not isinstance(value, tuple):
        return value
    if name in INTEGERS:
        return rng.integers(0, row.given["logits"][1], value) if name == "targets" else np.array(rng.integers(0, 99))
    if getattr(row, "data", "normal") != "normal" and name in ("x", "logits"):
        return special(rng, value, row.data, dtype)
    return np.asarray(numbers(rng, name, value, getattr(row, "op", "")).astype(np.float32).astype(dtype))


def numbers(rng, name, shape, op):
    """Normal numbers; positive where the operation needs them so, away from zero below a fraction, wide for a ramp."""
    if name in ("var", "running_var", "lr") or (name == "weight" and op == "cross_entropy"):
        return rng.uniform(0.5, 2, shape)
    if name == "b" and op == "div":
        return rng.uniform(0.5, 2, shape) * rng.choice([-1, 1], shape)
    if op == "lp_pool2d":
        return rng.uniform(0.25, 2, shape)
    return (4 if op in ("relu6", "hard_swish") else 1) * rng.standard_normal(shape)


def special(rng, shape, data, dtype):
    x = rng.standard_normal(shape).astype(np.float32).astype(dtype)
    middle = tuple(size // 2 for size in shape)
    if data == "large":
        return x * 1000
    if data == "ties":
        return np.round(x)
    if data == "minus_inf":
        x[..., :4] = -np.inf
    else:
        x[middle] = {"one_nan": np.nan, "one_inf": np.inf}[data]
    return x


def relayout(array, layout):
    """The same numbers (but for "repeated") lying differently in memory."""
    if layout == "plain" or not isinstance(array, np.ndarray):
        return array
    return LAYOUTS[layout](array)


def strided(a):
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


def shifted(a, offset):
    raw = np.zeros(a.nbytes + offset, np.uint8)
    out = raw[offset:].view(a.dtype).reshape(a.shape)
    out[...] = a
    return out


def readonly(a):
    a = a.copy()
    a.flags.writeable = False
    return a


LAYOUTS = {
    "strided": strided,
    "reversed": lambda a: np.flip(np.flip(a).copy()),
    "fortran": np.asfortranarray,
    "channels_last": lambda a: np.moveaxis(np.moveaxis(a, 1, -1).copy(), -1, 1) if a.ndim == 4 else a,
    "misaligned": lambda a: shifted(a, 4),
    "odd_bytes": lambda a: shifted(a, 1),
    "readonly": readonly,
    "big_endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "repeated": lambda a: np.broadcast_to(a[:1], a.shape),
}


def plain(value):
    """A contiguous copy in this machine's byte order."""
    if isinstance(value, list):
        return [plain(v) for v in value]
    return np.array(value, dtype=value.dtype.newbyteorder("="), order="C") if isinstance(value, np.ndarray) else value
