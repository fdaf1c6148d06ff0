"""Batch normalisation as two operations, statistics and scale-shift, so that every fusion is a rewrite of the graph.

    mean = E[x], var = E[(x - mean)^2] over batch and pixels;  y = (x - mean) / sqrt(var + eps) * gamma + beta
Ref: Ioffe and Szegedy 2015, arXiv 1502.03167, algorithm 1.
"""

from __future__ import annotations

from typing import Any

from striate.graph import Cost, Op, State, Value
from striate.kernels.contract import ROWS, Spec, need_shape
from striate.ops.activation import per_element
from striate.ops.arguments import FINITE, flag, integer, number
from striate.ops.dispatch import need_float, run

Kernels = Any
T = Any


def batch_moments_shape(x: Spec) -> tuple[Spec, ...]:
    need_float("batch_norm", x)
    return ROWS["batch_moments"].shapes(x)


def batch_moments_forward(k: Kernels, x: T) -> tuple[Any, Any]:
    mean, var, unbiased = k.batch_moments(x)
    return (mean, var, unbiased), (x, mean)


def batch_moments_backward(k: Kernels, saved: Any, dmean: T, dvar: T, dunbiased: T) -> tuple[T, ...]:
    x, mean = saved
    return (k.batch_moments_dx(x, mean, dmean, dvar, dunbiased),)


batch_moments_op = Op("batch_moments", batch_moments_shape, batch_moments_forward, batch_moments_backward,
                      per_element(4))


def scale_shift_shape(x: Spec, *vectors: Spec | None, eps: float) -> tuple[Spec, ...]:
    need_float("batch_norm", x, *vectors)
    return ROWS["scale_shift"].shapes(x, *vectors, eps=eps)


def scale_shift_forward(k: Kernels, x: T, mean: T, var: T, gamma: T, beta: T, *, eps: float) -> tuple[T, Any]:
    return k.scale_shift(x, mean, var, gamma, beta, eps=eps), (x, mean, var, gamma, beta is not None)


def scale_shift_backward(k: Kernels, saved: Any, dy: T, *, eps: float) -> tuple[T, ...]:
    x, mean, var, gamma, has_beta = saved
    # y = xhat gamma + beta with xhat = (x - mean) / sqrt(var + eps): two sums over dy give all but dx
    sum_dy, sum_dy_xhat = k.scale_shift_sums(x, dy, mean, var, eps=eps)
    dmean, dvar = k.scale_shift_dstats(sum_dy, sum_dy_xhat, var, gamma, eps=eps)
    dx = k.scale_shift_dx(dy, var, gamma, eps=eps)
    return dx, dmean, dvar, None if gamma is None else sum_dy_xhat, sum_dy if has_beta else None


scale_shift_op = Op("scale_shift", scale_shift_shape, scale_shift_forward, scale_shift_backward, per_element(2),
                    optional=(3, 4))


def lerp_shape(old: Spec, new: Spec, *, weight: float) -> tuple[Spec, ...]:
    need_float("lerp", old, new)
    need_shape("lerp", "new", new, old.shape, "that of old")
    return ROWS["lerp"].shapes(old, new, weight=weight)


def lerp_forward(k: Kernels, old: T, new: T, *, weight: float) -> tuple[T, Any]:
    return k.lerp(old, new, weight=weight), ()


def lerp_backward(k: Kernels, saved: Any, dy: T, *, weight: float) -> tuple[T, ...]:
    return k.scale(dy, factor=1.0 - weight), k.scale(dy, factor=weight)


lerp_op = Op("lerp", lerp_shape, lerp_forward, lerp_backward, per_element(2))


def lerp(old: T, new: T, weight: float, *, kernels: str = "native") -> T:
    """old + weight (new - old): one step of an exponential moving average."""
    return run(lerp_op, (old, new), dict(weight=number("lerp", "weight", weight, 0.0, 1.0)), kernels)


def batch_norm(x: T, running_mean: T, running_var: T, weight: T = None, bias: T = None, *, training: bool = False,
               momentum: float = 0.1, eps: float = 1e-5, kernels: str = "native") -> T:
    """x normalised per channel, by the batch's own statistics in training, by the running ones otherwise.

    Shapes: x (N, C) or (N, C, H, W), the four vectors (C,) -> as x. In a trace, training names the updates
    running <- running + momentum (batch - running), with the unbiased variance; on arrays nothing is updated.
    Raises: ShapeError in training if there is one value per channel.
    """
    weight_of_batch = number("batch_norm", "momentum", momentum, 0.0, 1.0)
    epsilon = dict(eps=number("batch_norm", "eps", eps, 0.0))
    if not flag("batch_norm", "training", training):
        return run(scale_shift_op, (x, running_mean, running_var, weight, bias), epsilon, kernels)
    mean, var, unbiased = run(batch_moments_op, (x,), None, kernels)
    if isinstance(x, Value):
        for running, batch in ((running_mean, mean), (running_var, unbiased)):
            if isinstance(running, State):
                x.graph.update(running, lerp(x.graph.latest(running), batch, weight_of_batch))
    return run(scale_shift_op, (x, mean, var, weight, bias), epsilon, kernels)


# ---- local response normalisation

def local_response_norm_shape(x: Spec, **window: Any) -> tuple[Spec, ...]:
    need_float("local_response_norm", x)
    return ROWS["local_response_norm"].shapes(x, **window)


def local_response_norm_forward(k: Kernels, x: T, **window: Any) -> tuple[T, Any]:
    return k.local_response_norm(x, **window), (x,)


def local_response_norm_backward(k: Kernels, saved: Any, dy: T, **window: Any) -> tuple[T, ...]:
    (x,) = saved  # y = x d^-beta with d = k + alpha sum x^2: computed again from x
    return (k.local_response_norm_dx(x, dy, **window),)


def local_response_norm_cost(x: Spec, *, size: int, **_: float) -> Cost:
    return per_element(size + 4)(x)  # the window's sum; a square, a line, a power and a product


local_response_norm_op = Op("local_response_norm", local_response_norm_shape, local_response_norm_forward,
                            local_response_norm_backward, local_response_norm_cost)


def local_response_norm(x: T, size: int = 5, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0,
                        kernels: str = "native") -> T:
    """x / (k + alpha * sum of x^2)^beta, the sum over `size` neighbouring channels as far as there are such.

    Shapes: x (N, C, H, W) or (N, C) -> the same. The window of channel c begins at c - size // 2. PyTorch divides alpha
    by size: its alpha is size times this one. Raises: ConfigError unless alpha, beta >= 0 and k > 0.
    Ref: Krizhevsky et al. 2012, NeurIPS, section 3.3; the defaults are its constants.
    """
    who, high = "local_response_norm", FINITE[1]
    params = dict(size=integer(who, "size", size), alpha=number(who, "alpha", alpha, 0.0, high),
                  beta=number(who, "beta", beta, 0.0, high), offset=number(who, "k", k, 2.0**-126, high))
    return run(local_response_norm_op, (x,), params, kernels)
