"""Absorb: two calls that meet in a tensor become one, which saves a pass over it, or the tensor.

The weights of VGG-16's first linear layer are 411 MB. Their gradient, written by linear_dw and read once by sgd, would
be as many again; linear_dw_sgd updates a block of w while its gradient is in cache, to the same bits. Where two
branches of a network send gradients to the same map, the convolution that comes second adds its own to the first's; and
where a batch norm made the map, that convolution takes the sums which the norm's gradient begins with.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from striate.engine.tape import Buffer, Call, Storage, Tape
from striate.kernels.contract import ROWS
from striate.kernels.problem import linear_dw

SUMMING = {name: ROWS[f"{name}_sums"] for name in ("conv2d_winograd", "conv2d_dx_gemm")}  # dX, that with the sums
UPDATES = {"sgd": ROWS["linear_dw_sgd"], "adam": ROWS["linear_dw_adam"]}  # both take w, g, ...: x, dy in the place of g


def absorb(tape: Tape) -> Tape:
    """`tape` with the gradients of linear weights computed by their updates, and sums of gradients by convolutions."""
    _updates(tape)
    _sums(tape)
    return tape


def absorb_norms(tape: Tape) -> Tape:
    """`tape`, its algorithms chosen, with each norm_act_sums done by the convolution whose dX it reads, if it can."""
    calls, gone = tape.calls, set[int]()
    made = {storage: i for i, call in enumerate(calls) for storage in call.writes()}
    for i, norm in enumerate(calls):
        if norm.row.name == "norm_act_sums":
            x, dy, *others = norm.inputs
            assert x is not None and dy is not None
            at = made.get(dy.storage, -1)
            known = all(b is None or made.get(b.storage, -1) < at for b in (x, *others))
            if at >= 0 and known and _takes_sums(calls[at], dy) and _sent_on(tape, dy, norm):
                calls[at] = _summing(calls[at], norm)
                made.update(dict.fromkeys(norm.writes(), at))
                gone.add(i)
    tape.calls = [call for i, call in enumerate(calls) if i not in gone]
    return tape


def _takes_sums(call: Call, dx: Buffer) -> bool:
    """Whether the kernel that computes this dX has a form that takes sums; the matrix product has it for 1x1 only.

    The gradient of a linear layer is another buffer there: a map of one pixel.
    """
    p = call.problem
    point = p is not None and (p.kernel, p.stride, p.padding, p.groups) == ((1, 1), (1, 1), (0, 0, 0, 0), 1)
    plain = p is not None and p.kind == "dx" and not p.epilogue and call.outputs[0] == dx
    return plain and call.row.name in SUMMING and (point or call.row.name == "conv2d_winograd")


def _sent_on(tape: Tape, dx: Buffer, norm: Call) -> bool:
    """Whether nobody misses dx if it is masked where it lies, or is dz, another buffer."""
    x, dz = norm.inputs[0], norm.outputs[2]
    others = [call for call in tape.calls if dx.storage in call.reads() and call is not norm]
    result = any(b.storage is dx.storage for b in (*tape.outputs.values(), *(b for _, b in tape.updates)))
    if dz is not None:
        return not others and not result
    masking = all(call.row.name == "norm_act_dx" and call.inputs[0] == x for call in others) and not result
    return masking or norm.params["activation"] == 0


def _summing(dx: Call, norm: Call) -> Call:
    x, _, *others = norm.inputs
    sum_dz, sum_dz_xhat, dz = norm.outputs
    row, given = SUMMING[dx.row.name], dx.params | norm.params
    return replace(dx, row=row, inputs=(*dx.inputs[:2], dx.inputs[-1], x, *others), outputs=(
        dz or dx.outputs[0], sum_dz, sum_dz_xhat), params={name: given[name] for name in row.params})


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
