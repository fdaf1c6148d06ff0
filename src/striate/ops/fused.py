"""Operations that only `fuse` writes: a convolution or linear layer with the batch norm behind it folded in.

y = ((w x + b) - mean) / sqrt(var + eps) gamma + beta = w2 x + b2 with w2, b2 computed from states alone, in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from striate.graph import Cost, Op
from striate.kernels.contract import Spec
from striate.ops.conv import conv2d_cost, conv2d_forward, conv2d_shape, linear_cost, linear_forward, linear_shape

Kernels = Any
T = Any


def _with_norm(name: str, shape: Callable[..., tuple[Spec, ...]], forward: Callable[..., tuple[T, Any]],
               cost: Callable[..., Cost]) -> Op:
    def norm_shape(x: Spec, w: Spec, b: Spec | None, *vectors: Spec | None, eps: float,
                   **params: Any) -> tuple[Spec, ...]:
        return shape(x, w, b, **params)

    def norm_forward(k: Kernels, x: T, w: T, b: T, mean: T, var: T, gamma: T, beta: T, *, eps: float,
                     **params: Any) -> tuple[T, Any]:
        w2, b2 = k.fold_norm(w, b, mean, var, gamma, beta, eps=eps)
        y, _ = forward(k, x, w2, b2, **params)
        return y, ()

    def norm_cost(x: Spec, w: Spec, b: Spec | None, *vectors: Spec | None, eps: float, **params: Any) -> Cost:
        return cost(x, w, Spec(w.shape[:1]), **params)

    return Op(name, norm_shape, norm_forward, None, norm_cost, optional=(2, 5, 6))


conv2d_norm_op = _with_norm("conv2d_norm", conv2d_shape, conv2d_forward, conv2d_cost)
linear_norm_op = _with_norm("linear_norm", linear_shape, linear_forward, linear_cost)
