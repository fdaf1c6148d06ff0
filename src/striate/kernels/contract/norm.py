"""Rows of normalisation; channels are axis 1 of a rank 2 or rank 4 tensor."""

from __future__ import annotations

import math

from striate.errors import ConfigError, ShapeError
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


def _norm_act(who: str, activation: int, x: Spec, like_x: dict[str, Spec | None],
              vectors: dict[str, Spec | None]) -> Spec:
    if activation not in (0, 1, 4):
        raise ConfigError(f"{who}: activation must be 0 (none), 1 (relu) or 4 (relu6), got {activation}")
    for name, spec in like_x.items():
        need_shape(who, name, spec, x.shape, "that of x")
    return _per_channel(who, x, **vectors)


def _norm_act_forward(x: Spec, mean: Spec, var: Spec, gamma: Spec | None, beta: Spec | None, r: Spec | None, *,
                      eps: float, activation: int) -> tuple[Spec, ...]:
    _norm_act("norm_act", activation, x, dict(r=r), dict(mean=mean, var=var, gamma=gamma, beta=beta))
    return (x,)


def _norm_act_sums(x: Spec, dy: Spec, mean: Spec, var: Spec, gamma: Spec | None, beta: Spec | None, y: Spec | None, *,
                   eps: float, activation: int) -> tuple[Spec, ...]:
    c = _norm_act("norm_act_sums", activation, x, dict(dy=dy, y=y), dict(mean=mean, var=var, gamma=gamma, beta=beta))
    return c, c, dy


def _norm_act_dx(x: Spec, dz: Spec, mean: Spec, var: Spec, gamma: Spec | None, beta: Spec | None, sum_dz: Spec,
                 sum_dz_xhat: Spec, *, eps: float, activation: int, own: int) -> tuple[Spec, ...]:
    vectors = dict(mean=mean, var=var, gamma=gamma, beta=beta, sum_dz=sum_dz, sum_dz_xhat=sum_dz_xhat)
    _norm_act("norm_act_dx", activation, x, dict(dz=dz), vectors)
    return (x,)


def _fold_norm(w: Spec, b: Spec | None, mean: Spec, var: Spec, gamma: Spec | None, beta: Spec | None, *,
               eps: float) -> tuple[Spec, ...]:
    return w, Spec(w.shape[:1], w.dtype)


def _local_response_norm(x: Spec, *, size: int, alpha: float, beta: float, offset: float) -> tuple[Spec, ...]:
    need_rank("local_response_norm", "x", x, 2, 4)
    need_pixels("local_response_norm", x)
    return (x,)


def _local_response_norm_dx(x: Spec, dy: Spec, **window: float) -> tuple[Spec, ...]:
    need_shape("local_response_norm_dx", "dy", dy, x.shape, "that of x")
    return (x,)


row("channel_sum", "x -> y", "", lambda x: (_per_channel("channel_sum", x),))
row("batch_moments", "x -> mean var unbiased?", "", _batch_moments)
row("batch_moments_dx", "x mean dmean? dvar? dunbiased? -> dx", "", lambda x, *_: (x,), overwrites=((0, 0),))
row("scale_shift", "x mean var gamma? beta? -> y", "eps:f", _scale_shift, overwrites=((0, 0),))
row("scale_shift_sums", "x dy mean var -> sum_dy sum_dy_xhat", "eps:f",
    lambda x, dy, mean, var, *, eps: (mean, mean))
row("scale_shift_dx", "dy var gamma? -> dx", "eps:f", lambda dy, var, gamma, *, eps: (dy,), overwrites=((0, 0),))
row("scale_shift_dstats", "sum_dy sum_dy_xhat var gamma? -> dmean dvar", "eps:f",
    lambda sum_dy, sum_dy_xhat, var, gamma, *, eps: (sum_dy, sum_dy))
row("norm_act", "x mean var gamma? beta? r? -> y", "eps:f activation:1", _norm_act_forward,
    overwrites=((0, 0), (0, 5)))
row("norm_act_sums", "x dy mean var gamma? beta? y? -> sum_dz sum_dz_xhat dz?", "eps:f activation:1", _norm_act_sums,
    overwrites=((2, 1), (2, 6)))
row("norm_act_dx", "x dz mean var gamma? beta? sum_dz sum_dz_xhat -> dx", "eps:f activation:1 own:1", _norm_act_dx,
    overwrites=((0, 0), (0, 1)))
row("fold_norm", "w b? mean var gamma? beta? -> w2 b2", "eps:f", _fold_norm)
row("lerp", "old new -> y", "weight:f", lambda old, new, *, weight: (old,), overwrites=((0, 0),), pointwise=True)
row("local_response_norm", "x -> y", "size:1 alpha:f beta:f offset:f", _local_response_norm, overwrites=((0, 0),))
row("local_response_norm_dx", "x dy -> dx", "size:1 alpha:f beta:f offset:f", _local_response_norm_dx,
    overwrites=((0, 1),))
