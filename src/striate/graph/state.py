"""State: what outlives a run, and the counters by which programs notice that something was edited."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from striate.errors import ConfigError, DtypeError
from striate.kernels.contract import Shape

Array = np.ndarray[Any, Any]
_TAKING = threading.Lock()


class Edits:
    """Process-wide counters: `count` of edits of states and Module attributes, `writes` of runs that wrote states."""

    count = 0
    writes = 0
    open = 0  # `with net.edit()` blocks under way: states may change at any time

    @classmethod
    def advance(cls) -> None:
        cls.count += 1


class State:
    """Something that outlives a run: a parameter, a statistic, an optimiser slot.

    Its memory stays where it is for life; `array` is a read-only view of it. Change it by `assign`. With an
    `initializer` (shape, seed, path) -> array it gets its first numbers when they are first needed: by then its path
    in the network, which is part of the random key, is known.
    """

    def __init__(self, array: Array, *, trainable: bool, path: str = "",
                 initializer: Callable[[Shape, int, str], Array] | None = None) -> None:
        self.shape: Shape = array.shape
        self.dtype = np.dtype(np.float32) if array.dtype == np.float64 else array.dtype.newbyteorder("=")
        self._memory: Array | None = None
        if array.size:
            self.storage[...] = array
        self.initializer = initializer
        self.pending = initializer is not None
        self.parameter = trainable  # what it is
        self.trainable = trainable  # whether gradients are computed for it now
        self.path = path

    @classmethod
    def zeros(cls, shape: Shape, *, trainable: bool, path: str = "",
              initializer: Callable[[Shape, int, str], Array] | None = None) -> State:
        """A float32 state of zeros. Its memory is taken when it is first used."""
        state = cls(np.zeros(0, np.float32), trainable=trainable, path=path, initializer=initializer)
        state.shape = tuple(shape)
        return state

    @property
    def storage(self) -> Array:
        """Its memory, the same for life; whoever asks first takes it from the system."""
        if self._memory is None:
            with _TAKING:  # another thread may use the network for the first time too
                self._memory = aligned(self.shape, self.dtype) if self._memory is None else self._memory
        return self._memory

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def draw(self) -> None:
        """Draws the first numbers, with seed 0, if the state has none yet."""
        if self.pending:
            self.initialize()

    def initialize(self, seed: int = 0) -> None:
        """Draws the state anew from its initializer, keyed by (seed, path)."""
        if self.initializer is not None:
            self.pending = False
            self.assign(self.initializer(self.shape, seed, self.path))

    @property
    def array(self) -> Array:
        if self.pending and not self.path:
            raise ConfigError(
                "state: has no numbers yet, they are drawn with its path in the network; use the network once, or call "
                "its initialize(seed)"
            )
        self.draw()
        view: Array = self.storage.view()
        view.flags.writeable = False
        return view

    def assign(self, array: Any) -> None:
        """Copies `array` in; Raises: ConfigError if its shape is another one."""
        new = np.asarray(array)
        if new.shape != self.shape:
            raise ConfigError(f"state {self.path}: needs an array of shape {self.shape}, got {new.shape}")
        if new.dtype.kind not in "fiub":
            raise DtypeError(f"state {self.path}: needs numbers, got dtype {new.dtype}")
        self.pending = False
        self.storage[...] = new
        Edits.advance()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.array, dtype=dtype) if copy or dtype is not None else self.array

    def __deepcopy__(self, memo: dict[int, Any]) -> State:
        twin = State(self.storage, trainable=self.trainable, path=self.path, initializer=self.initializer)
        twin.parameter, twin.pending = self.parameter, self.pending
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (np.array(self.array), self.trainable, self.parameter, self.path)

    def __repr__(self) -> str:
        return f"State({self.path or 'unnamed'}, {self.shape}, {'trainable' if self.trainable else 'fixed'})"


def _restored(array: Array, trainable: bool, parameter: bool, path: str) -> State:
    state = State(array, trainable=trainable, path=path)
    state.parameter = parameter
    return state


def aligned(shape: Shape, dtype: Any) -> Array:
    """A C-contiguous array of zeros that starts on a cache line; the system gives it pages when they are written."""
    native = np.dtype(dtype).newbyteorder("=")
    nbytes = math.prod(shape) * native.itemsize
    raw = np.zeros(max(nbytes, 1) + 64, np.uint8)
    start = -raw.ctypes.data % 64
    found: Array = raw[start : start + nbytes].view(native).reshape(shape)
    return found
