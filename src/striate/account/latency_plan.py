"""What a run would do, planned to the byte without running, mapping memory or drawing a weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from striate import ops
from striate.engine.choose import choose
from striate.engine.fuse import fuse
from striate.engine.place import Plan, place
from striate.engine.program import described
from striate.engine.programs import Request
from striate.engine.record import record
from striate.engine.tape import Call
from striate.errors import ConfigError
from striate.graph import State
from striate.kernels import _native, native
from striate.kernels.contract import Shape, Spec
from striate.kernels.target import Target
from striate.nn import Module
from striate.train import SGD
from striate.train.evaluation import main_output

MOMENTUM = 0.9  # of the training step that is predicted: SGD with one slot a parameter


def planned(net: Module, image: Shape, batch: int, training: bool, target: Target, threads: int) -> Plan:
    """The plan of inference, or of a training step: cross entropy of the main output, SGD with momentum."""
    slots = _Slots()
    request = step_request(image, slots) if training else Request(Spec(tuple(image)))
    graph = fuse(net.programs.graph(request, batch))
    loss = graph.outputs.get("loss")
    if training and len(_logits(net, image, batch)) != 2:
        raise ConfigError("latency: training needs a network whose output is (N, classes), got "
                          f"{_logits(net, image, batch)}")
    tape = record(graph, target, loss=loss, optimizer=slots if training else None)
    return place(choose(tape, target), lambda call: _scratch_bytes(call, target.isa, threads))


def step_request(image: Shape, optimizer: Any) -> Request:
    """What a training step asks for, as TrainingStep does."""
    return Request(Spec(tuple(image)), True, cross_entropy, Spec((), "int64"), outputs=False, optimizer=optimizer)


def cross_entropy(outputs: Any, targets: Any) -> Any:
    """The loss of a step: that of the main output."""
    return ops.cross_entropy(main_output(outputs), targets)


def _logits(net: Module, image: Shape, batch: int) -> Shape:
    return tuple(main_output(net.graph(image, batch=batch).outputs).shape)


def _scratch_bytes(call: Call, isa: str, threads: int) -> int:
    if call.row.name == "callback":
        return 0
    tensors = [None if b is None else (*described(name, b, call), 1) for name, b in call.tensors()]
    return int(_native.scratch(isa, call.row.name, tensors, *native.encode(call.row, call.params), threads))


class _Slots(SGD):
    """SGD whose slots have a shape and no memory: a plan needs no more."""

    def __init__(self) -> None:
        super().__init__(momentum=MOMENTUM)
        self._shapes: dict[State, tuple[State, ...]] = {}

    def slots(self, state: State) -> tuple[State, ...]:
        if state not in self._shapes:
            self._shapes[state] = tuple(_Slot(state.shape, f"{state.path}.{name}") for name in self.slot_names)
        return self._shapes[state]


class _Slot(State):
    """A state that is only planned with."""

    def __init__(self, shape: Shape, path: str) -> None:
        self.storage = np.broadcast_to(np.float32(0), shape)
        self.initializer, self.pending, self.parameter, self.trainable, self.path = None, False, False, False, path


def target_of(training: bool) -> Target:
    """What algorithms are chosen for now."""
    return native.target(native.default_isa(), training=training)


def sections(plan: Plan) -> Mapping[str, int]:
    """Section -> how many calls it has."""
    return {name: sum(c.section == name for c in plan.tape.calls) for name in {c.section for c in plan.tape.calls}}
