"""Join: parts of a concat are written straight into it, and slices of channels are read where they lie.

A tensor of images lies in memory as pixels, channel behind channel; every kernel takes the distance from one pixel to
the next. So some channels of a tensor are a tensor too, and joining or cutting along the channels needs no copy: the
part gives up its storage for a place in the whole's. The same lines serve the backward of both, where the one becomes
the other. What cannot lie there (weights' layout, another shape of the same memory, a second concat) is copied.
"""

from __future__ import annotations

from dataclasses import replace

from striate.engine.tape import Buffer, Call, Storage, Tape
from striate.kernels.contract import DENSE, ROWS

# Sums over pixels are taken in another order where the pixels lie apart: their bits would not be those of copies. (Sums
# in a convolution's epilogue are not: conv2d_winograd_sums and conv2d_dx_gemm_sums go by their own tiles.)
SUMS = frozenset({"channel_sum", "batch_moments", "scale_shift_sums", "norm_act_sums"})


def joined(tape: Tape) -> Tape:
    """`tape` without the copies of concats and channel slices whose parts can lie in the whole."""
    movable = _movable(tape)
    at: dict[Storage, Buffer] = {}  # a part's storage -> its place in the whole
    calls: list[Call] = []
    for call in tape.calls:
        x, y = call.inputs[0] if call.inputs else None, call.outputs[0] if call.outputs else None
        if x is None or y is None:
            calls.append(call)
        elif _slices_channels(call, x, y) and y.storage in movable and y.storage not in at:
            at[y.storage] = replace(y, storage=x.storage, first=call.params["start"][1], channels=x.shape[1])
        elif call.row.name == "concat" and call.params["axis"] == 1 and len(y.shape) == 4 and not y.dense:
            calls += _copies(call, y, movable, at)
        else:
            calls.append(call)
    if not at:
        return tape

    def moved(b: Buffer | None) -> Buffer | None:
        while b is not None and b.storage in at:
            whole = at[b.storage]
            b = replace(b, storage=whole.storage, first=b.first + whole.first, channels=whole.channels)
        return b

    return replace(tape, calls=[
        replace(c, inputs=tuple(map(moved, c.inputs)), outputs=tuple(map(moved, c.outputs))) for c in calls])


def _movable(tape: Tape) -> set[Storage]:
    """Storages that one call writes, and that all calls see as images of one shape."""
    shapes: dict[Storage, tuple[int, ...]] = {}
    fixed = {b.storage for b in (*tape.outputs.values(), *tape.states.values(), *(i.buffer for i in tape.inputs))}
    written: set[Storage] = set()
    for call in tape.calls:
        for name, b in call.tensors():
            if b is None:
                continue
            images = len(b.shape) == 4 and not b.dense and name.rstrip("?*") not in DENSE
            images = images and call.row.name not in SUMS and not call.params.get("moments")
            if not images or shapes.setdefault(b.storage, b.shape) != b.shape:
                fixed.add(b.storage)
        fixed.update(written.intersection(call.writes()))
        written.update(call.writes())
    return written - fixed


def _slices_channels(call: Call, x: Buffer, y: Buffer) -> bool:
    if call.row.name != "window" or len(x.shape) != 4 or x.dense:
        return False
    start, last = call.params["start"], call.params["start"][1] + y.shape[1]
    whole = not (start[0] or any(start[2:])) and (x.shape[0], *x.shape[2:]) == (y.shape[0], *y.shape[2:])
    return bool(whole and start[1] >= 0 and last <= x.shape[1])


def _copies(call: Call, y: Buffer, movable: set[Storage], at: dict[Storage, Buffer]) -> list[Call]:
    """What is left of a concat: nothing, or a copy of each part that cannot lie in it."""
    copies, first = [], 0
    for x in call.inputs:
        assert x is not None
        place = replace(x, storage=y.storage, dense=False, first=first, channels=y.shape[1])
        first += x.shape[1]
        if x.storage in movable and x.storage not in at:
            at[x.storage] = place
        else:
            copies.append(replace(call, row=ROWS["copy"], inputs=(x,), outputs=(place,), params={}))
    return [call] if len(copies) == len(call.inputs) else copies
