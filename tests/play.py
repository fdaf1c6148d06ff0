"""A row traced, and its graph played call by call by any kernel set, forward and backward: an engine in forty lines.

It shares nothing with striate.engine, so that the two can be compared.
"""

from __future__ import annotations

import functools

import numpy as np

from arrays import arrays_of, plain
from cases import Call
from striate import ops
from striate.graph import Graph, find_op
from striate.kernels import reference
from striate.kernels.contract import ROWS, Spec
from striate.ops.dispatch import run


def invoke(op, tensors, options):
    """The operation on arrays or Values: its public function, or the operation itself where only `fuse` writes it."""
    if op == "callback":
        rest = {name: value for name, value in options.items() if name != "function"}
        return ops.callback(options["function"], *tensors.values(), **rest)
    if op not in ops.__all__ or "activation" in options:
        params = {name: value for name, value in options.items() if name != "kernels"}
        return run(find_op(op), tuple(tensors.values()), params, options.get("kernels", "native"))
    return getattr(ops, op)(**tensors, **options)


def many(y):
    return y if isinstance(y, tuple) else (y,)


class Playback:
    """One case traced on its arrays; `forward` and `backward` run it by a kernel set in the arrays' dtype."""

    def __init__(self, case, arrays):
        self.graph, self.feed = Graph(training=True), {}
        tensors = {name: self.fed(name, value) for name, value in arrays.items()}
        self.outputs = many(invoke(case.op, tensors, case.options))
        for scalar in self.graph.inputs:
            self.feed.setdefault(scalar, np.array(5, np.int64))  # seed and step of dropout

    def fed(self, name, value):
        if isinstance(value, list) and name == "values":
            return [self.fed(name, v) for v in value]
        if not isinstance(value, np.ndarray):
            return value
        entry = self.graph.add_input(name, Spec(value.shape, value.dtype.newbyteorder("=").name))
        self.feed[entry] = value
        return entry

    def forward(self, k, feed):
        at, self.saved = dict(feed), {}
        dtype = next(x.dtype for x in feed.values() if x.dtype.kind == "f")

        def found(value):
            if value is not None and value not in at:
                at[value] = value.source.astype(dtype) if value.source.dtype.kind == "f" else value.source
            return None if value is None else at[value]

        for node in self.graph.nodes:
            y, self.saved[node] = node.op.forward(k, *map(found, node.inputs), **node.params)
            at.update(zip(node.outputs, many(y), strict=True))
        return [at[v] for v in self.outputs]

    def backward(self, k, dys):
        """The gradient of every input that has one."""
        gradients = dict(zip(self.outputs, dys, strict=True))
        for node in reversed(self.graph.nodes):
            behind = [gradients.get(v) for v in node.outputs]
            if node.op.backward is None or all(dy is None for dy in behind):
                continue
            dxs = node.op.backward(k, self.saved[node], *behind, **node.params)
            for value, dx in zip(node.inputs, dxs, strict=True):
                if dx is not None:
                    gradients[value] = k.add(gradients[value], dx) if value in gradients else dx
        return {value: gradients[value] for value in self.feed if value in gradients}


class Spy:
    """A kernel set that notes every call as (kernel, tensors, parameters, outputs), and lends its inputs read-only."""

    def __init__(self, k):
        self.k, self.calls = k, []

    def __getattr__(self, name):
        kernel = getattr(self.k, name)
        if name not in ROWS:
            return kernel

        def call(*tensors, **params):
            tensors = tuple(None if t is None else locked(t) for t in tensors)
            y = kernel(*tensors, **params)
            self.calls.append((name, tensors, params, many(y) if y is not None else ()))
            return y

        return call


def locked(array):
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


@functools.cache
def spied(case):
    """Every kernel call of a row, in float64 by the reference: forward, and backward from random gradients."""
    spy = Spy(reference.kernels())
    if isinstance(case, Call):
        getattr(spy, case.kernel)(*arrays_of(case).values(), **case.params)
        return spy.calls
    played = Playback(case, {name: plain(value) for name, value in arrays_of(case).items()})
    ys = played.forward(spy, played.feed)
    rng = np.random.default_rng(len(str(case)))
    played.backward(spy, [rng.standard_normal(y.shape) for y in ys])
    return spy.calls
