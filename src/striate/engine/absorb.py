"""Absorb: what only the next call reads is computed by it, and never exists in memory.

The weights of VGG-16's first linear layer are 411 MB. Their gradient, written by linear_dw and read once by sgd, would
be as many again; linear_dw_sgd updates a block of w while its gradient is in cache, to the same bits. And where two
branches of a network send gradients to the same map, the convolution that comes second adds its own to the first's.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from striate.engine.tape import Call, Storage, Tape
from striate.kernels.contract import ROWS
from striate.kernels.problem import linear_dw

UPDATES = {"sgd": ROWS["linear_dw_sgd"], "adam": ROWS["linear_dw_adam"]}  # both take w, g, ...: x, dy in the place of g


def absorb(tape: Tape) -> Tape:
    """`tape` with the gradients of linear weights computed by their updates, and sums of gradients by convolutions."""
    _updates(tape)
    _sums(tape)
    return tape


def _updates(tape: Tape) -> None:
    readers = _readers(tape)
    maker = {call.outputs[0].storage: call for call in tape.calls
             if call.row.name == "linear_dw" and call.outputs[0] is not None}
    gone: set[int] = set()
    calls = []
    for call in tape.calls:
        gradient = call.inputs[1].storage if call.row.name in UPDATES and call.inputs[1] is not None else None
        source = maker.get(gradient) if gradient is not None and readers[gradient] == 1 else None
        if source is not None:
            gone.add(id(source))
            call = _together(source, call)
        calls.append(call)
    tape.calls = [call for call in calls if id(call) not in gone]


def _sums(tape: Tape) -> None:
    readers, calls = _readers(tape), tape.calls
    made = {storage: i for i, call in enumerate(calls) for storage in call.writes()}
    gone: set[int] = set()
    for i, call in enumerate(calls):
        for dx, other in (call.inputs, call.inputs[::-1]) if call.row.name == "add" else ():
            assert dx is not None and other is not None
            at = made.get(dx.storage, -1)
            known = made.get(other.storage, -1) < at and other.shape == dx.shape
            if known and calls[at].row.name == "conv2d_dx" and readers[dx.storage] == 1:
                inputs = (*calls[at].inputs, other)
                calls[at] = replace(calls[at], row=ROWS["conv2d_dx_add"], inputs=inputs, outputs=call.outputs)
                made.update(dict.fromkeys(call.writes(), at))
                gone.add(i)
                break
    tape.calls = [call for i, call in enumerate(calls) if i not in gone]


def _readers(tape: Tape) -> Counter[Storage]:
    readers = Counter(s for call in tape.calls for s in call.reads())
    readers.update(b.storage for b in tape.outputs.values())
    readers.update(b.storage for _, b in tape.updates)
    return readers


def _together(gradient: Call, update: Call) -> Call:
    w, _, *rest = update.inputs
    return replace(update, row=UPDATES[update.row.name], inputs=(*gradient.inputs, w, *rest),
                   problem=linear_dw(*gradient.inputs))
