"""Turn: each call goes the other way round through the large map that was touched last.

What a call leaves in cache of a map that does not fit is its last part. The next call begins there and finds it; going
the same way it would find nothing, since every part is pushed out just before its turn. No result depends on the order
in which a kernel's chunks are done.
"""

from __future__ import annotations

from striate.engine.tape import Call, Storage
from striate.kernels.contract import DENSE


def turned(calls: list[Call]) -> list[bool]:
    """Whether each call takes its chunks from the last to the first."""
    touched: dict[Storage, int] = {}  # number of the last call that went through it
    turns: list[bool] = []
    for number, call in enumerate(calls):
        maps = _maps(call)
        met = [s for s in maps if s in touched]
        large = max((maps[s] for s in met), default=0) / 2  # a smaller one comes out of cache wherever it is begun
        before = max((touched[s] for s in met if maps[s] >= large), default=None)
        turns.append(before is not None and not turns[before])
        touched.update(dict.fromkeys(maps, number))
    return turns


def _maps(call: Call) -> dict[Storage, int]:
    """The images a call reads and writes, and their bytes; weights are gone through as each kernel likes."""
    return {b.storage: b.nbytes for name, b in call.tensors()
            if b is not None and len(b.shape) == 4 and not b.dense and name.rstrip("?*") not in DENSE}
