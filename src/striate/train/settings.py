"""The settings of a training, checked once, and what of them must be equal for a resumed run to give the same bits."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

import striate
from striate.data import Dataset, Loader, as_float
from striate.engine.step import TrainingStep
from striate.engine.trace import Loss
from striate.errors import ConfigError, DtypeError
from striate.graph import Graph, State
from striate.kernels import native
from striate.models import name_of
from striate.nn import Module
from striate.ops.arguments import integer
from striate.train.evaluation import correct
from striate.train.optim import SGD, Adam
from striate.train.schedule import Schedule, describe

# The same images may be found under another name elsewhere.
MOVABLE = {(part, key) for part in ("train", "test") for key in ("name", "origin")}
USUAL = {"precision": "default", "tune": False}  # what a run had that does not say


@dataclass(frozen=True, eq=False)
class Settings:
    """What is trained, on what, and how. `notes` are kept in config.json as they are."""

    net: Module
    train: Dataset
    test: Dataset | None
    epochs: int
    batch_size: int
    optimizer: SGD | Adam
    schedule: Schedule
    loss: Loss
    seed: int
    save_every: int  # steps; 0 saves at the end of each epoch only
    tune: bool = False
    notes: Mapping[str, Any] = field(default_factory=dict)
    memory_budget: int | None = None  # bytes that a step may need

    def __post_init__(self) -> None:
        if not isinstance(self.net, Module):
            raise ConfigError(f"train: net must be a Module, got {type(self.net).__name__}")
        integer("train", "epochs", self.epochs)
        integer("train", "batch_size", self.batch_size)
        integer("train", "seed", self.seed, 0, 2**63 - 1)
        integer("train", "save_every", self.save_every, 0)
        if not callable(self.schedule) or not callable(self.loss):
            raise DtypeError("train: schedule and loss must be functions, as train.cosine() and ops.cross_entropy are")
        if not hasattr(self.optimizer, "update"):
            raise DtypeError(f"train: optimizer must be an SGD or Adam, got {type(self.optimizer).__name__}")
        if self.test is not None and self.test.image_shape != self.train.image_shape:
            raise ConfigError(
                f"train: train and test images must have one shape, got {self.train.image_shape} "
                f"and {self.test.image_shape}"
            )
        self.schedule(0, self.steps)  # a warm-up longer than the run is refused now, not at its first step

    @cached_property
    def loader(self) -> Loader:
        return Loader(self.train, self.batch_size, seed=self.seed)

    @cached_property
    def training_step(self) -> TrainingStep:
        return TrainingStep(self.net.programs, self.loss, self.optimizer, {"correct": correct}, tune=self.tune,
                            memory_budget=self.memory_budget)

    def plan(self) -> None:
        """Plans the first step, so that what does not fit together is found before anything is written."""
        first = np.arange(min(self.batch_size, len(self.train)))
        self.training_step.program(as_float(self.train.images[first]), self.train.labels[first])

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.train) // self.batch_size)

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.epochs * self.steps_per_epoch

    def lr(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return self.optimizer.lr * self.schedule(step, self.steps)

    def slots(self) -> dict[str, State]:
        """Path -> the optimiser's state of every parameter that is trained."""
        trained = [s for s in self.net.parameters().values() if s.trainable]
        return {slot.path: slot for s in trained for slot in self.optimizer.slots(s)}

    # ---- config.json

    def config(self) -> dict[str, Any]:
        """Everything that would be needed to do it again."""
        weights = hashlib.sha256()
        for path, state in sorted(self.net.states().items()):
            weights.update(path.encode() + state.array.tobytes())
        return dict(
            started=time.strftime("%Y-%m-%d %H:%M:%S %z"),
            **self.identity(),
            initial_weights=weights.hexdigest(),
            machine=dict(isa=native.default_isa(), threads=native.get_threads(), platform=platform.platform()),
            versions=dict(striate=striate.__version__, python=platform.python_version(), numpy=np.__version__),
            notes=dict(self.notes),
        )

    def identity(self) -> dict[str, Any]:
        """What decides the bits of a run, apart from the instruction set."""
        shape = self.train.image_shape
        return dict(
            net=dict(name=name_of(self.net), input_shape=list(shape),
                     architecture=architecture(self.net.graph(shape, training=True, batch=2))),
            train=_data(self.train),
            test=self.test and _data(self.test),
            arguments=dict(
                epochs=self.epochs, batch_size=self.batch_size, optimizer=repr(self.optimizer),
                schedule=describe(self.schedule), schedule_factors=self._factors(), loss=function_name(self.loss),
                seed=self.seed, precision=native.get_precision(), tune=self.tune,
            ),
        )

    def _factors(self) -> str:
        """A hash of what the schedule gives: two functions of one name may still differ."""
        steps = np.unique(np.linspace(0, self.steps - 1, 1000).astype(int)).tolist()
        factors = np.array([self.schedule(step, self.steps) for step in steps], "<f8")
        return hashlib.sha256(factors.tobytes()).hexdigest()[:16]

    def compare(self, saved: Mapping[str, Any]) -> None:
        """Raises: ConfigError that names what differs from the configuration of the run to resume."""
        for room, now in self.identity().items():
            before = saved.get(room)
            if before == now:
                continue
            if not isinstance(now, dict) or not isinstance(before, dict):
                raise ConfigError(f"train: to resume, {room} must be as it was, {_brief(before)}; got {_brief(now)}")
            for key in now:
                if now[key] != before.get(key, USUAL.get(key)) and (room, key) not in MOVABLE:
                    what = key if room == "arguments" else f"{room} {key}"
                    raise ConfigError(
                        f"train: to resume, {what} must be as it was, {_brief(before.get(key))}; got {_brief(now[key])}"
                    )


def function_name(function: Any) -> str:
    """Where a function is defined, as far as it can be said."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', '')}.{name}"


def architecture(graph: Graph) -> str:
    """A hash of what a graph computes: its operations, their parameters, shapes and states."""
    lines = []
    for node in graph.nodes:
        params = sorted((k, function_name(p) if callable(p) else p) for k, p in node.params.items())
        inputs = [None if v is None else (v.name, v.shape) for v in node.inputs]
        lines.append(f"{node.path} {node.op.name} {params} {inputs}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _data(data: Dataset) -> dict[str, Any]:
    return dict(name=data.name, images=len(data), fingerprint=data.fingerprint, classes=list(data.classes),
                origin=data.origin)


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
