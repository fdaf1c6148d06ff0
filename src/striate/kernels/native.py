"""The compiled kernels, called on arrays: dtype and layout are looked at once, then C++ computes.

A kernel set has one attribute a row of the contract, with the row's tensors by position (None for an absent one) and
its parameters by keyword: `k.max_pool(x, kernel=(2, 2), ...)`. It returns an array, or a tuple in the contract's order
with every optional output in it, None where its parameters ask for none. Arrays are logical (NCHW, OIHW); rank 4
results lie in memory as NHWC.
"""

from __future__ import annotations

import contextlib
import functools
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from striate.errors import ConfigError, DtypeError, NonFiniteError, unknown_name
from striate.kernels import _native
from striate.kernels.callback import call_back
from striate.kernels.contract import DENSE, ROWS, Row, Spec
from striate.kernels.lower import LOWERINGS
from striate.kernels.target import PRECISIONS, Target

Array = np.ndarray[Any, Any]
Tensor = tuple[tuple[int, ...], int, int, int]  # shape, ld, dtype code, address

DTYPES = {"float32": 0, "uint8": 1, "uint16": 2, "int64": 3}  # kernels.h
MAX_THREADS = 256  # threads.h

# Tensors that hold integers; all others hold float32, but these kernels move any dtype.
INTEGERS = {"targets": ("int64",), "index": ("uint8", "uint16"), "seed": ("int64",), "step": ("int64",)}
ANY_DTYPE = frozenset({"copy", "concat", "window", "flatten", "unflatten", "to_dense", "from_dense", "fill_nan"})

_threads: int | None = None
_precision = PRECISIONS[0]


# ---- what this machine runs

def isas() -> list[str]:
    """Instruction sets this machine can run, the fastest last."""
    return list(_native.isas())


def default_isa() -> str:
    """The fastest instruction set, or what the environment variable STRIATE_ISA names.

    Raises: ConfigError if this machine cannot run what STRIATE_ISA names.
    """
    try:
        return str(_native.default_isa())
    except ValueError as error:
        raise ConfigError(str(error)) from None


def cpu_name() -> str:
    """The processor as it calls itself."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def blocking(isa: str) -> Mapping[str, int]:
    """`width`, `mr`, `nr`, `mc`, `kc`: vector width, register tile and packed block of an instruction set."""
    return dict(_native.blocking(isa))


def get_threads() -> int:
    """Threads a run uses: what set_threads said, else one a physical core within affinity and quota."""
    return int(_native.default_threads()) if _threads is None else _threads


def set_threads(threads: int | None) -> None:
    """Sets how many threads runs use from now on; None goes back to the machine's own number."""
    global _threads
    if threads is not None:
        if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)):
            raise DtypeError(f"set_threads: threads must be an integer, got {threads!r}")
        if not 1 <= threads <= MAX_THREADS:
            raise ConfigError(f"set_threads: threads must be 1 to {MAX_THREADS}, got {threads}")
    _threads = None if threads is None else int(threads)


def get_precision() -> str:
    """The precision that algorithms are chosen for: what set_precision said, else "default"."""
    return _precision


def set_precision(precision: str) -> None:
    """Sets which algorithms may be chosen from now on.

    "default" takes the fast ones whose error is bounded; "direct" none of them, so that small integers stay exact;
    "fast" also those that lose more digits.
    """
    global _precision
    _precision = checked_precision("set_precision", precision)


def checked_precision(who: str, precision: str) -> str:
    """`precision`. Raises: DtypeError, UnknownName unless it is one of PRECISIONS."""
    if not isinstance(precision, str):
        raise DtypeError(f"{who}: precision must be a name, got {precision!r:.80}")
    if precision not in PRECISIONS:
        raise unknown_name(who, "precision", precision, PRECISIONS)
    return precision


def target(isa: str, precision: str | None = None, *, training: bool = False,
           tuned: tuple[tuple[str, str], ...] = ()) -> Target:
    """What algorithms are chosen for on an instruction set; `precision` None follows set_precision."""
    return Target(isa, **blocking(isa), precision=precision or get_precision(), training=training, tuned=tuned)


# ---- the kernel set

class Kernels:
    """The compiled kernels of one instruction set, each definition lowered for one precision."""

    name = "native"
    callback = staticmethod(call_back)

    def __init__(self, isa: str, threads: int | None, precision: str) -> None:
        self.isa, self.threads = isa, threads
        self.target = target(isa, precision, training=True)  # filters are packed with every call

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in ROWS:
            raise AttributeError(f"kernels: no kernel named {name!r}")
        return functools.partial(_lowered if name in LOWERINGS else _run, self, ROWS[name])

    def __repr__(self) -> str:
        return f"<native kernels, isa {self.isa}, threads {self.threads or get_threads()}>"


def kernels(isa: str | None = None, threads: int | None = None, precision: str | None = None) -> Kernels:
    """The kernel set of an instruction set; `threads` None follows set_threads, `precision` None set_precision.

    Raises: UnknownName if this machine runs no such instruction set, or there is no such precision.
    """
    isa = default_isa() if isa is None else isa
    if isa not in _native.isas():
        raise unknown_name("kernels", "instruction set this machine can run", isa, _native.isas())
    return _kernels(isa, threads, get_precision() if precision is None else checked_precision("kernels", precision))


@functools.lru_cache(maxsize=64)
def _kernels(isa: str, threads: int | None, precision: str) -> Kernels:
    return Kernels(isa, threads, precision)


def _lowered(k: Kernels, row: Row, *arrays: Array | None, **params: Any) -> Any:
    row.shapes(*_specs(row, arrays), **params)  # the algorithm's own calls no longer know what the user asked for
    return LOWERINGS[row.name](k, *arrays, **params)


def _run(k: Kernels, row: Row, *arrays: Array | None, **params: Any) -> Any:
    results = row.shapes(*_specs(row, arrays), **params)
    names = (*_names(row, arrays), *(name.rstrip("?") for name in row.outputs))
    inputs = [None if a is None else _laid_out(row, name, a) for name, a in zip(names, arrays, strict=False)]
    outputs = [None if spec is None else _empty(name, spec)
               for name, spec in zip(names[len(inputs):], results, strict=True)]
    tensors = [None if a is None else _tensor(name, a) for name, a in zip(names, (*inputs, *outputs), strict=True)]
    finite = _native.call(k.isa, row.name, tensors, *encode(row, params), k.threads or get_threads())
    if not finite:
        raise NonFiniteError(f"{row.name}: must be finite, got NaN or infinity")
    if row.name == "fill_nan":  # the one kernel that writes to its input
        np.copyto(arrays[0], inputs[0])  # type: ignore[arg-type]  # its only tensor is there
    return tuple(outputs) if len(outputs) > 1 else outputs[0] if outputs else None


def _specs(row: Row, arrays: tuple[Array | None, ...]) -> list[Spec | None]:
    for array in arrays:
        if array is not None and not isinstance(array, np.ndarray):
            raise DtypeError(f"{row.name}: tensors must be arrays, got {type(array).__name__}")
    return [None if a is None else Spec(a.shape, _name_of(a.dtype)) for a in arrays]


@functools.cache  # NumPy puts a dtype's name together in Python, each time
def _name_of(dtype: np.dtype[Any]) -> str:
    return dtype.name


def encode(row: Row, params: Mapping[str, Any]) -> tuple[list[int], list[float]]:
    """A row's parameters as the native core takes them: its integers in order, and its floats."""
    integers: list[int] = []
    floats: list[float] = []
    for name, kind in row.params.items():
        value = params[name]
        if kind == "f":
            floats.append(float(value))
        else:
            integers.extend(map(int, value if isinstance(value, (tuple, list)) else (value,)))
    return integers, floats


# ---- dtype and layout

def _names(row: Row, arrays: tuple[Array | None, ...]) -> tuple[str, ...]:
    """The name of each input, without its mark; a list's name stands for all that remain."""
    if row.inputs[-1].endswith("*"):
        head = row.inputs[:-1]
        return (*head, *(row.inputs[-1],) * (len(arrays) - len(head)))
    if len(arrays) != len(row.inputs):
        raise TypeError(f"{row.name}: takes the tensors '{' '.join(row.inputs)}', got {len(arrays)}")
    return tuple(name.rstrip("?") for name in row.inputs)


def _laid_out(row: Row, name: str, array: Array) -> Array:
    """`array` itself if the kernel can read it where it lies, else a copy it can read."""
    dtype = array.dtype
    wanted = tuple(DTYPES) if row.name in ANY_DTYPE else INTEGERS.get(name, ("float32",))
    if _name_of(dtype) not in wanted or not dtype.isnative:
        hint = 'float64 arrays need kernels="reference"; ' if _name_of(dtype) == "float64" else ""
        raise DtypeError(f"{row.name}: {name} must be {' or '.join(wanted)}; {hint}got {dtype}")
    if not array.flags.aligned:
        array = array.copy()
    if name in DENSE or array.ndim not in (2, 4):
        return np.ascontiguousarray(array)
    rows = _rows(array)
    if _pixel_stride(rows):
        return array
    return np.ascontiguousarray(rows).transpose(0, 3, 1, 2) if array.ndim == 4 else np.ascontiguousarray(array)


def _rows(array: Array) -> Array:
    """The array with its channels last, as they lie in memory."""
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


def _pixel_stride(rows: Array) -> int:
    """The distance in elements between rows of channels that lie evenly in memory, or 0 if they do not."""
    item, channels = rows.itemsize, rows.shape[-1]
    if channels > 1 and rows.strides[-1] != item:
        return 0
    axes = [(n, s) for n, s in zip(rows.shape[-2::-1], rows.strides[-2::-1], strict=True) if n > 1]
    stride = axes[0][1] if axes else channels * item
    expected = stride
    for n, s in axes:
        if s != expected:
            return 0
        expected *= n
    return stride // item if stride % item == 0 and stride >= channels * item else 0


def _empty(name: str, spec: Spec) -> Array:
    if len(spec.shape) != 4 or name in DENSE:
        return np.empty(spec.shape, spec.dtype)
    n, c, h, w = spec.shape
    return np.empty((n, h, w, c), spec.dtype).transpose(0, 3, 1, 2)


def _tensor(name: str, array: Array) -> Tensor:
    strided = array.ndim in (2, 4) and name not in DENSE
    return array.shape, _pixel_stride(_rows(array)) if strided else 0, DTYPES[_name_of(array.dtype)], array.ctypes.data
