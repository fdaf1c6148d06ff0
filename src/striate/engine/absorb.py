"""Absorb: the gradient of a linear layer's weights goes straight into their update, and never exists in memory.

The weights of VGG-16's first linear layer are 411 MB. Their gradient, written by linear_dw and read once by sgd, would
be as many again; linear_dw_sgd updates a block of w while its gradient is in cache, to the same bits.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from striate.engine.tape import Call, Tape
from striate.kernels.contract import ROWS
from striate.kernels.problem import linear_dw

UPDATES = {"sgd": ROWS["linear_dw_sgd"], "adam": ROWS["linear_dw_adam"]}  # both take w, g, ...: x, dy in the place of g


def absorb(tape: Tape) -> Tape:
    """`tape` with each weight gradient that only an update reads computed by that update."""
    readers = Counter(s for call in tape.calls for s in call.reads())
    readers.update(b.storage for b in tape.outputs.values())
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
    return tape


def _together(gradient: Call, update: Call) -> Call:
    w, _, *rest = update.inputs
    return replace(update, row=UPDATES[update.row.name], inputs=(*gradient.inputs, w, *rest),
                   problem=linear_dw(*gradient.inputs))
