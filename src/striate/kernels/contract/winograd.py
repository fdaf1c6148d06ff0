"""Rows of Winograd's convolution of stride 1: the transform of filters, then forward and dX in one kernel."""

from __future__ import annotations

from typing import Any

from striate.errors import ConfigError
from striate.kernels.contract.conv import HALVING, Results, moments_of, sums_of
from striate.kernels.contract.row import ROWS, Shape, Spec, checked, need_rank, need_shape, row

# Outputs a side of the tiles there are, by the size of the kernel.
TILES = {3: (2, 3, 4, 6), 5: (2, 4)}


def _need_tile(who: str, kernel: int, tile: int) -> int:
    """Inputs a side of a tile."""
    if tile not in TILES.get(kernel, ()):
        raise ConfigError(f"{who}: kernel and tile must be of {TILES}, got kernel {kernel} and tile {tile}")
    return tile + kernel - 1


def _winograd_filters(w: Spec, *, tile: int, for_dx: int, nr: int) -> tuple[Spec, ...]:
    need_rank("winograd_filters", "w", w, 4)
    o, c, k, _ = w.shape
    need_shape("winograd_filters", "w", w, (o, c, k, k), "(O, C, K, K)")
    points = _need_tile("winograd_filters", k, tile) ** 2
    columns, depth = (c, o) if for_dx else (o, c)
    return checked("winograd_filters", Spec((-(-columns // nr), points, depth, nr), w.dtype))


def _conv2d_winograd(x: Spec, u: Spec, b: Spec | None, r: Spec | None, *, out_channels: int, kernel: int, tile: int,
                     padding: Shape, activation: int, pool: int, moments: int) -> Results:
    who = "conv2d_winograd"
    points = _need_tile(who, kernel, tile) ** 2
    need_rank(who, "u", u, 4)
    nr = u.shape[3]
    need_shape(who, "u", u, (-(-out_channels // nr), points, x.shape[1], nr), "(panels, T*T, C, nr)")
    if not all(0 <= p < kernel for p in padding):
        raise ConfigError(f"{who}: padding must be 0 to K - 1 = {kernel - 1} a side, got {padding}")
    if pool and (tile % 2 or moments or r is not None):
        raise ConfigError(f"{who}: pool needs an even tile, no moments and no r, got tile {tile}, moments {moments}")
    if moments and activation:
        raise ConfigError(f"{who}: moments are of y before any activation, got activation {activation}")
    w = Spec((out_channels, x.shape[1], kernel, kernel), x.dtype)
    (y,) = ROWS["conv2d"].shapes(x, w, b, r, stride=(1, 1), padding=padding, dilation=(1, 1), groups=1,
                                 activation=activation)
    pooled = ROWS["max_pool"].shapes(y, **HALVING) if pool else (y, None)
    return *pooled, *moments_of(y, moments)


def _conv2d_winograd_sums(dy: Spec, u: Spec, r: Spec | None, x: Spec, *norm: Spec | None, activation: int, eps: float,
                          **at: Any) -> Results:
    (dx, *_) = _conv2d_winograd(dy, u, None, r, **at, activation=0, pool=0, moments=0)
    assert dx is not None
    return sums_of(dx, x, *norm, activation=activation, eps=eps)


row("winograd_filters", "w -> u", "tile:1 for_dx:1 nr:1", _winograd_filters, algorithm=True)
row("conv2d_winograd", "x u b? r? -> y index? mean? var? unbiased?",
    "out_channels:1 kernel:1 tile:1 padding:4 activation:1 pool:1 moments:1", _conv2d_winograd, algorithm=True)
row("conv2d_winograd_sums", "dy u r? x mean var gamma? beta? y? -> dz sum_dz sum_dz_xhat",
    "out_channels:1 kernel:1 tile:1 padding:4 activation:1 eps:f", _conv2d_winograd_sums, algorithm=True)
