"""How far a float32 kernel may be from the float64 reference: |y - y64| <= 4 eps op(|x|, |w|), kernel by kernel.

The magnitude of a kernel is the kernel itself on absolute values, with minus signs where it subtracts (`SUBTRACTED`).
"""

from __future__ import annotations

import numpy as np

from expected.winograd import filters_of
from striate.kernels import reference
from striate.kernels.contract import HALVING, ROWS

EPS = float(np.finfo(np.float32).eps)
TINY = float(np.finfo(np.float32).tiny)  # below it a run may flush to zero
k = reference.kernels()

EXACT = {"relu", "relu_grad", "clip", "clip_grad", "copy", "window", "concat", "flatten", "unflatten", "to_dense",
         "from_dense", "channel_shuffle", "flip", "relu6", "relu6_grad", "pack_filters", "max_pool", "count_correct",
         "check_finite"}
ROUNDED_ONCE = {"add", "sub", "mul", "div", "scale", "dropout", "leaky_relu", "leaky_relu_grad"}
SUBTRACTED = {"scale_shift": ("mean",), "scale_shift_sums": ("mean",), "batch_moments_dx": ("mean",),
              "norm_act": ("mean",), "norm_act_sums": ("mean",), "norm_act_dx": ("mean", "sum_dz", "sum_dz_xhat"),
              "fold_norm": ("mean",), "mse": ("target",), "mse_dx": ("target",), "sgd": ("lr",), "adam": ("lr",),
              "linear_dw_sgd": ("lr",), "rbf": ("w",)}


def allowed(name, tensors, params, outputs):
    """The largest error allowed in each output, elementwise."""
    if name in EXACT:
        return [np.zeros_like(y, np.float64) for y in outputs]
    if name in ROUNDED_ONCE:
        return [EPS * np.abs(y) + TINY for y in outputs]
    if name in OWN:
        return [EPS * m + TINY for m in OWN[name](tensors, params, outputs)]
    names = ["xs"] * len(tensors) if name == "concat" else [label.rstrip("?") for label in ROWS[name].inputs]
    minus = SUBTRACTED.get(name, ())
    sizes = [t if t is None or t.dtype.kind != "f" else np.abs(t) * (-1 if label in minus else 1)
             for t, label in zip(tensors, names, strict=True)]
    plain = {**params, "activation": 0} if "activation" in params else params
    ys = getattr(k, name)(*sizes, **plain)
    bounds = [4 * EPS * np.abs(m) + TINY for m in (ys if isinstance(ys, tuple) else (ys,)) if m is not None]
    if params.get("activation", 0) > 1:  # tanh and sigmoid do not stretch errors; they add their own
        bounds = [m + 8 * EPS for m in bounds]
    return bounds


def spread(x):
    """How far below the largest of its row an element of axis 1 lies: exp of the difference magnifies its rounding."""
    return np.minimum(x.max(axis=1, keepdims=True) - x, 104.0) if x.size else x


def softmax_bound(tensors, _, outputs):
    return [y * (8 + spread(tensors[0])) for y in outputs]


def log_softmax_bound(tensors, _, outputs):
    x = np.abs(tensors[0])
    return [8 * (1 + x + x.max(axis=1, keepdims=True)) if x.size else x]


def softmax_grad_bound(tensors, *_):
    y, dy = map(np.abs, tensors)
    return [8 * y * (dy + (y * dy).sum(axis=1, keepdims=True))]


def log_softmax_grad_bound(tensors, *_):
    y, dy = tensors
    total = np.abs(dy).sum(axis=1, keepdims=True)
    return [8 * (np.abs(dy) + np.exp(y) * (1 + np.abs(y)) * total)]


def cross_entropy_bound(tensors, params, outputs):
    x = tensors[0]
    return [np.asarray(16 * (1 + 2 * np.abs(x).max(initial=0))), outputs[1] * (8 + spread(x))]


def cross_entropy_dx_bound(tensors, params, outputs):
    probs, targets, weight, dloss = tensors
    v = np.ones(probs.shape[1]) if weight is None else weight
    total = v[targets].sum() if len(targets) else 1.0
    return [8 * (probs * v.sum() + v) * np.abs(dloss) / total]


def batch_moments_bound(tensors, *_):
    x = np.abs(tensors[0])
    mean = k.batch_moments(x)[0]
    square = (x + mean.reshape(1, -1, *[1] * (x.ndim - 2))) ** 2
    n = max(x.size // x.shape[1], 1)
    total = k.channel_sum(square)
    return [4 * mean, 4 * total / n, 4 * total / max(n - 1, 1)]


def conv2d_moments_bound(tensors, params, _):
    """Twice that of batch_moments on the largest y there can be: its rounding, and the convolution's before it."""
    sizes = [None if t is None else np.abs(t) for t in tensors]
    y = k.conv2d(*sizes, None, **params, activation=0)
    return [4 * y, *(2 * m for m in batch_moments_bound([y]))]


def conv2d_max_pool_bound(tensors, params, outputs):
    sizes = [None if t is None else np.abs(t) for t in tensors]
    y = k.conv2d_max_pool(*sizes, **{**params, "activation": 0})[0]
    return [4 * y, np.zeros_like(outputs[1], np.float64)]


def response_norm_bound(tensors, params, _):
    """d is a sum of `size` terms; exp(-beta log d) magnifies its rounding by beta, the logarithm's by log d."""
    x = np.abs(tensors[0])
    d = params["offset"] + params["alpha"] * np.square(x).sum(axis=1, keepdims=True)  # at most
    logs = max(np.nanmax(np.abs(np.log(d)), initial=0), abs(np.log(params["offset"])))
    factor = 4 + (1 + params["beta"]) * (min(params["size"], x.shape[1]) + 2 * logs)
    y = k.local_response_norm(x, **params)
    if len(tensors) == 1:
        return [factor * y]
    dy = np.abs(tensors[1])
    through = dy * y / x  # dy d^-beta; on absolute values dx is its difference to what x sends back through d
    return [factor * (2 * through - k.local_response_norm_dx(x, dy, **params))]


def lp_bound(tensors, params, outputs):
    """x^p by log2 p products, or exp(p log x), which magnifies the rounding of the logarithm by p log x."""
    sizes = [np.abs(t) for t in tensors]
    logs = max(np.nanmax(np.abs(np.log(t, where=t > 0, out=np.zeros_like(t))), initial=0) for t in sizes[:2])
    power = params["power"]
    factor = 8 + params["kernel"][0] * params["kernel"][1] + 2 * power * (1 + (power not in (1, 2)) * logs)
    name = "lp_pool" if len(tensors) == 1 else "lp_pool_dx"
    return [factor * np.abs(getattr(k, name)(*sizes, **params))]


def linear_dw_adam_bound(tensors, params, _):
    """Adam's own, and how far the next values move with the gradient's rounding, in either direction."""
    x, dy, *rest = tensors
    dw, error = k.linear_dw(x, dy), 4 * EPS * k.linear_dw(abs(x), abs(dy))
    nexts = [k.adam(rest[0], g, *rest[1:], **params) for g in (dw, dw - error, dw + error)]
    moved = [np.maximum(abs(low - y), abs(high - y)) for y, low, high in zip(*nexts, strict=True)]
    own = allowed("adam", [rest[0], dw, *rest[1:]], params, nexts[0])
    return [(2 * move + bound) / EPS for move, bound in zip(moved, own, strict=True)]


# By how many eps of the largest sum of |x| |w| in a tile its outputs may err, by kernel and tile.
WINOGRAD = {(3, 2): 16, (3, 3): 16, (3, 4): 16, (3, 6): 64, (5, 2): 16, (5, 4): 64}


def conv2d_winograd_bound(tensors, params, outputs):
    """A tile's outputs share their sums, so each may err as the largest does: op(|x|, |w|), its maximum in the tile."""
    y = winograd_size(*tensors, params)
    if params["moments"]:
        return [y, *(2 * m for m in batch_moments_bound([y / 4]))]
    if params["pool"]:
        return [k.max_pool(y, **HALVING)[0], np.zeros_like(outputs[1], np.float64)]
    return [y + 8 * (params["activation"] > 1)]


def winograd_size(x, u, b, r, params):
    w = filters_of(u, params["out_channels"], params["kernel"], params["tile"])
    sizes = (None if t is None else np.abs(t) for t in (x, w, b, r))
    y = k.conv2d(*sizes, stride=(1, 1), padding=params["padding"], dilation=(1, 1), groups=1, activation=0)
    for axis in (2, 3):
        tops = np.maximum.reduceat(y, range(0, y.shape[axis], params["tile"]), axis=axis)
        y = np.repeat(tops, params["tile"], axis=axis).take(range(y.shape[axis]), axis=axis)
    return y * WINOGRAD[params["kernel"], params["tile"]]


def conv2d_winograd_sums_bound(tensors, params, _):
    dy, u, r, *norm = tensors
    return norm_sums_bound(winograd_size(dy, u, None, r, params), *norm, eps=params["eps"])


def conv2d_dx_gemm_sums_bound(tensors, params, _):
    dy, wp, r, x, *norm = (None if t is None else np.abs(t) for t in tensors)
    dx = np.einsum("nohw,poc->npchw", dy, wp).reshape(len(dy), wp.shape[0] * wp.shape[2], *dy.shape[2:])
    dx = dx[:, : x.shape[1]]
    return norm_sums_bound(4 * (dx if r is None else dx + r), x, *norm, eps=params["eps"])


def norm_sums_bound(dx, x, mean, var, *_, eps):
    """Of dz what dx may err, of the sums what its errors sum up to and as much for their own rounding."""
    sums = k.norm_act_sums(np.abs(x), dx, -np.abs(mean), var, None, None, None, eps=eps, activation=0)[:2]
    return [dx, *(2 * m for m in sums)]


def conv2d_dw_winograd_bound(tensors, params, _):
    """The rounding of one point reaches all taps: of each pair of channels the tap with the largest terms counts.

    Eight points round more than six: 16.0 eps was seen of them, 16.6 in the sanitizers' build.
    """
    kernel = (params["kernel"], params["kernel"])
    size = k.conv2d_dw(*map(np.abs, tensors), kernel=kernel, stride=(1, 1), padding=params["padding"], dilation=(1, 1),
                       groups=1)
    eps = 32 if params["kernel"] + params["tile"] > 8 else 16
    return [eps * np.broadcast_to(size.max(axis=(2, 3), keepdims=True), size.shape)]


OWN = {
    "linear_dw_adam": linear_dw_adam_bound,
    "winograd_filters": lambda t, p, ys: [np.abs(ys[0])],
    "conv2d_winograd": conv2d_winograd_bound,
    "conv2d_winograd_sums": conv2d_winograd_sums_bound,
    "conv2d_dx_gemm_sums": conv2d_dx_gemm_sums_bound,
    "conv2d_moments": conv2d_moments_bound,
    "conv2d_max_pool": conv2d_max_pool_bound,
    "tanh": lambda t, p, ys: [8 * np.abs(y) for y in ys],
    "sigmoid": lambda t, p, ys: [8 * np.abs(y) for y in ys],
    "tanh_grad": lambda t, p, ys: [4 * np.abs(t[1])],
    "sigmoid_grad": lambda t, p, ys: [4 * np.abs(t[1])],
    "lerp": lambda t, p, ys: [4 * (np.abs(t[0]) + np.abs(t[1]))],
    "softmax": softmax_bound,
    "log_softmax": log_softmax_bound,
    "softmax_grad": softmax_grad_bound,
    "log_softmax_grad": log_softmax_grad_bound,
    "cross_entropy": cross_entropy_bound,
    "cross_entropy_dx": cross_entropy_dx_bound,
    "hard_swish": lambda t, p, ys: [4 * np.abs(y) for y in ys],
    "hard_swish_grad": lambda t, p, ys: [4 * np.abs(t[1]) * (np.abs(t[0]) / 3 + 0.5)],
    "gelu": lambda t, p, ys: [4 * np.abs(t[0])],
    "gelu_grad": lambda t, p, ys: [4 * np.abs(t[1])],
    "local_response_norm": response_norm_bound,
    "local_response_norm_dx": response_norm_bound,
    "lp_pool": lp_bound,
    "lp_pool_dx": lp_bound,
    "batch_moments": batch_moments_bound,
    "conv2d_dw_winograd": conv2d_dw_winograd_bound,
}
