"""Operations that only `fuse` writes: a convolution with what stands behind it, and batch norm as one pass.

In inference y = ((w x + b) - mean) / sqrt(var + eps) gamma + beta = w2 x + b2 with w2, b2 computed from states alone,
in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from striate.graph import Cost, Op
from striate.kernels.contract import ROWS, Spec
from striate.ops.activation import per_element
from striate.ops.conv import (
    conv2d_cost,
    conv2d_forward,
    conv2d_gradients,
    conv2d_shape,
    linear_cost,
    linear_forward,
    linear_shape,
)
from striate.ops.dispatch import need_float

Kernels = Any
T = Any


# ---- convolution with the batch statistics of its result

def conv2d_moments_shape(x: Spec, w: Spec, b: Spec | None, *, flip: bool, **at: Any) -> tuple[Spec, ...]:
    need_float("conv2d", x, w, b)
    return ROWS["conv2d_moments"].shapes(x, w, b, **at)


def conv2d_moments_forward(k: Kernels, x: T, w: T, b: T, *, flip: bool, **at: Any) -> tuple[Any, Any]:
    filters = k.flip(w) if flip else w
    y, mean, var, unbiased = k.conv2d_moments(x, filters, b, **at)
    return (y, mean, var, unbiased), (x, filters, b is not None, y, mean)


def conv2d_moments_backward(k: Kernels, saved: Any, dy: T, *dmoments: T, flip: bool, **at: Any) -> tuple[T, ...]:
    x, filters, has_bias, y, mean = saved
    if any(d is not None for d in dmoments):
        through = k.batch_moments_dx(y, mean, *dmoments)
        dy = through if dy is None else k.add(dy, through)
    return conv2d_gradients(k, x, filters, has_bias, dy, flip=flip, **at)


def conv2d_moments_cost(x: Spec, w: Spec, b: Spec | None, **params: Any) -> Cost:
    cost = conv2d_cost(x, w, b, activation=0, **params)
    y = conv2d_shape(x, w, b, activation=0, **params)[0]
    return Cost(cost.macs, cost.other + per_element(4)(y).other)


conv2d_moments_op = Op("conv2d_moments", conv2d_moments_shape, conv2d_moments_forward, conv2d_moments_backward,
                       conv2d_moments_cost, optional=(2,))


# ---- convolution, activation and 2x2 max-pool

def conv2d_max_pool_shape(x: Spec, w: Spec, b: Spec | None, *, flip: bool, **params: Any) -> tuple[Spec, ...]:
    need_float("conv2d", x, w, b)
    return ROWS["conv2d_max_pool"].shapes(x, w, b, **params)[:1]


def conv2d_max_pool_forward(k: Kernels, x: T, w: T, b: T, *, flip: bool, **params: Any) -> tuple[T, Any]:
    filters = k.flip(w) if flip else w
    y, index = k.conv2d_max_pool(x, filters, b, **params)
    return y, (x, filters, y, index, b is not None)


def conv2d_max_pool_backward(k: Kernels, saved: Any, dy: T, *, flip: bool, activation: int, **at: Any) -> tuple[T, ...]:
    x, filters, y, index, has_bias = saved
    # A pooled value passed the activation exactly if the pixel it came from did: the map before the pool is not kept.
    passed = y if activation else None
    dw, db = k.conv2d_max_pool_dw(x, dy, index, passed, kernel=filters.shape[2:], **at)
    dx = k.conv2d_max_pool_dx(dy, index, passed, filters, size=x.shape[2:], **at)
    return dx, k.flip(dw) if flip else dw, db if has_bias else None


def conv2d_max_pool_cost(x: Spec, w: Spec, b: Spec | None, **params: Any) -> Cost:
    cost = conv2d_cost(x, w, b, **params)
    y = conv2d_shape(x, w, b, **params)[0]
    return Cost(cost.macs, cost.other + per_element(1)(y).other)


conv2d_max_pool_op = Op("conv2d_max_pool", conv2d_max_pool_shape, conv2d_max_pool_forward, conv2d_max_pool_backward,
                        conv2d_max_pool_cost, optional=(2,))


# ---- batch norm, residual and activation

def norm_act_shape(x: Spec, mean: Spec, var: Spec, gamma: Spec | None, beta: Spec | None, r: Spec | None = None, *,
                   eps: float, activation: int, own: int) -> tuple[Spec, ...]:
    need_float("batch_norm", x, mean, var, gamma, beta, r)
    return ROWS["norm_act"].shapes(x, mean, var, gamma, beta, r, eps=eps, activation=activation)


def norm_act_forward(k: Kernels, x: T, mean: T, var: T, gamma: T, beta: T, r: T = None, *, eps: float, activation: int,
                     own: int) -> tuple[T, Any]:
    y = k.norm_act(x, mean, var, gamma, beta, r, eps=eps, activation=activation)
    return y, (x, mean, var, gamma, beta, y if r is not None else None)


def norm_act_backward(k: Kernels, saved: Any, dy: T, *, eps: float, activation: int, own: int) -> tuple[T, ...]:
    """The statistics send no gradient of their own: they are fixed, or (own) x's, whose share is in dx already."""
    x, mean, var, gamma, beta, y = saved
    masked = activation if y is not None else 0  # without a residual the kernels recompute the mask from x
    sums = k.norm_act_sums(x, dy, mean, var, gamma, beta, y if masked else None, eps=eps, activation=activation)
    sum_dz, sum_dz_xhat, dz = sums
    dz = dz if masked else dy
    dx = k.norm_act_dx(x, dz, mean, var, gamma, beta, sum_dz, sum_dz_xhat, eps=eps,
                       activation=0 if masked else activation, own=own)
    dgamma, dbeta = None if gamma is None else sum_dz_xhat, None if beta is None else sum_dz
    return (dx, None, None, dgamma, dbeta, *(() if y is None else (dz,)))


def norm_act_cost(x: Spec, *others: Spec | None, eps: float, activation: int, own: int) -> Cost:
    return per_element(2 + (activation != 0) + (len(others) > 4))(x)


norm_act_op = Op("norm_act", norm_act_shape, norm_act_forward, norm_act_backward, norm_act_cost, optional=(3, 4, 5))


# ---- in inference: the norm folded into the weights

def _with_norm(name: str, shape: Callable[..., tuple[Spec, ...]], forward: Callable[..., tuple[T, Any]],
               cost: Callable[..., Cost]) -> Op:
    def norm_shape(x: Spec, w: Spec, b: Spec | None, mean: Spec, var: Spec, gamma: Spec | None, beta: Spec | None,
                   *r: Spec | None, eps: float, **params: Any) -> tuple[Spec, ...]:
        return shape(x, w, b, *r, **params)

    def norm_forward(k: Kernels, x: T, w: T, b: T, mean: T, var: T, gamma: T, beta: T, *r: T, eps: float,
                     **params: Any) -> tuple[T, Any]:
        w2, b2 = k.fold_norm(w, b, mean, var, gamma, beta, eps=eps)
        y, _ = forward(k, x, w2, b2, *r, **params)
        return y, ()

    def norm_cost(x: Spec, w: Spec, b: Spec | None, mean: Spec, var: Spec, gamma: Spec | None, beta: Spec | None,
                  *r: Spec | None, eps: float, **params: Any) -> Cost:
        return cost(x, w, Spec(w.shape[:1]), *r, **params)

    return Op(name, norm_shape, norm_forward, None, norm_cost, optional=(2, 5, 6, 7))


conv2d_norm_op = _with_norm("conv2d_norm", conv2d_shape, conv2d_forward, conv2d_cost)
linear_norm_op = _with_norm("linear_norm", linear_shape, linear_forward, linear_cost)
conv2d_max_pool_norm_op = _with_norm("conv2d_max_pool_norm", conv2d_max_pool_shape, conv2d_max_pool_forward,
                                     conv2d_max_pool_cost)
