"""Choose: each call gets its algorithm, packing becomes a call of its own, and neighbouring updates are merged.

The choice is a function of problem and target alone: never of threads, clock or free memory.
"""

from __future__ import annotations

from dataclasses import replace

from striate.engine.absorb import absorb_norms
from striate.engine.record import Recorder
from striate.engine.tape import Buffer, Call, Storage, Tape
from striate.graph import State
from striate.kernels.lower import ON_TAPE
from striate.kernels.problem import PROBLEMS, Problem
from striate.kernels.target import Target


def choose(tape: Tape, target: Target) -> Tape:
    """`tape` with every definition lowered to the kernels that compute it."""
    k = Recorder(target, once=True)  # two gradients may begin with the same pass
    at: dict[Storage, Storage] = {}  # storage of a lowered call's output -> the storage that holds it now

    def moved(b: Buffer | None) -> Buffer | None:
        return b and b.at(at.get(b.storage, b.storage))

    for call in tape.calls:
        inputs = tuple(moved(b) for b in call.inputs)
        if call.row.name not in ON_TAPE:
            k.calls.append(replace(call, inputs=inputs, problem=_problem(call)))
            continue
        k.section, k.path = call.section, call.path
        start = len(k.calls)
        made = ON_TAPE[call.row.name](k, *inputs, **call.params)
        for new in k.calls[start:]:
            new.problem = _problem(call)
        for output, result in zip(call.outputs, made if isinstance(made, tuple) else (made,), strict=True):
            if output is not None:
                result.storage.name = output.name
                at[output.storage] = result.storage
    chosen = Tape(
        inputs=tape.inputs,
        outputs={name: _sure(moved(b)) for name, b in tape.outputs.items()},
        updates=[(state, _sure(moved(b))) for state, b in tape.updates],
        states=tape.states,
    )
    chosen.calls = k.calls
    absorb_norms(chosen.prune())  # without an algorithm's optional results that the definition's user did not want
    chosen.calls = _merged(chosen.calls) if tape.updates else _prelude_first(chosen.calls, tape)
    return chosen


def _problem(call: Call) -> Problem | None:
    named = PROBLEMS.get(call.row.name)
    return named(*call.inputs, **call.params) if named else None


def _sure(b: Buffer | None) -> Buffer:
    assert b is not None
    return b


def _merged(calls: list[Call]) -> list[Call]:
    """Neighbouring calls of a mergeable kernel with equal parameters as one native call."""
    result: list[Call] = []
    for call in calls:
        last = result[-1] if result else None
        if last is not None and call.row.mergeable and last.row is call.row and last.params == call.params:
            result[-1] = replace(
                last, inputs=last.inputs + call.inputs, outputs=last.outputs + call.outputs,
                repeat=last.repeat + 1, path=f"{last.path.split(' ')[0]} ... {call.path}",
            )
        else:
            result.append(call)
    return result


def _prelude_first(calls: list[Call], tape: Tape) -> list[Call]:
    """Calls that read only states come first: they run when a state has changed, and their results are kept."""
    kept: set[Storage] = {b.storage for b in tape.states.values()}
    results = {b.storage for b in tape.outputs.values()}
    prelude, body = [], []
    for call in calls:
        fixed = all(s in kept or (s.source is not None and not isinstance(s.source, State)) for s in call.reads())
        if fixed and call.row.algorithm | (call.row.name in FOLDED) and not results.intersection(call.writes()):
            kept.update(call.writes())
            prelude.append(replace(call, section="prelude"))
        else:
            body.append(call)
    return prelude + body


FOLDED = frozenset({"fold_norm", "flip"})


