"""How a kernel that is a definition (conv2d) is computed by kernels that are algorithms (pack, then multiply).

Each function has the parameters of the row it lowers and is written against a kernel set `k`, so the same lines serve
an array at once (k = native) and a tape (k = recorder). The choice of algorithm is a function of the problem and of
`k.target` alone.
"""

from __future__ import annotations

from typing import Any

from striate.kernels.contract import HALVING, Shape

Kernels = Any  # a kernel set; the contract test, not the type checker, holds its signatures


def conv2d(k: Kernels, x: Any, w: Any, b: Any, r: Any, *, stride: Shape, padding: Shape, dilation: Shape, groups: int,
           activation: int) -> Any:
    wp = k.pack_filters(w, groups=groups, for_dx=0, stride=(1, 1), dilation=(1, 1), nr=k.target.nr)
    y, *_ = k.conv2d_gemm(x, wp, b, r, out_channels=w.shape[0], kernel=w.shape[2:], stride=stride, padding=padding,
                          dilation=dilation, groups=groups, activation=activation, moments=0)
    return y


def conv2d_moments(k: Kernels, x: Any, w: Any, b: Any, *, stride: Shape, padding: Shape, dilation: Shape,
                   groups: int) -> Any:
    wp = k.pack_filters(w, groups=groups, for_dx=0, stride=(1, 1), dilation=(1, 1), nr=k.target.nr)
    return k.conv2d_gemm(x, wp, b, None, out_channels=w.shape[0], kernel=w.shape[2:], stride=stride, padding=padding,
                         dilation=dilation, groups=groups, activation=0, moments=1)


def conv2d_max_pool(k: Kernels, x: Any, w: Any, b: Any, *, stride: Shape, padding: Shape, dilation: Shape, groups: int,
                    activation: int) -> Any:
    y = conv2d(k, x, w, b, None, stride=stride, padding=padding, dilation=dilation, groups=groups,
               activation=activation)
    return k.max_pool(y, **HALVING)


def conv2d_dx(k: Kernels, dy: Any, w: Any, *, size: Shape, stride: Shape, padding: Shape, dilation: Shape,
              groups: int) -> Any:
    wp = k.pack_filters(w, groups=groups, for_dx=1, stride=stride, dilation=dilation, nr=k.target.nr)
    return k.conv2d_dx_gemm(dy, wp, in_channels=w.shape[1] * groups, size=size, kernel=w.shape[2:], stride=stride,
                            padding=padding, dilation=dilation, groups=groups)


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


_ONE: dict[str, Any] = dict(stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1)


def _as_map(x: Any) -> Any:
    return x.reshape(*x.shape, 1, 1)


LOWERINGS = {f.__name__: f for f in (conv2d, conv2d_moments, conv2d_max_pool, conv2d_dx, linear, linear_dx, linear_dw)}
