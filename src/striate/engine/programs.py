"""The programs of one net: traced, fused, recorded, chosen and placed once, then kept while the net stays the same."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from striate.engine.choose import choose
from striate.engine.fuse import fuse
from striate.engine.place import Plan, place
from striate.engine.program import Arena, Program, scratch_bytes
from striate.engine.record import Optimizer, record
from striate.engine.tape import Tape
from striate.engine.trace import Loss, Network, trace
from striate.engine.tune import tune
from striate.errors import ConfigError
from striate.graph import Edits, Graph, State
from striate.kernels import native
from striate.kernels.contract import Spec

KEPT = 8  # programs; the arena is as large as the largest of them


@dataclass(frozen=True)
class Request:
    """What a program is to do, apart from the batch size. Two equal requests share one trace."""

    image: Spec  # one image: (C, H, W), or (C,)
    training: bool = False
    loss: Loss | None = None
    targets: Spec | None = None  # one image's target
    metrics: tuple[tuple[str, Any], ...] = ()
    gradients: bool = False
    outputs: bool = True  # whether the net's own outputs are results, or only loss and metrics
    watch: tuple[str, ...] = ()
    optimizer: Optimizer | None = None
    tune: bool = False  # whether algorithms are chosen by measuring
    memory_budget: int | None = None  # bytes that a run may need; None: as many as it likes

    def __hash__(self) -> int:
        return self._hash

    @functools.cached_property
    def _hash(self) -> int:
        return hash(tuple(getattr(self, f.name) for f in fields(self)))


At = tuple[int, str, int, str]  # batch size, instruction set, threads, precision
Latest = tuple[Request, At, Program]


class Programs:
    """Builds programs for a net and keeps the last few; all share one arena.

    While nothing in the process was edited, a kept program is valid at the price of one comparison; after an edit the
    net's structure is compared, and only a real difference plans again.
    """

    def __init__(self, net: Network) -> None:
        self.net = net
        self.arena = Arena()
        self.tuned: Mapping[str, str] = {}  # what programs of this net were tuned to
        self._graphs: OrderedDict[Request, Graph] = OrderedDict()
        self._programs: OrderedDict[Hashable, Program] = OrderedDict()
        self._seen = -1
        self._structure: tuple[Any, ...] = ()
        self._latest: Latest | None = None

    def get(self, request: Request, batch: int) -> Program:
        """The program of `request` for a batch size."""
        if self._seen != Edits.count:
            self._refresh()
        at = (batch, native.default_isa(), native.get_threads(), native.get_precision())
        latest = self._latest
        if latest is not None and latest[0] is request and latest[1] == at:
            return latest[2]
        program = self._found(request, at)
        self._latest = (request, at, program)
        return program

    def _found(self, request: Request, at: At) -> Program:
        key = (request, *at)
        program = self._programs.get(key)
        if program is not None:
            self._programs.move_to_end(key)
            return program
        program = self._build(request, at[0])
        self._programs[key] = program
        self._seen = Edits.count  # building makes states of its own (optimiser slots); they edit nothing that was there
        while len(self._programs) > KEPT:
            self._programs.popitem(last=False)
        return program

    def graph(self, request: Request, batch: int) -> Graph:
        """The graph of `request`, before fusion, for a batch size."""
        if self._seen != Edits.count:
            self._refresh()
        if request not in self._graphs:
            self._graphs[request] = self._trace(request, batch)
            while len(self._graphs) > KEPT:
                self._graphs.popitem(last=False)
        graph = self._graphs[request]
        return graph if graph.inputs[0].shape[0] == batch else graph.rebatch(batch)

    def retune(self, tuned: Mapping[str, str]) -> None:
        """Takes the algorithms of an earlier run; what they do not name is measured when it is met."""
        if not tuned.items() <= self.tuned.items():
            self.tuned = dict(tuned)
            self._programs.clear()
            self._latest = None

    def release(self) -> None:
        """Gives back the arena and forgets all programs."""
        self._programs.clear()
        self._latest = None
        self._graphs.clear()
        self.arena.release()

    def _refresh(self) -> None:
        structure = self.net.structure()
        if structure != self._structure:
            self._graphs.clear()
            self._programs.clear()
            self._latest = None
            self._structure = structure
        self._seen = Edits.count

    def _trace(self, request: Request, batch: int) -> Graph:
        targets = request.targets and Spec((batch, *request.targets.shape), request.targets.dtype)
        graph = trace(
            self.net, Spec((batch, *request.image.shape), request.image.dtype), training=request.training,
            loss=request.loss, targets=targets, metrics=dict(request.metrics),
        )
        if not request.outputs:
            graph.outputs = {n: v for n, v in graph.outputs.items() if n == "loss" or n in dict(request.metrics)}
        self._need_states(graph)
        for name in request.watch:
            graph.outputs[f"watch.{name}"] = graph.find(name)
        return graph

    def _need_states(self, graph: Graph) -> None:
        known = set(self.net.states().values())
        for node in graph.nodes:
            lost = [v for v in node.inputs if v is not None and isinstance(v.source, State) and v.source not in known]
            if lost:
                raise ConfigError(
                    f"net: a state of shape {lost[0].shape} is used that no attribute of the network leads to; keep "
                    "its layer as an attribute, or in a list or dict that is one"
                ).within(node.path, node.op.name)

    def plan(self, request: Request, batch: int) -> Plan:
        """What the program of `request` needs, without the program: no number is drawn and no memory touched."""
        isa, threads = native.default_isa(), native.get_threads()
        tape = self._tape(self.graph(request, batch), request, isa, threads)
        return place(tape, functools.partial(scratch_bytes, isa, threads), memory_budget=request.memory_budget)

    def _build(self, request: Request, batch: int) -> Program:
        graph = self.graph(request, batch)
        isa, threads = native.default_isa(), native.get_threads()
        return Program(self._tape(graph, request, isa, threads), isa=isa, threads=threads, arena=self.arena,
                       nest=graph.nest, memory_budget=request.memory_budget)

    def _tape(self, graph: Graph, request: Request, isa: str, threads: int) -> Tape:
        """What a program of `graph` does, its algorithms chosen."""
        fused = fuse(graph)
        target = native.target(isa, training=request.training)
        loss = fused.outputs.get("loss") if request.gradients or request.optimizer else None
        tape = record(fused, target, loss=loss, gradients=request.gradients, optimizer=request.optimizer)
        if request.tune:
            found = tune(tape, target, self.tuned, threads)
            self.tuned = {**self.tuned, **found}
            target = replace(target, tuned=tuple(sorted(found.items())))
        return choose(tape, target)


