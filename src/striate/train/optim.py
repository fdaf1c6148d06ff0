"""Optimisers, written against a kernel set like an operation: one call a parameter, neighbours merged when chosen."""

from __future__ import annotations

from typing import Any, ClassVar

from striate.errors import ConfigError
from striate.graph import State
from striate.ops.arguments import flag, number

Kernels = Any
T = Any


MAX_LR = 1e38  # float32 ends at 3.4e38


class _Optimizer:
    """Keeps the slots of every parameter: states of their own, made when a step is first planned."""

    scalars: ClassVar[dict[str, str]] = {"lr": "float32"}
    slot_names: tuple[str, ...] = ()

    def __init__(self, lr: float) -> None:
        self.lr = number(type(self).__name__, "lr", lr, 0.0, MAX_LR)
        if self.lr == 0.0:
            raise ConfigError(f"{type(self).__name__}: lr must be positive, got {lr}")
        self._slots: dict[State, tuple[State, ...]] = {}

    def slots(self, state: State) -> tuple[State, ...]:
        """The states kept for a parameter, zero at first."""
        if state not in self._slots:
            self._slots[state] = tuple(
                State.zeros(state.shape, trainable=False, path=f"{state.path}.{name}") for name in self.slot_names
            )
        return self._slots[state]

    def states(self) -> dict[str, State]:
        """Path -> slot of all parameters that were stepped."""
        return {slot.path: slot for slots in self._slots.values() for slot in slots}


class SGD(_Optimizer):
    """Stochastic gradient descent: g += weight_decay w; v = momentum v + g; w -= lr v (nesterov: lr (g + momentum v)).

    Ref: Sutskever et al. 2013, ICML, eq. 1-4, in the form of PyTorch's torch.optim.SGD.
    """

    def __init__(self, lr: float = 0.01, momentum: float = 0.0, nesterov: bool = False,
                 weight_decay: float = 0.0) -> None:
        super().__init__(lr)
        self.momentum = number("SGD", "momentum", momentum, 0.0, 1.0)
        self.nesterov = flag("SGD", "nesterov", nesterov)
        self.weight_decay = number("SGD", "weight_decay", weight_decay, 0.0)
        if nesterov and not momentum:
            raise ConfigError("SGD: nesterov needs momentum above 0, got 0")
        self.slot_names = ("velocity",) if momentum else ()

    def update(self, k: Kernels, w: T, g: T, slots: tuple[T, ...], scalars: dict[str, T]) -> tuple[T, ...]:
        """The new weight and velocity."""
        v = slots[0] if slots else None
        w2, v2 = k.sgd(w, g, v, scalars["lr"], momentum=self.momentum, nesterov=int(self.nesterov),
                       weight_decay=self.weight_decay)
        return (w2, v2) if slots else (w2,)

    def __repr__(self) -> str:
        return (
            f"SGD(lr={self.lr}, momentum={self.momentum}, nesterov={self.nesterov}, weight_decay={self.weight_decay})"
        )


class Adam(_Optimizer):
    """Adaptive moments; with decoupled=True the weight decay of AdamW.

    Ref: Kingma and Ba 2015, arXiv 1412.6980, algorithm 1; Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2.
    """

    scalars: ClassVar[dict[str, str]] = {"lr": "float32", "step": "int64"}
    slot_names = ("moment1", "moment2")

    def __init__(self, lr: float = 0.001, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0.0, decoupled: bool = False) -> None:
        super().__init__(lr)
        self.beta1, self.beta2 = (number("Adam", "betas", b, 0.0, 1.0 - 1e-9) for b in betas)
        self.eps = number("Adam", "eps", eps, 0.0)
        self.weight_decay = number("Adam", "weight_decay", weight_decay, 0.0)
        self.decoupled = flag("Adam", "decoupled", decoupled)

    def update(self, k: Kernels, w: T, g: T, slots: tuple[T, ...], scalars: dict[str, T]) -> tuple[T, ...]:
        """The new weight and both moments."""
        m, v = slots
        return tuple(k.adam(
            w, g, m, v, scalars["lr"], scalars["step"], beta1=self.beta1, beta2=self.beta2, eps=self.eps,
            weight_decay=self.weight_decay, decoupled=int(self.decoupled),
        ))

    def __repr__(self) -> str:
        return (
            f"Adam(lr={self.lr}, betas=({self.beta1}, {self.beta2}), eps={self.eps}, "
            f"weight_decay={self.weight_decay}, decoupled={self.decoupled})"
        )
