"""Advance: the update of a large gradient moves to just behind it, so that the gradient lives briefly.

An update moves up to the last call that computes what it reads, or that still needs the old value of what it writes;
never before a callback, which may fail: a step that raises has changed no state. From the first update on, a run can
no longer be interrupted (`update_from`), so updates move only where that saves memory; place decides.
"""

from __future__ import annotations

from dataclasses import replace

from striate.engine.tape import Call, Storage, Tape

EARLY_BYTES = 1 << 16  # a smaller gradient is not worth a call of its own: one merged call updates all of them


def advanced(tape: Tape) -> Tape:
    """`tape`, its updates written into their states already, with those of large gradients as early as they may be."""
    written: dict[Storage, int] = {}  # number of the last call that wrote it
    touched: dict[Storage, int] = {}
    kept: list[list[Call]] = []  # for each call itself, or what is left of it; then the updates that come behind it
    results = {b.storage for b in tape.outputs.values()}
    fallible = -1
    for number, call in enumerate(tape.calls):
        if call.row.name in ("callback", "check_finite"):
            fallible = number
        late = []
        updates = _updates(call)
        for update in updates:
            at = max((fallible, *(written.get(s, -1) for s in update.reads()),
                      *(touched.get(s, -1) for s in update.writes())))
            large = any(s.nbytes >= EARLY_BYTES and s.source is None and s not in results for s in update.reads())
            if large and at < number - 1:
                kept[at].append(update)
            else:
                late.append(update)
        kept.append([call] if len(late) == len(updates) else [_joined(late)] if late else [])
        touched.update((s, number) for s in (*call.reads(), *call.writes()))
        written.update((s, number) for s in call.writes())
    return replace(tape, calls=[call for calls in kept for call in calls])


def _updates(call: Call) -> list[Call]:
    """The updates, one a parameter, that a call stands for: several if it is merged, one with its gradient absorbed."""
    if call.section != "update" or not (call.row.mergeable or call.row.algorithm):
        return []
    if call.repeat == 1:
        return [call]
    ins, outs = len(call.row.inputs), len(call.row.outputs)
    parts = []
    for group in range(call.repeat):
        inputs, outputs = (bs[group * n : (group + 1) * n] for bs, n in ((call.inputs, ins), (call.outputs, outs)))
        path = next(b.name for b in inputs if b is not None)  # the parameter's
        parts.append(replace(call, inputs=inputs, outputs=outputs, path=path, repeat=1))
    return parts


def _joined(updates: list[Call]) -> Call:
    """The updates as one merged call."""
    first, last = updates[0], updates[-1]
    return replace(
        first, repeat=len(updates), inputs=tuple(b for u in updates for b in u.inputs),
        outputs=tuple(b for u in updates for b in u.outputs),
        path=first.path if first is last else f"{first.path} ... {last.path}",
    )
