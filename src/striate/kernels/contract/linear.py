"""Rows of the ways a linear layer is computed from its weights as they lie, and of dW fused with the update."""

from __future__ import annotations

from striate.kernels.contract.row import ROWS, Spec, need_rank, need_shape, row


def _weights(who: str, x: Spec, dy: Spec, w: Spec, *slots: Spec | None) -> tuple[Spec | None, ...]:
    """w and its slots, which have the shape of the gradient that x and dy make."""
    need_rank(who, "x", x, 2)
    need_rank(who, "dy", dy, 2)
    need_shape(who, "dy", dy, (x.shape[0], dy.shape[1]), "(N, O)")
    for name, spec in zip("wmv", (w, *slots), strict=False):
        need_shape(who, name, spec, (dy.shape[1], x.shape[1]), "(O, C)")
    return w, *slots


row("linear_rows", "x w b? -> y", "activation:1", ROWS["linear"].shapes, algorithm=True)
row("linear_dx_rows", "dy w -> dx", "", ROWS["linear_dx"].shapes, algorithm=True)
row("linear_dw_sgd", "x dy w v? lr -> w2 v2?", "momentum:f nesterov:1 weight_decay:f",
    lambda x, dy, w, v, lr, **_: _weights("linear_dw_sgd", x, dy, w, v), overwrites=((0, 2), (1, 3)), algorithm=True)
row("linear_dw_adam", "x dy w m v lr step -> w2 m2 v2", "beta1:f beta2:f eps:f weight_decay:f decoupled:1",
    lambda x, dy, w, m, v, lr, step, **_: _weights("linear_dw_adam", x, dy, w, m, v),
    overwrites=((0, 2), (1, 3), (2, 4)), algorithm=True)
