"""Rows of losses and their gradients; classes are axis 1."""

from __future__ import annotations

from striate.kernels.contract.row import Spec, need_pixels, need_rank, need_shape, row, same


def _softmax(x: Spec) -> tuple[Spec, ...]:
    need_rank("softmax", "x", x, 2, 4)
    need_pixels("softmax", x)
    return (x,)


def _cross_entropy(x: Spec, targets: Spec, weight: Spec | None, *, smoothing: float) -> tuple[Spec, ...]:
    need_rank("cross_entropy", "logits", x, 2)
    need_pixels("cross_entropy", x)
    need_shape("cross_entropy", "targets", targets, x.shape[:1], "(N,)")
    need_shape("cross_entropy", "weight", weight, x.shape[1:], "(classes,)")
    return Spec((), x.dtype), x


def _mse(x: Spec, target: Spec) -> tuple[Spec, ...]:
    need_shape("mse", "target", target, x.shape, "that of x")
    return (Spec((), x.dtype),)


row("softmax", "x -> y", "", _softmax, overwrites=((0, 0),))
row("softmax_grad", "y dy -> dx", "", same, overwrites=((0, 0), (0, 1)))
row("log_softmax", "x -> y", "", _softmax, overwrites=((0, 0),))
row("log_softmax_grad", "y dy -> dx", "", same, overwrites=((0, 0), (0, 1)))
row("cross_entropy", "x targets weight? -> loss probs?", "smoothing:f", _cross_entropy)
row("cross_entropy_dx", "probs targets weight? dloss -> dx", "smoothing:f", same, overwrites=((0, 0),))
row("mse", "x target -> loss", "", _mse)
row("mse_dx", "x target dloss -> dx", "", same, overwrites=((0, 0), (0, 1)))
row("count_correct", "x targets -> count", "", lambda x, targets: (Spec((), x.dtype),))
row("check_finite", "x ->", "", lambda x: ())
row("fill_nan", "x ->", "", lambda x: ())  # STRIATE_CHECK=1: what is dead must not be read again
