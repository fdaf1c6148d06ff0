"""Rows that are refused."""

from __future__ import annotations

import numpy as np

from cases.case import INF, Case
from cases.pooling import l2
from striate.errors import ConfigError, DtypeError, ShapeError, UnknownName

ERRORS = [
    Case("conv2d", x=(2, 3, 8, 8), w=(4, 5, 3, 3), error=ShapeError, match="C/groups = 3.*got 5"),
    Case("conv2d", x=(2, 3, 8, 8), w=(4, 3, 3, 3), b=(5,), error=ShapeError, match=r"b must have shape \(O,\)"),
    Case("conv2d", x=(2, 4, 8, 8), w=(5, 2, 3, 3), groups=2, error=ShapeError, match="multiples of groups = 2"),
    Case("conv2d", x=(2, 3, 2, 8), w=(4, 3, 3, 3), error=ShapeError, match="height 3 over padded input height 2"),
    Case("conv2d", x=(2, 3, 8, 8), w=(4, 3, 3, 3), stride=0, error=ConfigError, match="stride must be positive, got 0"),
    Case("conv2d", x=(2, 3, 8, 8), w=(4, 3, 3, 3), stride=2, padding="same", error=ConfigError, match="stride 1"),
    Case("linear", x=(2, 3), w=(4, 5), error=ShapeError, match=r"\(O, C\) with C = 3"),
    Case("max_pool2d", x=(2, 3, 8, 8), kernel_size=2, padding=2, error=ShapeError, match="half the effective kernel 2"),
    Case("max_pool2d", x=(1, 1, 1, 1), kernel_size=2, stride=1, dilation=3, padding=2, error=ShapeError,
         match="every window must hold a pixel"),
    Case("avg_pool2d", x=(2, 3, 8, 8), kernel_size=9, error=ShapeError, match="must fit into the padded input"),
    Case("batch_norm", x=(1, 3), running_mean=(3,), running_var=(3,), training=True, error=ShapeError,
         match="more than 1 value per channel"),
    Case("dropout", x=(2, 3), p=1.0, error=ConfigError, match="p must be a number from 0"),
    Case("lerp", old=(3,), new=(3,), weight=1.5, error=ConfigError, match="weight must be a number from 0 to 1"),
    Case("global_avg_pool2d", x=(2, 3), error=ShapeError, match="x must have rank 4, got rank 2"),
    Case("adaptive_avg_pool2d", x=(2, 3), output_size=2, error=ShapeError, match="x must have rank 4, got rank 2"),
    Case("adaptive_avg_pool2d", x=(2, 3, 4, 4), output_size=0, error=ConfigError, match="output_size must be positive"),
    Case("lp_pool2d", x=(2, 3, 8, 8), p=0.5, kernel_size=2, error=ConfigError, match="p must be a number from 1"),
    Case("lp_pool2d", x=(2, 3, 8, 8), p=2, kernel_size=9, error=ShapeError, match="must fit into the padded input"),
    Case("local_response_norm", x=(2, 3), size=0, error=ConfigError, match="size must be positive, got 0"),
    Case("local_response_norm", x=(3,), error=ShapeError, match="x must have rank 2 or 4, got rank 1"),
    Case("gelu", x=(2, 3), approximate="erf", error=UnknownName, match="no form .approximate. named 'erf'"),
    Case("leaky_relu", x=(2, 3), slope=INF, error=ConfigError, match="slope must be a number from"),
    Case("channel_shuffle", x=(2, 9, 4, 4), groups=2, error=ShapeError, match="multiple of groups = 2, got C = 9"),
    Case("rbf", x=(2, 9), centers=(3, 8), error=ShapeError, match=r"\(K, C\) with C = 9, got \(3, 8\)"),
    Case("flatten", x=(3,), error=ShapeError, match="x must have rank 2 or 3 or 4, got rank 1"),
    Case("callback", x=(2, 3), function=3, error=ConfigError, match="needs a function, got 3"),
    Case("count_correct", logits=(2, 3), targets=np.zeros(2, np.float32), error=DtypeError, match="must be integers"),
    Case("add", a=(2, 3), b=(2, 4), error=ShapeError, match="equal or 1 on every axis"),
    Case("clip", x=(2, 3), low=2.0, high=1.0, error=ConfigError, match="low must not exceed high"),
    Case("cross_entropy", logits=(2, 3), targets=np.array([0, 3]), error=ConfigError,
         match=r"target 3 out of range \[0, 3\) at index 1"),
    Case("cross_entropy", logits=(2, 3), targets=np.zeros(2, np.float32), error=DtypeError, match="must be integers"),
    Case("mse_loss", x=(2, 3), target=(2, 4), error=ShapeError, match="target must have shape"),
    Case("concat", values=[(2, 3), (3, 3)], error=ShapeError, match="agree but on axis 1"),
    Case("split", x=(2, 9), sizes=[4, 4], error=ShapeError, match="sum to 9 on axis 1"),
    Case("slice", x=(2, 9), start=3, stop=10, error=ShapeError, match="0 <= start < stop <= 9"),
    Case("reshape", x=(2, 9), shape=(2, 5), error=ShapeError, match="must have 9 elements"),
    Case("pad", x=(2, 9), padding=1, error=ShapeError, match="x must have rank 4, got rank 2"),
    Case("pad_channels", x=(2, 9), channels=1, error=ShapeError, match="x must have rank 4, got rank 2"),
    Case("pool2d", x=(2, 3, 4, 4), kernel_size=5, function=l2, error=ShapeError, match="must fit into the padded"),
]
