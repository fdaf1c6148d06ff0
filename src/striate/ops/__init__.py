"""Every operation of a network: on arrays it computes at once, on Values it is traced."""

from striate.ops.activation import (
    dropout,
    gelu,
    hard_swish,
    leaky_relu,
    log_softmax,
    relu,
    relu6,
    sigmoid,
    softmax,
    tanh,
)
from striate.ops.arithmetic import add, clip, div, mul, sub
from striate.ops.callback import callback
from striate.ops.conv import conv2d, linear
from striate.ops.fused import conv2d_norm_op, linear_norm_op  # noqa: F401  # registers what fuse writes
from striate.ops.loss import count_correct, cross_entropy, mse_loss
from striate.ops.norm import batch_norm, lerp, local_response_norm
from striate.ops.pool import adaptive_avg_pool2d, avg_pool2d, global_avg_pool2d, lp_pool2d, max_pool2d, pool2d
from striate.ops.rbf import rbf
from striate.ops.reduce import mean, sum
from striate.ops.shape import channel_shuffle, concat, flatten, pad, pad_channels, reshape, slice, split

__all__ = [
    "adaptive_avg_pool2d", "add", "avg_pool2d", "batch_norm", "callback", "channel_shuffle", "clip", "concat",
    "conv2d", "count_correct", "cross_entropy", "div", "dropout", "flatten", "gelu", "global_avg_pool2d",
    "hard_swish", "leaky_relu", "lerp", "linear", "local_response_norm", "log_softmax", "lp_pool2d", "max_pool2d",
    "mean", "mse_loss", "mul", "pad", "pad_channels", "pool2d", "rbf", "relu", "relu6", "reshape", "sigmoid",
    "slice", "softmax", "split", "sub", "sum", "tanh",
]
