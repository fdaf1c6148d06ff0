"""How a kernel that is a definition (conv2d) is computed by kernels that are algorithms (pack, then multiply).

Each function has the parameters of the row it lowers and is written against a kernel set `k`, so the same lines serve
an array at once (k = native) and a tape (k = recorder). The choice of algorithm is a function of the problem and of
`k.target` alone (algorithms.py).
"""

from __future__ import annotations

from typing import Any

from striate.kernels import problem
from striate.kernels.algorithms import Algorithm, chosen
from striate.kernels.contract import HALVED, HALVING, Shape
from striate.kernels.costs import across_images, sends_patches

Kernels = Any  # a kernel set; the contract test, not the type checker, holds its signatures
At = dict[str, Any]  # where the filters are laid: stride, padding, dilation, groups


def conv2d(k: Kernels, x: Any, w: Any, b: Any, r: Any, *, stride: Shape, padding: Shape, dilation: Shape, groups: int,
           activation: int) -> Any:
    at: At = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    algorithm = chosen(problem.conv2d(x, w, **at), k.target)
    return _convolved(k, algorithm, x, w, b, r, activation=activation, **at)[0]


def conv2d_moments(k: Kernels, x: Any, w: Any, b: Any, *, stride: Shape, padding: Shape, dilation: Shape,
                   groups: int) -> Any:
    at: At = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    algorithm = chosen(problem.conv2d_moments(x, w, **at), k.target)
    y, _, *moments = _convolved(k, algorithm, x, w, b, None, activation=0, moments=1, **at)
    return y, *moments


def conv2d_max_pool(k: Kernels, x: Any, w: Any, b: Any, *, stride: Shape, padding: Shape, dilation: Shape, groups: int,
                    activation: int) -> Any:
    at: At = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    wanted = problem.conv2d_max_pool(x, w, **at)
    algorithm = chosen(wanted, k.target)
    if algorithm.pools(wanted):
        return _convolved(k, algorithm, x, w, b, None, activation=activation, pool=1, **at)[:2]
    if not algorithm.tile and across_images(wanted):
        wp = k.pack_filters(w, groups=1, for_dx=0, stride=(1, 1), dilation=(1, 1), nr=k.target.nr)
        return k.conv2d_gemm_pool(x, wp, b, out_channels=w.shape[0], kernel=w.shape[2:], stride=stride, padding=padding,
                                  dilation=dilation, activation=activation)
    return k.max_pool(_convolved(k, algorithm, x, w, b, None, activation=activation, **at)[0], **HALVING)


def _convolved(k: Kernels, algorithm: Algorithm, x: Any, w: Any, b: Any, r: Any, *, stride: Shape, padding: Shape,
               dilation: Shape, groups: int, activation: int, pool: int = 0, moments: int = 0) -> Any:
    """(y, index, mean, var, unbiased); None for what is not asked for."""
    o, _, *kernel = w.shape
    if algorithm.tile:
        u = k.winograd_filters(w, tile=algorithm.tile, for_dx=0, nr=k.target.nr)
        return k.conv2d_winograd(x, u, b, r, out_channels=o, kernel=kernel[0], tile=algorithm.tile, padding=padding,
                                 activation=activation, pool=pool, moments=moments)
    wp = k.pack_filters(w, groups=groups, for_dx=0, stride=(1, 1), dilation=(1, 1), nr=k.target.nr)
    y, *statistics = k.conv2d_gemm(x, wp, b, r, out_channels=o, kernel=tuple(kernel), stride=stride, padding=padding,
                                   dilation=dilation, groups=groups, activation=activation, moments=moments)
    return y, None, *statistics


def conv2d_dx(k: Kernels, dy: Any, w: Any, *, size: Shape, stride: Shape, padding: Shape, dilation: Shape,
              groups: int) -> Any:
    at: At = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    return _sent_back(k, chosen(problem.conv2d_dx(dy, w, size=size, **at), k.target), dy, w, None, size=size, **at)


def conv2d_dx_add(k: Kernels, dy: Any, w: Any, r: Any, *, size: Shape, stride: Shape, padding: Shape, dilation: Shape,
                  groups: int) -> Any:
    at: At = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    return _sent_back(k, chosen(problem.conv2d_dx(dy, w, size=size, **at), k.target), dy, w, r, size=size, **at)


def _sent_back(k: Kernels, algorithm: Algorithm, dy: Any, w: Any, r: Any, *, size: Shape, stride: Shape, padding: Shape,
               dilation: Shape, groups: int) -> Any:
    tile = algorithm.tile
    if tile:  # dX is dy convolved with the filters turned half round and exchanged, its border as far as taps reach
        u = k.winograd_filters(w, tile=tile, for_dx=1, nr=k.target.nr)
        border = tuple(w.shape[2] - 1 - p for p in padding)
        return k.conv2d_winograd(dy, u, None, r, out_channels=w.shape[1], kernel=w.shape[2], tile=tile,
                                 padding=border, activation=0, pool=0, moments=0)[0]
    wp = k.pack_filters(w, groups=groups, for_dx=1, stride=stride, dilation=dilation, nr=k.target.nr)
    return k.conv2d_dx_gemm(dy, wp, r, in_channels=w.shape[1] * groups, size=size, kernel=w.shape[2:], stride=stride,
                            padding=padding, dilation=dilation, groups=groups)


def conv2d_dw(k: Kernels, x: Any, dy: Any, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape,
              groups: int) -> Any:
    at: At = dict(kernel=kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)
    return _correlated(k, chosen(problem.conv2d_dw(x, dy, **at), k.target), x, dy, **at)


def _correlated(k: Kernels, algorithm: Algorithm, x: Any, dy: Any, *, kernel: Shape, padding: Shape, **at: Any) -> Any:
    if algorithm.tile:
        return k.conv2d_dw_winograd(x, dy, kernel=kernel[0], tile=algorithm.tile, padding=padding)
    return k.conv2d_dw(x, dy, kernel=kernel, padding=padding, **at)


# The gradients of conv2d_max_pool: straight from the pooled map, or from the map before it, with its zeros.

def conv2d_max_pool_dx(k: Kernels, dy: Any, index: Any, y: Any, w: Any, *, size: Shape, stride: Shape, padding: Shape,
                       dilation: Shape, groups: int) -> Any:
    at: At = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    wanted = problem.conv2d_max_pool_dx(dy, index, y, w, size=size, **at)
    algorithm = chosen(wanted, k.target)
    if not algorithm.tile and sends_patches(wanted):
        return k.conv2d_pool_dx(dy, index, y, w, size=size, stride=stride, padding=padding)
    return _sent_back(k, algorithm, _unpooled(k, wanted, dy, index, y), w, None, size=size, **at)


def conv2d_max_pool_dw(k: Kernels, x: Any, dy: Any, index: Any, y: Any, *, kernel: Shape, stride: Shape, padding: Shape,
                       dilation: Shape, groups: int) -> Any:
    at: At = dict(kernel=kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)
    wanted = problem.conv2d_max_pool_dw(x, dy, **at)
    algorithm = chosen(wanted, k.target)
    if not algorithm.tile and sends_patches(wanted):
        return k.conv2d_pool_dw(x, dy, index, y, kernel=kernel, stride=stride, padding=padding)
    spread = _unpooled(k, wanted, dy, index, y)
    return _correlated(k, algorithm, x, spread, **at), k.channel_sum(spread)


def _unpooled(k: Kernels, p: problem.Problem, dy: Any, index: Any, y: Any) -> Any:
    return k.max_pool_dx(dy, index, y, size=p.out, **HALVED)


# A linear layer of no more images than outputs is computed from its weights as they lie: a packed copy is as large as
# they are. With more images it is the 1x1 convolution of a 1x1 map: the same panels and the same loop.

def linear(k: Kernels, x: Any, w: Any, b: Any, *, activation: int) -> Any:
    if x.shape[0] <= w.shape[0]:
        return k.linear_rows(x, w, b, activation=activation)
    y = conv2d(k, _as_map(x), _as_map(w), b, None, **_ONE, activation=activation)
    return y.reshape(x.shape[0], w.shape[0])


def linear_dx(k: Kernels, dy: Any, w: Any) -> Any:
    if dy.shape[0] <= w.shape[1]:
        return k.linear_dx_rows(dy, w)
    dx = conv2d_dx(k, _as_map(dy), _as_map(w), size=(1, 1), **_ONE)
    return dx.reshape(dy.shape[0], w.shape[1])


def linear_dw(k: Kernels, x: Any, dy: Any) -> Any:
    dw = k.conv2d_dw(_as_map(x), _as_map(dy), kernel=(1, 1), **_ONE)
    return dw.reshape(dy.shape[1], x.shape[1])


_ONE: At = dict(stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1)


def _as_map(x: Any) -> Any:
    return x.reshape(*x.shape, 1, 1)


# Definitions that have no kernel of their own; conv2d_dw has one, its direct algorithm, and others on a tape.
LOWERINGS = {
    f.__name__: f
    for f in (conv2d, conv2d_moments, conv2d_max_pool, conv2d_dx, conv2d_dx_add, conv2d_max_pool_dx, conv2d_max_pool_dw,
              linear, linear_dx, linear_dw)
}
ON_TAPE = LOWERINGS | {"conv2d_dw": conv2d_dw}
