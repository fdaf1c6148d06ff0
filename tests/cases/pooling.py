"""Rows of pooling, and of functions of the user's."""

from __future__ import annotations

import numpy as np

from cases.case import LAYOUTS, LENGTHS, Case

POOLING = [
    Case("max_pool2d", x=(2, 3, 8, 8), kernel_size=2),
    Case("max_pool2d", x=(2, 3, 7, 9), kernel_size=(3, 2), stride=(2, 1)),
    Case("max_pool2d", x=(2, 3, 7, 7), kernel_size=3, stride=2, padding=1),
    Case("max_pool2d", x=(2, 3, 7, 7), kernel_size=3, stride=2, ceil_mode=True),
    Case("max_pool2d", x=(2, 3, 8, 6), kernel_size=3, stride=2, padding=1, ceil_mode=True),
    Case("max_pool2d", x=(1, 2, 5, 5), kernel_size=2, stride=3, padding=1, ceil_mode=True),
    Case("max_pool2d", x=(1, 2, 9, 9), kernel_size=2, stride=2, dilation=3),
    Case("max_pool2d", x=(1, 2, 9, 8), kernel_size=(2, 3), stride=2, dilation=(3, 2), padding=(1, 2), ceil_mode=True),
    Case("max_pool2d", x=(1, 2, 9, 9), kernel_size=1, stride=4),
    Case("max_pool2d", x=(1, 2, 18, 17), kernel_size=(17, 16), stride=1),
    Case("max_pool2d", x=(0, 2, 9, 9), kernel_size=3),
    Case("max_pool2d", x=(2, 2, 6, 6), kernel_size=3, stride=1, data="ties"),
    Case("max_pool2d", x=(1, 2, 6, 6), kernel_size=2, data="one_nan"),
    Case("max_pool2d", x=(1, 2, 6, 6), kernel_size=3, stride=2, padding=1, data="minus_inf"),
    *(Case("max_pool2d", x=(1, c, 5, 4), kernel_size=3, stride=2, padding=1) for c in range(1, 41)),
    *(Case("max_pool2d", x=(3, 3, 6, 6), kernel_size=2, layout=layout) for layout in LAYOUTS),
    Case("avg_pool2d", x=(2, 3, 8, 8), kernel_size=2),
    Case("avg_pool2d", x=(2, 3, 7, 9), kernel_size=(3, 2), stride=(2, 1)),
    Case("avg_pool2d", x=(2, 3, 7, 7), kernel_size=3, stride=2, padding=1),
    Case("avg_pool2d", x=(2, 3, 7, 7), kernel_size=3, stride=2, padding=1, count_include_pad=False),
    Case("avg_pool2d", x=(2, 3, 8, 7), kernel_size=3, stride=2, padding=1, ceil_mode=True),
    Case("avg_pool2d", x=(2, 3, 8, 7), kernel_size=3, stride=2, padding=1, ceil_mode=True, count_include_pad=False),
    Case("avg_pool2d", x=(1, 2, 5, 5), kernel_size=2, stride=3, padding=1, ceil_mode=True),
    Case("avg_pool2d", x=(0, 2, 5, 5), kernel_size=2),
    *(Case("avg_pool2d", x=(1, c, 4, 5), kernel_size=3, stride=2, padding=1) for c in range(1, 41)),
    *(Case("avg_pool2d", x=(3, 3, 6, 6), kernel_size=2, layout=layout) for layout in LAYOUTS),
    Case("global_avg_pool2d", x=(2, 5, 7, 6)),
    Case("global_avg_pool2d", x=(0, 5, 7, 6)),
    Case("global_avg_pool2d", x=(2, 33, 1, 1)),
    *(Case("adaptive_avg_pool2d", x=x, output_size=out)
      for x, out in (((2, 3, 7, 9), 3), ((2, 3, 5, 11), (3, 4)), ((1, 2, 3, 4), (6, 7)), ((2, 3, 6, 8), (3, 4)),
                     ((2, 3, 6, 7), (3, 4)), ((1, 2, 1, 1), (2, 3)), ((0, 2, 5, 5), 2), ((1, 3, 10, 10), (9, 7)))),
    *(Case("adaptive_avg_pool2d", x=(1, c, 4, 5), output_size=3) for c in LENGTHS),
    *(Case("adaptive_avg_pool2d", x=(3, 3, 6, 5), output_size=4, layout=layout) for layout in LAYOUTS),
    Case("adaptive_avg_pool2d", x=(1, 2, 6, 5), output_size=4, data="one_nan"),
    *(Case("lp_pool2d", x=(2, 3, 7, 8), p=p, kernel_size=3, stride=2) for p in (1, 1.5, 2, 3, 4.0, 5.25, 10)),
    *(Case("lp_pool2d", x=(2, 3, 8, 7), p=p, kernel_size=(3, 2), ceil_mode=True) for p in (1, 2, 3)),
    Case("lp_pool2d", x=(2, 3, 9, 7), p=2, kernel_size=2, stride=(3, 1)),
    Case("lp_pool2d", x=(0, 3, 9, 7), p=2, kernel_size=2),
    Case("lp_pool2d", x=(1, 2, 6, 6), p=2, kernel_size=2, data="one_nan"),
    *(Case("lp_pool2d", x=(1, c, 4, 5), p=2, kernel_size=2) for c in LENGTHS),
    *(Case("lp_pool2d", x=(3, 3, 6, 6), p=2, kernel_size=2, layout=layout) for layout in LAYOUTS),
]


def l2(windows: np.ndarray) -> np.ndarray:
    return np.sqrt((windows * windows).sum(-1) + 1)


def l2_slope(windows: np.ndarray, y: np.ndarray) -> np.ndarray:
    return windows / y[..., None]


def cube(x: np.ndarray) -> np.ndarray:
    return x**3


def cube_slope(x: np.ndarray, y: np.ndarray, dy: np.ndarray) -> np.ndarray:
    return 3 * x * x * dy


CALLBACKS = [
    Case("pool2d", x=(2, 3, 6, 6), kernel_size=2, function=l2, derivative=l2_slope),
    Case("pool2d", x=(2, 3, 7, 5), kernel_size=(3, 2), stride=(2, 1), padding=(1, 0), function=l2, derivative=l2_slope),
    Case("pool2d", x=(1, 2, 5, 5), kernel_size=2, stride=1, padding=1, padding_value=2.0, function=l2,
         derivative=l2_slope),
    Case("pool2d", x=(0, 2, 5, 5), kernel_size=2, function=l2, derivative=l2_slope),
    Case("callback", x=(2, 3, 4, 5), function=cube, derivative=cube_slope, cost=(0, 120)),
    Case("callback", x=(2, 3), function=cube, derivative=cube_slope, shape=(3,), cost=(0, 6)),
]
