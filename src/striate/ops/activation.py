"""Activations, their gradient a function of their output or of their input, and dropout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from striate.errors import unknown_name
from striate.graph import Cost, Op, Value, elements
from striate.kernels.contract import ROWS, Spec
from striate.kernels.random import key_of
from striate.ops.arguments import FINITE, integer, number
from striate.ops.dispatch import need_float, run

Kernels = Any
T = Any


def _from_output(name: str) -> Op:
    """The op `name`: y = k.name(x), dx = k.name_grad(y, dy)."""

    def shape(x: Spec) -> tuple[Spec, ...]:
        need_float(name, x)
        return ROWS[name].shapes(x)

    def forward(k: Kernels, x: T) -> tuple[T, Any]:
        y = getattr(k, name)(x)
        return y, (y,)

    def backward(k: Kernels, saved: Any, dy: T) -> tuple[T, ...]:
        (y,) = saved
        return (getattr(k, f"{name}_grad")(y, dy),)

    return Op(name, shape, forward, backward, per_element(1))


def _from_input(name: str, operations: int) -> Op:
    """The op `name`: y = k.name(x), dx = k.name_grad(x, dy)."""

    def shape(x: Spec, **params: Any) -> tuple[Spec, ...]:
        need_float(name, x)
        return ROWS[name].shapes(x, **params)

    def forward(k: Kernels, x: T, **params: Any) -> tuple[T, Any]:
        return getattr(k, name)(x, **params), (x,)

    def backward(k: Kernels, saved: Any, dy: T, **params: Any) -> tuple[T, ...]:
        (x,) = saved
        return (getattr(k, f"{name}_grad")(x, dy, **params),)

    return Op(name, shape, forward, backward, per_element(operations))


def per_element(operations: int) -> Callable[..., Cost]:
    """The cost of an operation that does so many floating-point operations for each element of its first input."""
    return lambda x, *_, **__: Cost(other=operations * elements(x))


relu_op, tanh_op, sigmoid_op, relu6_op = (_from_output(name) for name in ("relu", "tanh", "sigmoid", "relu6"))
leaky_relu_op, hard_swish_op, gelu_op = (_from_input(name, operations) for name, operations in
                                         (("leaky_relu", 1), ("hard_swish", 4), ("gelu", 2)))
GELU_FORMS = ("none", "tanh")  # what `approximate` may be
softmax_op, log_softmax_op = (_from_output(name) for name in ("softmax", "log_softmax"))


def relu(x: T, *, kernels: str = "native") -> T:
    """max(x, 0) elementwise; NaN stays NaN. Ref: Nair and Hinton 2010, ICML."""
    return run(relu_op, (x,), None, kernels)


def tanh(x: T, *, kernels: str = "native") -> T:
    """The hyperbolic tangent elementwise."""
    return run(tanh_op, (x,), None, kernels)


def sigmoid(x: T, *, kernels: str = "native") -> T:
    """1 / (1 + exp(-x)) elementwise."""
    return run(sigmoid_op, (x,), None, kernels)


def relu6(x: T, *, kernels: str = "native") -> T:
    """min(max(x, 0), 6) elementwise; NaN stays NaN. Ref: Sandler et al. 2018, arXiv 1801.04381."""
    return run(relu6_op, (x,), None, kernels)


def leaky_relu(x: T, slope: float = 0.01, *, kernels: str = "native") -> T:
    """x where x > 0, else slope * x. Ref: Maas et al. 2013, ICML workshop on deep learning, eq. 2."""
    return run(leaky_relu_op, (x,), dict(slope=number("leaky_relu", "slope", slope, *FINITE)), kernels)


def hard_swish(x: T, *, kernels: str = "native") -> T:
    """x * relu6(x + 3) / 6 elementwise. Ref: Howard et al. 2019, arXiv 1905.02244, section 5.2."""
    return run(hard_swish_op, (x,), None, kernels)


def gelu(x: T, approximate: str = "none", *, kernels: str = "native") -> T:
    """x times the share of the standard normal distribution below x; approximate="tanh" takes a curve close to it.

    x (1 + erf(x / sqrt(2))) / 2, or x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
    Ref: Hendrycks and Gimpel 2016, arXiv 1606.08415, section 2.
    """
    if approximate not in GELU_FORMS:
        raise unknown_name("gelu", "form (approximate)", approximate, GELU_FORMS)
    return run(gelu_op, (x,), dict(tanh=GELU_FORMS.index(approximate)), kernels)


def softmax(x: T, *, kernels: str = "native") -> T:
    """exp(x) / sum of exp(x) over the classes, axis 1.

    Shapes: x (N, C) or (N, C, H, W) -> the same.
    """
    return run(softmax_op, (x,), None, kernels)


def log_softmax(x: T, *, kernels: str = "native") -> T:
    """x - log(sum of exp(x)) over the classes, axis 1.

    Shapes: x (N, C) or (N, C, H, W) -> the same.
    """
    return run(log_softmax_op, (x,), None, kernels)


# ---- dropout

def dropout_shape(x: Spec, seed: Spec, step: Spec, *, p: float, key: int) -> tuple[Spec, ...]:
    need_float("dropout", x)
    return (x,)


def dropout_forward(k: Kernels, x: T, seed: T, step: T, *, p: float, key: int) -> tuple[T, Any]:
    return k.dropout(x, seed, step, p=p, key=key, first=0), (seed, step)


def dropout_backward(k: Kernels, saved: Any, dy: T, *, p: float, key: int) -> tuple[T, ...]:
    seed, step = saved  # the same counter gives the same mask again, so none is stored
    return k.dropout(dy, seed, step, p=p, key=key, first=0), None, None


dropout_op = Op("dropout", dropout_shape, dropout_forward, dropout_backward, per_element(1))


def dropout(x: T, p: float = 0.5, *, seed: int = 0, step: int = 0, kernels: str = "native") -> T:
    """x with each element zeroed with probability p and the rest divided by 1 - p.

    In a traced network seed and step are the run's own and the key is the layer's path, so each step draws anew.
    Raises: ConfigError unless 0 <= p < 1.
    Ref: Srivastava et al. 2014, JMLR 15; Philox counter-based bits, Salmon et al. 2011.
    """
    chance = number("dropout", "p", p, 0.0, 1.0 - 2.0**-24)
    if isinstance(x, Value):
        graph = x.graph
        calls = sum(node.op is dropout_op and node.path == graph.path for node in graph.nodes)
        params = dict(p=chance, key=key_of(f"{graph.path}#{calls}"))
        return run(dropout_op, (x, graph.scalar("seed", "int64"), graph.scalar("step", "int64")), params)
    seeds = (integer("dropout", "seed", seed, 0, 2**63 - 1), integer("dropout", "step", step, 0, 2**63 - 1))
    return run(dropout_op, (x, *seeds), dict(p=chance, key=0), kernels)
