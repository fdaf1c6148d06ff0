"""Radial basis functions: the squared distances of a vector to centres, LeNet-5's output layer."""

from __future__ import annotations

from typing import Any

from striate.graph import Cost, Op
from striate.kernels.contract import ROWS, Spec
from striate.ops.dispatch import need_float, run

Kernels = Any
T = Any


def rbf_shape(x: Spec, centers: Spec) -> tuple[Spec, ...]:
    need_float("rbf", x, centers)
    return ROWS["rbf"].shapes(x, centers)


def rbf_forward(k: Kernels, x: T, centers: T) -> tuple[T, Any]:
    return k.rbf(x, centers), (x, centers)


def rbf_backward(k: Kernels, saved: Any, dy: T) -> tuple[T, ...]:
    x, w = saved
    # y[n, k] = sum over c of (x[n, c] - w[k, c])^2:
    #   dx = 2 (x * dy summed over k - dy w),  dw = 2 (w * dy summed over n - dy^T x)
    over_centers, over_images = k.sum_to(dy, axes=0b10), k.channel_sum(dy).reshape((w.shape[0], 1))
    dx = k.sub(k.mul(x, over_centers), k.linear_dx(dy, w))
    dw = k.sub(k.mul(w, over_images), k.linear_dw(x, dy))
    return k.scale(dx, factor=2.0), k.scale(dw, factor=2.0)


def rbf_cost(x: Spec, centers: Spec) -> Cost:
    terms = x.shape[0] * centers.shape[0] * centers.shape[1]
    return Cost(macs=terms, other=terms)  # a square is multiplied and added; the difference before it


rbf_op = Op("rbf", rbf_shape, rbf_forward, rbf_backward, rbf_cost)


def rbf(x: T, centers: T, *, kernels: str = "native") -> T:
    """The squared Euclidean distance of every row of x to every centre: y_k = sum over c of (x_c - w_kc)^2.

    Shapes: x (N, C), centers (K, C) -> (N, K). Raises: ShapeError if the C differ.
    Ref: LeCun et al. 1998, Proceedings of the IEEE 86(11), section II.B, eq. 7.
    """
    return run(rbf_op, (x, centers), None, kernels)
