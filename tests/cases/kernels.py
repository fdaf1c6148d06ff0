"""Rows of kernels that no operation calls."""

from __future__ import annotations

from typing import Any

import numpy as np

from cases.case import LENGTHS, Call
from cases.layers import DEPTHWISE, FOURS, POINT, SAME, SPREAD
from striate.kernels import reference
from striate.kernels.contract import ROWS


def winograd(x: tuple[int, ...], out_channels: int, kernel: int, tile: int, nr: int, *, activation: int = 0,
             pool: int = 0, moments: int = 0, padding: tuple[int, ...] = (1, 1, 1, 1), b: bool = True,
             r: tuple[int, ...] | None = None) -> Call:
    """A row of conv2d_winograd, its filters transformed for panels of nr columns."""
    w = np.random.default_rng(kernel).standard_normal((out_channels, x[1], kernel, kernel))
    u = reference.kernels().winograd_filters(w, tile=tile, for_dx=0, nr=nr)
    return Call("conv2d_winograd", x=x, u=u, b=(out_channels,) if b else None, r=r, out_channels=out_channels,
                kernel=kernel, tile=tile, padding=padding, activation=activation, pool=pool, moments=moments)


WINOGRAD = ((3, 2), (3, 3), (3, 4), (5, 2), (5, 4))  # kernel and tile
F = (*WINOGRAD, (3, 6))
PANELS = (8, 16, 32)  # nr of the instruction sets
WINOGRAD_CALLS = [
    *(Call("winograd_filters", w=(o, c, k, k), tile=tile, for_dx=for_dx, nr=nr) for k, tile in F
      for o, c, nr in ((9, 2, 8), (5, 3, 16), (16, 40, 16), (33, 3, 32)) for for_dx in (0, 1)),
    *(winograd((2, 5, h, w), 9, k, tile, nr) for k, tile in F for nr in PANELS for h, w in ((5, 9), (8, 13))),
    *(winograd((1, c, 6, 5), 41 - c, 3, 4, nr) for nr in PANELS for c in range(1, 41)),
    *(winograd((1, 3, h, w), 5, 3, tile, 16, padding=padding) for tile in (2, 4)
      for h, w, padding in ((1, 1, (1, 1, 1, 1)), (3, 2, (2, 2, 2, 2)), (4, 17, (2, 0, 0, 2)), (5, 3, (0, 0, 1, 1)))),
    *(winograd((3, 20, 9, 10), 19, 3, 4, nr, activation=a, r=(3, 19, 9, 10), b=a % 2 > 0)
      for nr in PANELS for a in range(5)),
    *(winograd((3, 4, 9, 10), o, k, tile, nr, activation=a, pool=1, padding=(k // 2,) * 4)
      for nr in PANELS for a in (0, 1) for o in (6, 24) for k, tile in F if tile % 2 == 0),
    *(winograd((n, 4, 9, 10), o, k, tile, nr, moments=1, padding=(k // 2,) * 4)
      for nr in PANELS for n, o in ((3, 7), (7, 33), (0, 8)) for k, tile in F),
    *(winograd((n, 2, 24, 24), 3, 3, 4, 16, moments=1, b=False) for n in (1, 90)),  # many units
    winograd((86, 17, 5, 5), 40, 3, 2, 16, moments=1, b=False),  # and several panels
    *(winograd((0, 3, 4, 5), 6, 3, tile, 16, pool=1) for tile in (2, 4)),
]


def norm_call(kernel: str, x: tuple[int, ...], at: int = 0, **more: Any) -> Call:
    """A row of a fused normalisation; the bits of `at`: which tensors are absent, whether ReLU or ReLU6 follows."""
    c = x[1:2]
    wide = np.full(c, 4.0) if at & 16 else c  # so that some values are above 6
    given = dict(x=x, **{n: x for n in ("dy", "dz") if n in ROWS[kernel].inputs}, mean=c, var=c,
                 gamma=None if at & 1 else wide, beta=None if at & 2 else c)
    last = {"norm_act": dict(r=None if at & 4 else x), "norm_act_sums": dict(y=None if at & 4 else x),
            "norm_act_dx": dict(sum_dz=c, sum_dz_xhat=c, own=1 - (at >> 2 & 1))}[kernel]
    return Call(kernel, **given, **last, eps=1e-3, activation=(at >> 3 & 1) << (at >> 4 & 1) * 2, **more)


def sums_call(dy: tuple[int, ...], c: int, nr: int, kernel: int = 1, tile: int = 0, at: int = 0) -> Call:
    """dX with the sums of the norm behind which it arrives, by panels of nr columns; `at` as in norm_call, 32: no r."""
    x, pad = (dy[0], c, *dy[2:]), (kernel // 2,) * 4
    w = np.random.default_rng(c).standard_normal((dy[1], c, kernel, kernel))
    k, form, given = reference.kernels(), "conv2d_dx_gemm_sums", {}
    if tile:
        form, given = "conv2d_winograd_sums", dict(out_channels=c, kernel=kernel, tile=tile, padding=pad)
        panels = {"u": k.winograd_filters(w, tile=tile, for_dx=1, nr=nr)}
    else:
        panels = {"wp": k.pack_filters(w, groups=1, for_dx=1, stride=(1, 1), dilation=(1, 1), nr=nr)}
    norm = norm_call("norm_act_sums", x, at).given
    return Call(form, dy=dy, **panels, r=None if at & 32 else x, **given, **{n: norm[n] for n in norm if n != "dy"})


SUMS_CALLS = [
    *(sums_call((2, 5, h, w), 9, nr, k, tile, at) for k, tile in F for nr in PANELS
      for h, w, at in ((5, 9, 8), (8, 13, 12 + 32))),
    *(sums_call((3, 20, 9, 10), 19, nr, 3, 4, at) for nr in PANELS for at in range(0, 64, 7)),
    *(sums_call((1, 67 - c, 6, 5), c, nr, 3, 4, 8) for nr in PANELS for c in LENGTHS[::2]),
    *(sums_call((n, 2, 24, 24), 3, 16, 3, 4, 12) for n in (0, 90)),  # several units of a chunk
    sums_call((86, 3, 5, 5), 17, 16, 3, 2, 12 + 32), sums_call((387, 1, 3, 1), 17, 16, 3, 2, 12),  # and panels
    *(sums_call((2, 67 - c, 3, 5), c, nr, at=c % 32) for nr in PANELS for c in LENGTHS),
    *(sums_call((2, 7, 4, 6), 19, nr, at=at) for nr in PANELS for at in range(2, 64, 7)),
    *(sums_call((n, o, 5, 7), c, nr, at=12) for nr in PANELS
      # no image, a long depth, columns that are masked apart, panels in several chunks
      for n, o, c in ((0, 3, 4), (2, 600, 17), (6, 3, 300), (1, 300, 400))),
    *(sums_call((16, 2, 28, 28), 3, 16, at=at) for at in (8, 12)),  # several blocks of a chunk
]


def pooled_calls(x: tuple[int, ...], o: int, kernel: tuple[int, int], *, stride: int = 1, pad: int = 0,
                 y: bool = True, **more: Any) -> list[Call]:
    """Both gradients of a convolution in front of a pool; with `groups` the definitions, else the kernels."""
    gaps = more.get("dilation", (1, 1))
    out = tuple((s + 2 * pad - d * (k - 1) - 1) // stride + 1 for s, k, d in zip(x[2:], kernel, gaps, strict=True))
    dy = (x[0], o, out[0] // 2, out[1] // 2)
    index = np.resize(np.array([0, 3, 1, 2, 2, 0, 3], np.uint8), dy)
    at = dict(dy=dy, index=index, y=dy if y else None, stride=(stride, stride), padding=(pad,) * 4, **more)
    name = "max_pool" if more else "pool"
    w = (o, x[1] // more.get("groups", 1), *kernel)
    return [Call(f"conv2d_{name}_dx", w=w, size=x[2:], **at), Call(f"conv2d_{name}_dw", x=x, kernel=kernel, **at)]


POOLED_CALLS = [
    *(call for c in (1, 2, 3, 5, 6, 7, 11, 17) for o in (1, 2, 5, 16, 33)  # 1 to 4 vectors a kernel row and more
      for call in pooled_calls((2, c, 9, 8), o, (3, 3), pad=1)),
    *(call for kernel in ((5, 5), (1, 1), (1, 7), (7, 2), (2, 3)) for stride in (1, 2) for y in (True, False)
      for call in pooled_calls((3, 2, 17, 15), 4, kernel, stride=stride, pad=kernel[0] // 2, y=y)),
    *(call for n, size in ((0, 6), (1, 70), (40, 10)) for call in pooled_calls((n, 1, size, size), 6, (5, 5), pad=2)),
    *(call for x, o, groups, dilation in (((2, 4, 9, 8), 6, 2, (1, 1)), ((2, 3, 9, 8), 5, 1, (2, 1)),
                                          ((5, 3, 9, 8), 5, 1, (1, 1)), ((2, 40, 6, 7), 36, 1, (1, 1)))
      for call in pooled_calls(x, o, (2, 3), pad=1, groups=groups, dilation=dilation)),
]


HALVED = dict(POINT, stride=(2, 2))  # of whose four phases three have no tap

# Many pixels and channels: several blocks, runs and strips of a reduction, with rows and columns left over.
LARGE = ((3, 37, 40, 20), (5, 6, 90, 61), (131, 520, 1, 3), (70, 1030), (2, 16, 127, 65))
CALLS = [
    *WINOGRAD_CALLS,
    *SUMS_CALLS,
    *POOLED_CALLS,
    *(norm_call(kernel, (2, c, 3, 5), c % 32) for kernel in ("norm_act", "norm_act_sums", "norm_act_dx")
      for c in range(1, 41)),
    *(norm_call(kernel, x, at) for kernel in ("norm_act", "norm_act_sums", "norm_act_dx")
      for x, at in (((0, 3, 4, 4), 0), ((0, 3, 4, 4), 12), ((9, 5), 8), ((1, 1, 1, 1), 12),
                    *zip(LARGE, (8, 12, 4, 0, 24), strict=True))),
    *(Call(kernel, x=x) for kernel in ("channel_sum", "batch_moments") for x in LARGE),
    *(Call("scale_shift_sums", x=x, dy=x, mean=x[1:2], var=x[1:2], eps=1e-5) for x in LARGE),
    *(Call("max_pool_dx", dy=(2, c, 4, 3), y=(2, c, 4, 3), size=(8, 9 - k), kernel=(k, k), stride=(2, 2),
           index=np.resize(np.array(taps, kind), (2, c, 4, 3)), padding=(k - 2, k - 2), dilation=(1, 1))
      for c in LENGTHS for k, taps, kind in ((2, (0, 1, 2, 3), "u1"), (3, (4, 5, 7, 8), "u1"), (3, (8, 7, 4), "u2"))),
    *(Call("pack_filters", w=(o, 3, 3, 2), groups=2, for_dx=for_dx, stride=(2, 3), dilation=(1, 2), nr=nr)
      for o in (2, 8, 18) for for_dx in (0, 1) for nr in (4, 8, 16, 32)),
    *(Call("conv2d_dx_add", dy=dy, w=w, r=(dy[0], w[1] * at["groups"], *size), size=size, **at)
      for dy, w, size, at in (
          ((2, 3, 4, 4), (3, 4, 2, 2), (5, 5), POINT), ((2, 6, 3, 6), (6, 2, 3, 2), (6, 5), SPREAD),
          ((2, 20, 5, 7), (20, 4, 3, 3), (5, 7), FOURS), ((2, 8, 5, 7), (8, 1, 3, 3), (5, 7), DEPTHWISE),
          ((5, 6, 8, 8), (6, 2, 3, 3), (8, 8), SAME), ((1, 300, 3, 4), (300, 40, 3, 3), (3, 4), SAME),
          ((1, 40, 3, 4), (40, 300, 1, 1), (3, 4), POINT), ((2, 9, 2, 3), (9, 5, 1, 1), (4, 5), HALVED))),
    *(Call("conv2d", x=(2, 4, 5, 5), w=(3, 4, 2, 2), b=(3,), r=(2, 3, 4, 4), **POINT, activation=a) for a in range(5)),
    *(Call("conv2d", x=(2, 4, 6, 5), w=(6, 2, 3, 2), b=None, r=(2, 6, 3, 6), **SPREAD, activation=a) for a in (0, 1)),
    *(Call("conv2d", x=(2, 20, 5, 7), w=(20, 4, 3, 3), b=(20,), r=(2, 20, 5, 7), **FOURS, activation=a)
      for a in range(5)),
    *(Call(name, x=x, w=w, b=b, **at, **rest)
      for name, rest in (("conv2d_moments", {}), *(("conv2d_max_pool", dict(activation=a)) for a in (0, 1)))
      for x, w, b, at in (((2, 4, 6, 5), (6, 2, 3, 2), None, SPREAD), ((3, 3, 9, 8), (17, 3, 3, 3), (17,), SAME),
                          ((5, 2, 8, 8), (6, 2, 3, 3), (6,), SAME), ((2, 8, 5, 7), (8, 1, 3, 3), None, DEPTHWISE),
                          ((2, 20, 5, 7), (20, 4, 3, 3), None, FOURS),
                          ((1, 16, 3, 4), (33, 16, 1, 1), None, POINT), ((0, 3, 4, 4), (5, 3, 3, 3), (5,), SAME))),
    *(Call("conv2d_dw_winograd", x=(n, c, 13 - kernel, wide), dy=(n, o, 17 - 2 * kernel, wide + 4 - kernel),
           kernel=kernel, tile=tile, padding=(1, 2, 3 - kernel // 2, kernel // 2))
      for kernel, tile in WINOGRAD for n, c, o, wide in ((2, 3, 5, 9), (1, 17, 9, 24), (0, 3, 4, 8))),
    *(Call("conv2d_dw_winograd", x=(1, c, 4, 5), dy=(1, 41 - c, 4, 5), kernel=3, tile=4, padding=(1, 1, 1, 1))
      for c in range(1, 41)),
    *(Call("conv2d_dw_winograd", x=(n, 2, size, size), dy=(n, 2, size - 2, size - 2), kernel=3, tile=4,
           padding=(0, 0, 0, 0)) for n in (1, 67) for size in (3, 5, 6, 10)),
    *(Call("conv2d_dw_winograd", x=(n, c, size, size), dy=(n, o, size, size), kernel=3, tile=4, padding=(1, 1, 1, 1))
      for n, c, o, size in ((7, 33, 65, 28), (1, 250, 260, 5))),  # several slabs; all points of some channels together
    *(Call("linear", x=(3, 9), w=(5, 9), b=(5,), activation=a) for a in range(5)),
    *(Call("linear_rows", x=(n, c), w=(67 - c, c), b=b, activation=a)
      for n, b, a in ((1, None, 0), (2, (1,), 1), (3, None, 2), (4, (1,), 3), (5, (1,), 1), (17, None, 0))
      for c in LENGTHS for b in (b and (67 - c,),)),
    *(Call("linear_rows", x=(n, c), w=(o, c), b=(o,), activation=0)
      for n, o, c in ((0, 5, 3), (1, 49, 2100), (4, 100, 2049), (7, 49, 2100), (40, 97, 300), (70, 3, 9))),
    *(Call("linear_dx_rows", dy=(n, 67 - c), w=(67 - c, c)) for n in (0, 1, 4, 33) for c in LENGTHS),
    *(Call("linear_dx_rows", dy=(n, o), w=(o, c)) for n, o, c in ((1, 5, 1100), (3, 200, 33), (70, 101, 150))),
    *(Call("linear_dw_sgd", x=(n, c), dy=(n, o), w=(o, c), v=(o, c) if momentum else None, lr=(), momentum=momentum,
           nesterov=nesterov, weight_decay=decay)
      for n, o, c in ((0, 3, 5), (1, 7, 1), (4, 13, 33), (3, 100, 530), (270, 7, 20))
      for momentum, nesterov, decay in ((0.0, 0, 0.0), (0.9, 0, 0.01), (0.9, 1, 0.01))),
    *(Call("linear_dw_adam", x=(n, c), dy=(n, o), w=(o, c), m=(o, c), v=np.full((o, c), 0.3), lr=(),
           step=np.array(3), beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01, decoupled=decoupled)
      for n, o, c in ((0, 3, 5), (4, 13, 33)) for decoupled in (0, 1)),
    *(Call("fold_norm", w=w, b=b, mean=w[:1], var=w[:1], gamma=gamma, beta=beta, eps=1e-3)
      for w, b, gamma, beta in (((5, 3, 2, 2), (5,), (5,), (5,)), ((9, 3, 1, 1), None, (9,), (9,)),
                                ((4, 6), (4,), None, (4,)), ((4, 1, 3, 3), None, None, None))),
    *(Call(name, **{x: shape}) for name, x in (("copy", "x"), ("to_dense", "x"), ("from_dense", "w"))
      for shape in ((2, 3, 4, 5), (0, 3, 4, 5), (2, 17, 1, 3))),
    *(Call("sgd", w=w, g=w, v=w if momentum else None, lr=(), momentum=momentum, nesterov=nesterov, weight_decay=decay)
      for w in ((3,), (5, 7), (4, 3, 3, 3)) for momentum, nesterov, decay in
      ((0.0, 0, 0.0), (0.0, 0, 0.01), (0.9, 0, 0.0), (0.9, 1, 0.01))),
    *(Call("adam", w=w, g=w, m=w, v=np.full(w, 0.3), lr=(), step=np.array(step), beta1=0.9, beta2=0.999, eps=1e-8,
           weight_decay=decay, decoupled=decoupled)
      for w in ((3,), (5, 7), (4, 3, 3, 3)) for step in (1, 2, 1000) for decay, decoupled in
      ((0.0, 0), (0.01, 0), (0.01, 1))),
    *(Call("scale", x=(2, n, 2, 1), factor=-0.3) for n in LENGTHS),
    *(Call("lp_pool", x=(2, 5, 7, 6), power=p, kernel=(3, 2), stride=(2, 2), ceil=ceil)
      for p in (2.0, 4.0) for ceil in (0, 1)),
    *(Call("lp_pool_dx", x=x, y=(2, 5, 3, 3), dy=(2, 5, 3, 3), power=p, kernel=(3, 2), stride=(2, 2))
      for x in ((2, 5, 7, 6), np.zeros((2, 5, 7, 6))) for p in (1.0, 2.0, 3.0)),
    *(Call("lp_pool_dx", x=np.zeros((1, 9, 4, 4)), y=np.zeros((1, 9, 2, 2)), dy=(1, 9, 2, 2), power=p, kernel=(2, 2),
           stride=(2, 2)) for p in (1.0, 2.0, 2.5)),
    *(Call(name, **{t: (3, 37, 40, 20) for t in tensors}, size=5, alpha=0.2, beta=0.75, offset=1.0)
      for name, tensors in (("local_response_norm", "x"), ("local_response_norm_dx", ("x", "dy")))),
]
