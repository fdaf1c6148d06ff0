"""The ways a linear layer is computed, handed back to what they compute."""

from __future__ import annotations

from striate.kernels.reference.arrays import Array
from striate.kernels.reference.conv import linear, linear_dw, linear_dx
from striate.kernels.reference.optim import adam, sgd

linear_rows, linear_dx_rows = linear, linear_dx


def linear_dw_sgd(x: Array, dy: Array, w: Array, v: Array | None, lr: Array, *, momentum: float, nesterov: int,
                  weight_decay: float) -> tuple[Array, Array | None]:
    """SGD's next weight and velocity from the gradient that x and dy make."""
    return sgd(w, linear_dw(x, dy), v, lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)


def linear_dw_adam(x: Array, dy: Array, w: Array, m: Array, v: Array, lr: Array, step: Array, *, beta1: float,
                   beta2: float, eps: float, weight_decay: float, decoupled: int) -> tuple[Array, Array, Array]:
    """Adam's next weight and moments from the gradient that x and dy make."""
    return adam(w, linear_dw(x, dy), m, v, lr, step, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay,
                decoupled=decoupled)
