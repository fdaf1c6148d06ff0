"""Rows of normalisation; channels are axis 1 of a rank 2 or rank 4 tensor."""

from __future__ import annotations

import math

from striate.errors import ShapeError
from striate.kernels.contract.row import Spec, need_pixels, need_rank, need_shape, row


def _per_channel(who: str, x: Spec, **vectors: Spec | None) -> Spec:
    need_rank(who, "x", x, 2, 4)
    need_pixels(who, x)
    for name, vector in vectors.items():
        need_shape(who, name, vector, x.shape[1:2], "(C,)")
    return Spec(x.shape[1:2], x.dtype)


def _batch_moments(x: Spec) -> tuple[Spec, ...]:
    c = _per_channel("batch_norm", x)
    if x.shape[0] and math.prod(x.shape) // x.shape[1] == 1:
        raise ShapeError(f"batch_norm: training needs more than 1 value per channel, got x {x.shape}")
    return c, c, c


def _scale_shift(x: Spec, mean: Spec, var: Spec, gamma: Spec | None, beta: Spec | None, *,
                 eps: float) -> tuple[Spec, ...]:
    _per_channel("batch_norm", x, mean=mean, var=var, gamma=gamma, beta=beta)
    return (x,)


def _fold_norm(w: Spec, b: Spec | None, mean: Spec, var: Spec, gamma: Spec | None, beta: Spec | None, *,
               eps: float) -> tuple[Spec, ...]:
    return w, Spec(w.shape[:1], w.dtype)


row("channel_sum", "x -> y", "", lambda x: (_per_channel("channel_sum", x),))
row("batch_moments", "x -> mean var unbiased?", "", _batch_moments)
row("batch_moments_dx", "x mean dmean? dvar? dunbiased? -> dx", "", lambda x, *_: (x,), overwrites=((0, 0),))
row("scale_shift", "x mean var gamma? beta? -> y", "eps:f", _scale_shift, overwrites=((0, 0),))
row("scale_shift_sums", "x dy mean var -> sum_dy sum_dy_xhat", "eps:f",
    lambda x, dy, mean, var, *, eps: (mean, mean))
row("scale_shift_dx", "dy var gamma? -> dx", "eps:f", lambda dy, var, gamma, *, eps: (dy,), overwrites=((0, 0),))
row("scale_shift_dstats", "sum_dy sum_dy_xhat var gamma? -> dmean dvar", "eps:f",
    lambda sum_dy, sum_dy_xhat, var, gamma, *, eps: (sum_dy, sum_dy))
row("fold_norm", "w b? mean var gamma? beta? -> w2 b2", "eps:f", _fold_norm)
row("lerp", "old new -> y", "weight:f", lambda old, new, *, weight: (old,), overwrites=((0, 0),), pointwise=True)
