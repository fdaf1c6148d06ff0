"""Module: a network or a layer, a tree of states and of the operations that its `forward` applies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from striate.engine.programs import Programs, Request
from striate.engine.step import ValueAndGrad, evaluate
from striate.engine.trace import Loss
from striate.errors import ConfigError, ShapeError, unknown_name
from striate.graph import Array, Edits, Graph, State, Value
from striate.kernels.contract import Shape, Spec


class Module:
    """Subclass it, set layers and states as attributes, and write `forward(self, x)` with operations on x.

    Calling it on an array traces, plans and runs: `net(x)` evaluates, `net(x, training=True)` trains batch statistics
    and drops out; `tune=True` measures once which algorithm is the fastest for each layer. Setting an attribute is
    noticed: the next call plans again if the network became another one. What is changed inside a list, dict or array
    that is an attribute is not: set the attribute again.
    """

    def __init__(self) -> None:
        object.__setattr__(self, "_programs", None)

    def forward(self, x: Any) -> Any:
        """What the module computes from `x`, in operations."""
        raise NotImplementedError(f"{type(self).__name__}: forward is not written")

    def __call__(self, x: Any, /, *, training: bool = False, watch: Sequence[str] = (), seed: int = 0,
                 step: int = 0, tune: bool = False) -> Any:
        if isinstance(x, Value):
            return self._trace(x)
        return evaluate(self.programs, x, training=training, watch=watch, seed=seed, step=step, tune=tune)

    def _trace(self, x: Value) -> Any:
        graph = x.graph
        path = graph.paths.get(id(self), graph.path)
        with graph.scope(path, type(self).__name__):
            return self.forward(x)

    # ---- the tree

    def __setattr__(self, name: str, value: Any) -> None:
        old = self.__dict__.get(name)
        if isinstance(old, State) and not isinstance(value, State | None):
            old.assign(value)
            return
        object.__setattr__(self, name, value)
        Edits.advance()

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        Edits.advance()

    def children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the modules directly inside, those in lists, tuples and dicts included."""
        return _within(self, Module)

    def own_states(self) -> Iterator[tuple[str, State]]:
        """(name, state) of the states directly inside."""
        return _within(self, State)

    def modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(path, module) of this module and all inside; a shared one appears under its first path only."""
        found: dict[int, tuple[str, Module]] = {}
        self._walk(prefix, found)
        yield from found.values()

    def _walk(self, prefix: str, found: dict[int, tuple[str, Module]]) -> None:
        if id(self) not in found:
            found[id(self)] = prefix, self
            for name, child in self.children():
                child._walk(f"{prefix}.{name}" if prefix else name, found)

    def module_paths(self) -> dict[int, str]:
        """id of each module -> its path."""
        self.states()
        return {id(module): path for path, module in self.modules()}

    def states(self) -> dict[str, State]:
        """Path -> state of everything inside that outlives a run; its first numbers are drawn when they are needed."""
        found: dict[State, None] = {}
        for prefix, module in self.modules():
            for name, state in module.own_states():
                if state not in found:
                    state.path = f"{prefix}.{name}" if prefix else name
                    found[state] = None
        return {state.path: state for state in found}

    def initialize(self, seed: int = 0) -> Module:
        """Draws all initial weights anew, each keyed by (seed, its path)."""
        for state in self.states().values():
            state.initialize(seed)
        return self

    def parameters(self) -> dict[str, State]:
        """Path -> state of what is trained (or was, before `freeze`): everything but statistics."""
        return {path: s for path, s in self.states().items() if s.parameter}

    def structure(self) -> tuple[Any, ...]:
        """What decides the trace: paths, classes, arguments and the identity of states."""
        return tuple((path, type(m), *_arguments(m)) for path, m in self.modules())

    # ---- programs

    @property
    def programs(self) -> Programs:
        found: Programs | None = self.__dict__.get("_programs")
        if found is None:
            found = Programs(self)
            object.__setattr__(self, "_programs", found)
        return found

    def graph(self, input_shape: Shape, *, training: bool = False, batch: int = 1) -> Graph:
        """The graph for images of (C, H, W), before fusion."""
        return self.programs.graph(Request(Spec(tuple(input_shape)), training), batch)

    def release(self) -> None:
        """Gives back the memory of all programs; the next call plans again."""
        self.programs.release()

    # ---- states from outside

    @contextmanager
    def edit(self) -> Iterator[dict[str, Array]]:
        """Writable arrays of all states, path -> array, for the length of a with block."""
        states = self.states()
        for state in states.values():
            state.draw()
        arrays = {path: state.storage.view() for path, state in states.items()}
        Edits.open += 1
        try:
            yield arrays
        finally:
            Edits.open -= 1
            for array in arrays.values():
                array.flags.writeable = False
            Edits.advance()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_programs"}

    def load(self, arrays: dict[str, Array]) -> None:
        """Copies every array into the state of its path; all are checked before the first is copied.

        Raises: UnknownName, ConfigError for missing or surplus paths, ShapeError for another shape.
        """
        states = self.states()
        for path, array in arrays.items():
            if path not in states:
                raise unknown_name("load", "state", path, states)
            if np.shape(array) != states[path].shape:
                raise ShapeError(f"load: {path} needs shape {states[path].shape}, got {np.shape(array)}")
        missing = sorted(states.keys() - arrays.keys())
        if missing:
            raise ConfigError(f"load: needs an array for every state, missing {', '.join(missing[:5])}")
        for path, array in arrays.items():
            states[path].assign(array)

    def freeze(self, frozen: bool = True) -> Module:
        """Stops (or resumes) the training of all parameters inside; their gradients are no longer computed."""
        for state in self.parameters().values():
            state.trainable = not frozen
        Edits.advance()
        return self

    def __repr__(self) -> str:
        inner = [f"  ({name}): {child!r}".replace("\n", "\n  ") for name, child in self.children()]
        body = "\n".join(["", *inner, ""]) if inner else ""
        return f"{type(self).__name__}({self.extra_repr()}{body})"

    def extra_repr(self) -> str:
        """The arguments, as they would be written."""
        return ""


def _within(module: Module, kind: type) -> Iterator[tuple[str, Any]]:
    for name, value in vars(module).items():
        if isinstance(value, (kind, list, tuple, dict)):  # of an ordinary attribute no generator is made
            yield from _inside(name, value, kind)


def _inside(name: str, value: Any, kind: type) -> Iterator[tuple[str, Any]]:
    """(path, item) of every item of `kind` in an attribute: itself, or in lists, tuples and dicts however deep."""
    if isinstance(value, kind):
        yield name, value
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _inside(f"{name}.{i}", item, kind)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _inside(f"{name}.{key}", item, kind)


def _arguments(module: Module) -> Iterator[Any]:
    for name, state in module.own_states():
        yield name, id(state), state.trainable
    for name, value in vars(module).items():
        if isinstance(value, Module | State) or name == "_programs":
            continue
        if isinstance(value, list | tuple | dict) and any(_inside(name, value, Module)):
            yield name, len(value)
        elif isinstance(value, np.ndarray):
            yield name, value.shape, value.tobytes()
        else:
            yield name, value if isinstance(value, str | int | float | tuple | None) else id(value)


def value_and_grad(net: Module, loss: Loss, watch: Sequence[str] = (), *,
                   memory_budget: int | None = None) -> ValueAndGrad:
    """A function (x, targets) -> (loss, {parameter path: gradient}); with watch= also {name: array}.

    `loss(outputs, targets)` gives a scalar Value, as ops.cross_entropy does. States are not changed, except batch
    statistics, which training moves. With memory_budget= it needs at most so many bytes (states, activations,
    gradients and scratch, not its results): some values are computed twice for that, to the same bits.
    Raises: LimitError, when called, with the bytes that are missing.
    >>> step = value_and_grad(net, ops.cross_entropy)
    >>> loss, grads = step(x, targets)
    """
    if not isinstance(net, Module):
        raise ConfigError(f"value_and_grad: needs a Module, got {type(net).__name__}")
    if not callable(loss):
        raise ConfigError(f"value_and_grad: needs a loss, a function of (outputs, targets), got {loss!r}")
    return ValueAndGrad(net.programs, loss, watch, memory_budget)
