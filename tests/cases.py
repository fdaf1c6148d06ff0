"""THE table: one line a case. A row of an operation drives its shape rule, forward, gradient, native kernels, cost and
errors; a row of a kernel (`Call`) is for the kernels that no operation calls.

A tuple under a tensor's name is the shape of random numbers; anything else is passed as it stands. `layout` names how
the arrays lie in memory, `data` what is in them. New operation: add rows, not functions.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from striate import ops
from striate.errors import ConfigError, DtypeError, ShapeError, UnknownName
from striate.kernels import reference
from striate.kernels.contract import ROWS

TENSORS = {"conv2d": "x w b r", "linear": "x w b", "batch_norm": "x running_mean running_var weight bias",
           "add": "a b", "sub": "a b", "mul": "a b", "div": "a b", "concat": "values", "lerp": "old new",
           "conv2d_norm": "x w b mean var gamma beta r", "linear_norm": "x w b mean var gamma beta",
           "conv2d_moments": "x w b", "conv2d_max_pool": "x w b", "norm_act": "x mean var gamma beta r",
           "conv2d_max_pool_norm": "x w b mean var gamma beta",
           "cross_entropy": "logits targets weight", "count_correct": "logits targets", "mse_loss": "x target",
           "rbf": "x centers"}


@dataclass(frozen=True, eq=False)
class Case:
    """One call of a public operation."""

    op: str
    error: type[Exception] | None = None
    match: str = ""
    layout: str = "plain"
    data: str = "normal"
    given: dict[str, Any] = field(default_factory=dict)

    def __init__(self, op: str, *, error: Any = None, match: str = "", layout: str = "plain", data: str = "normal",
                 **given: Any) -> None:
        for name, value in dict(op=op, error=error, match=match, layout=layout, data=data, given=given).items():
            object.__setattr__(self, name, value)

    @property
    def tensors(self) -> dict[str, Any]:
        names = TENSORS.get(self.op, "x").split()
        return {name: self.given[name] for name in names if name in self.given}

    @property
    def options(self) -> dict[str, Any]:
        return {name: value for name, value in self.given.items() if name not in self.tensors}

    def __str__(self) -> str:
        words = [f"{k}={short(v)}" for k, v in self.given.items()]
        words += [getattr(self, k) for k, usual in (("layout", "plain"), ("data", "normal"))
                  if getattr(self, k) != usual]
        return f"{self.op}({' '.join(words)})".replace(", ", ",")[:100]


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a kernel."""

    kernel: str
    given: dict[str, Any] = field(default_factory=dict)

    def __init__(self, kernel: str, /, **given: Any) -> None:
        object.__setattr__(self, "kernel", kernel)
        object.__setattr__(self, "given", given)

    @property
    def tensors(self) -> dict[str, Any]:
        return {name.rstrip("?"): self.given.get(name.rstrip("?")) for name in ROWS[self.kernel].inputs}

    @property
    def params(self) -> dict[str, Any]:
        return {name: value for name, value in self.given.items() if name not in self.tensors}

    def __str__(self) -> str:
        return f"{self.kernel}({' '.join(f'{k}={short(v)}' for k, v in self.given.items())})".replace(", ", ",")[:100]


def short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}" if value.ndim else str(value)
    return getattr(value, "__name__", None) or str(value).split(" at 0x")[0]  # addresses change


LENGTHS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 34, 66)  # around the vector widths 4, 8 and 16
LAYOUTS = ("strided", "reversed", "fortran", "channels_last", "misaligned", "odd_bytes", "readonly", "big_endian",
           "repeated")
NAN, INF = float("nan"), float("inf")

CONVOLUTION = [
    Case("conv2d", x=(2, 4, 9, 7), w=(6, 2, 3, 3), b=(6,), stride=(2, 1), padding=1, groups=2),
    Case("conv2d", x=(1, 1, 1, 1), w=(1, 1, 1, 1)),
    Case("conv2d", x=(2, 3, 8, 8), w=(4, 3, 3, 3)),
    Case("conv2d", x=(1, 3, 5, 6), w=(2, 3, 5, 6), b=(2,)),
    Case("conv2d", x=(2, 3, 7, 7), w=(5, 3, 2, 4), padding=(1, 2)),
    Case("conv2d", x=(2, 3, 9, 9), w=(4, 3, 3, 3), padding="same"),
    Case("conv2d", x=(2, 3, 6, 6), w=(4, 3, 4, 2), padding="same", dilation=(1, 3)),
    Case("conv2d", x=(2, 3, 6, 5), w=(4, 3, 3, 3), padding=((2, 0), (0, 1))),
    Case("conv2d", x=(2, 3, 6, 5), w=(4, 3, 2, 2), padding=((0, 3), (4, 0))),
    Case("conv2d", x=(2, 3, 9, 11), w=(4, 3, 1, 1), stride=3),
    Case("conv2d", x=(2, 3, 9, 11), w=(4, 3, 2, 2), stride=(3, 4), padding=1),
    Case("conv2d", x=(1, 3, 16, 15), w=(4, 3, 11, 11), stride=4, padding=2),
    Case("conv2d", x=(1, 3, 14, 14), w=(8, 3, 7, 7), b=(8,), stride=2, padding=3),
    Case("conv2d", x=(2, 3, 9, 9), w=(4, 3, 3, 3), dilation=2),
    Case("conv2d", x=(1, 2, 13, 11), w=(3, 2, 3, 2), dilation=(3, 5), stride=(2, 3), padding=(3, 2)),
    Case("conv2d", x=(1, 2, 12, 12), w=(3, 2, 3, 3), dilation=2, stride=2, padding=2),
    Case("conv2d", x=(1, 2, 12, 12), w=(3, 2, 3, 3), dilation=2, stride=4, padding=3),
    Case("conv2d", x=(2, 6, 5, 5), w=(6, 1, 3, 3), groups=6, padding=1),
    Case("conv2d", x=(2, 6, 5, 5), w=(12, 1, 3, 3), b=(12,), groups=6, stride=2),
    Case("conv2d", x=(2, 9, 5, 5), w=(6, 3, 2, 2), groups=3),
    *(Case("conv2d", x=(2, group * groups, 5, 9), w=(group * groups, group, 3, 2), b=(group * groups,), groups=groups,
           stride=stride, padding=1, dilation=dilation)
      for group in (2, 4, 8) for groups in (3, 9) for stride, dilation in ((1, 1), (2, 1), (1, (2, 1)))),
    Case("conv2d", x=(2, 3, 5, 5), w=(4, 3, 3, 3), b=(4,), flip=True),
    Case("conv2d", x=(2, 4, 6, 5), w=(4, 2, 3, 2), groups=2, stride=2, padding=1, flip=True),
    Case("conv2d", x=(2, 3, 4, 4), w=(4, 3, 3, 3), padding=5),
    Case("conv2d", x=(1, 2, 1, 9), w=(3, 2, 1, 5), padding=(0, 2)),
    Case("conv2d", x=(1, 2, 9, 1), w=(3, 2, 5, 1), padding=(2, 0)),
    Case("conv2d", x=(0, 3, 8, 8), w=(4, 3, 3, 3), b=(4,)),
    Case("conv2d", x=(0, 4, 8, 8), w=(4, 2, 1, 1), groups=2, stride=2),
    Case("conv2d", x=(2, 1, 14, 14), w=(6, 1, 5, 5), b=(6,), padding=2),
    Case("conv2d", x=(1, 20, 3, 3), w=(300, 20, 1, 1)),
    Case("conv2d", x=(1, 300, 3, 3), w=(5, 300, 3, 3), padding=1),
    *(Case("conv2d", x=(1, c, 4, 3), w=(41 - c, c, 3, 3), b=(41 - c,), padding=1) for c in range(1, 41)),
    *(Case("conv2d", x=(2, c, 3, 5), w=(c, c, 1, 1)) for c in LENGTHS),
    *(Case("conv2d", x=(1, c, 4, 3), w=(c, 1, 3, 3), groups=c, padding=1) for c in LENGTHS),
    *(Case("conv2d", x=(1, 2, 3, length), w=(3, 2, 2, 3), padding=1) for length in LENGTHS),
    *(Case("conv2d", x=(3, 3, 6, 5), w=(4, 3, 3, 2), b=(4,), layout=layout) for layout in LAYOUTS),
    Case("conv2d", x=(1, 2, 7, 7), w=(3, 2, 3, 3), padding=1, data="one_nan"),
    Case("conv2d", x=(1, 2, 7, 7), w=(3, 2, 3, 3), stride=2, data="one_inf"),
    Case("linear", x=(4, 7), w=(5, 7), b=(5,)),
    Case("linear", x=(1, 1), w=(1, 1)),
    Case("linear", x=(0, 7), w=(5, 7), b=(5,)),
    Case("linear", x=(3, 400), w=(10, 400), b=(10,)),
    Case("linear", x=(70, 3), w=(2, 3)),
    *(Case("linear", x=(3, c), w=(67 - c, c), b=(67 - c,)) for c in LENGTHS),
    *(Case("linear", x=(4, 9), w=(5, 9), b=(5,), layout=layout) for layout in LAYOUTS),
    *(Case("rbf", x=(n, c), centers=(k, c)) for n, c, k in ((4, 7, 5), (1, 1, 1), (0, 7, 5), (3, 400, 10), (70, 3, 2))),
    *(Case("rbf", x=(3, c), centers=(67 - c, c)) for c in LENGTHS),
    *(Case("rbf", x=(4, 9), centers=(5, 9), layout=layout) for layout in LAYOUTS),
    Case("rbf", x=(3, 9), centers=(5, 9), data="one_nan"),
]

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

CHANNELS = [dict(running_mean=(c,), running_var=(c,), weight=(c,), bias=(c,)) for c in range(41)]
NORMALISATION = [
    Case("batch_norm", x=(3, 4, 5, 2), **CHANNELS[4]),
    Case("batch_norm", x=(3, 4, 5, 2), **CHANNELS[4], training=True),
    Case("batch_norm", x=(7, 4), **CHANNELS[4], training=True, eps=1e-3),
    Case("batch_norm", x=(7, 4), **CHANNELS[4]),
    Case("batch_norm", x=(2, 3, 4, 4), running_mean=(3,), running_var=(3,)),
    Case("batch_norm", x=(2, 3, 4, 4), running_mean=(3,), running_var=(3,), training=True),
    Case("batch_norm", x=(2, 3, 4, 4), running_mean=(3,), running_var=(3,), weight=(3,), training=True),
    Case("batch_norm", x=(2, 3, 4, 4), running_mean=(3,), running_var=(3,), bias=(3,), training=True),
    Case("batch_norm", x=(0, 3, 4, 4), **CHANNELS[3], training=True),
    Case("batch_norm", x=(0, 3, 4, 4), **CHANNELS[3]),
    Case("batch_norm", x=(1, 3, 1, 2), **CHANNELS[3], training=True),
    *(Case("batch_norm", x=(2, c, 3, 2), **CHANNELS[c], training=True) for c in range(1, 41, 3)),
    *(Case("batch_norm", x=(2, c, 1, 3), **CHANNELS[c]) for c in LENGTHS if c < 41),
    *(Case("batch_norm", x=(2, 4, 3, 3), **CHANNELS[4], training=True, layout=layout)
      for layout in LAYOUTS if layout != "repeated"),
    *(Case("local_response_norm", x=(2, 7, 3, 4), size=size, alpha=0.3, beta=beta, k=k)
      for size, beta, k in ((1, 0.75, 1.0), (2, 0.75, 2.0), (3, 0.5, 1.0), (4, 1.0, 0.1), (5, 0.0, 1.0), (9, 2, 3.0))),
    Case("local_response_norm", x=(2, 11, 3, 4)),
    Case("local_response_norm", x=(3, 11), size=40, alpha=0.1),
    Case("local_response_norm", x=(0, 5, 2, 2)),
    *(Case("local_response_norm", x=(2, c, 1, 3), alpha=0.2) for c in LENGTHS),
    *(Case("local_response_norm", x=(3, 6, 3, 2), alpha=0.2, layout=layout) for layout in LAYOUTS),
    Case("local_response_norm", x=(2, 9, 2, 2), data="one_nan"),
    Case("local_response_norm", x=(2, 9, 2, 2), data="large"),
    Case("lerp", old=(5,), new=(5,), weight=0.1),
    Case("lerp", old=(2, 3, 4, 5), new=(2, 3, 4, 5), weight=0.9),
    Case("dropout", x=(3, 4, 5, 6), p=0.5, seed=7, step=3),
    Case("dropout", x=(3, 7), p=0.2, seed=2**40 + 5, step=2**33),
    Case("dropout", x=(2, 3, 3, 3), p=0.0),
    Case("dropout", x=(0, 3, 3, 3), p=0.9, seed=1),
    *(Case("dropout", x=(2, c, 1, 3), p=0.5, seed=c) for c in LENGTHS),
]

ACTIVATIONS = ("relu", "tanh", "sigmoid", "relu6", "leaky_relu", "hard_swish", "gelu")
ELEMENTWISE = [
    *(Case(op, x=x) for op in ACTIVATIONS
      for x in ((2, 3, 4, 5), (0, 3, 2, 2), (3, 7), (5,), *((1, n) for n in LENGTHS), *((2, n, 1, 2) for n in (3, 9)))),
    *(Case(op, x=(3, 5, 2, 3), layout=layout) for op in ("relu", "tanh") for layout in LAYOUTS),
    *(Case(op, x=(2, 40), data="large") for op in ACTIVATIONS),
    *(Case(op, x=(2, 9), data="one_nan") for op in ACTIVATIONS),
    *(Case("leaky_relu", x=(2, 3, 4, 5), slope=slope) for slope in (0.0, 0.2, -0.5, 1.5)),
    *(Case("gelu", x=(2, 3, 4, 5), approximate="tanh", data=data) for data in ("normal", "large", "one_nan")),
    Case("clip", x=(2, 3, 4, 5), low=-0.5, high=0.7),
    Case("clip", x=(2, 17), low=-INF, high=0.0),
    Case("clip", x=(0, 17), low=0.0, high=6.0),
    Case("clip", x=(2, 9), low=-1.0, high=1.0, data="one_nan"),
    *(Case(op, a=(2, 3, 4, 5), b=(2, 3, 4, 5)) for op in ("add", "sub", "mul", "div")),
    *(Case(op, a=(2, 3, 4, 5), b=(1, 3, 1, 1)) for op in ("add", "sub", "mul", "div")),
    *(Case(op, a=(1, 1, 4, 5), b=(2, 3, 4, 5)) for op in ("add", "sub", "mul", "div")),
    *(Case(op, a=(2, 1, 4, 1), b=(1, 3, 1, 5)) for op in ("add", "sub", "mul", "div")),
    *(Case(op, a=(3, 9), b=2.5) for op in ("add", "sub", "mul", "div")),
    *(Case(op, a=2, b=(2, 3, 2, 2)) for op in ("add", "sub", "mul", "div")),
    *(Case(op, a=(0, 3), b=(1, 3)) for op in ("add", "sub", "mul", "div")),
    *(Case("add", a=(2, n, 1, 2), b=(1, n, 1, 1)) for n in LENGTHS),
    *(Case("mul", a=(n,), b=(n,)) for n in LENGTHS),
    *(Case("sub", a=(3, 5, 2, 3), b=(3, 5, 2, 3), layout=layout) for layout in LAYOUTS),
    *(Case(op, x=x) for op in ("sum", "mean") for x in ((2, 3, 4, 5), (0, 3), (7,), (3, 33))),
]

LOSSES = [
    *(Case(op, x=x) for op in ("softmax", "log_softmax")
      for x in ((3, 10), (1, 1), (0, 10), (2, 5, 3, 2), (2, 17, 1, 1), (1, 33), (2, 3, 1, 7))),
    *(Case(op, x=(3, 10), data="large") for op in ("softmax", "log_softmax")),
    *(Case("softmax", x=(3, 4, 2, 3), layout=layout) for layout in LAYOUTS),
    Case("cross_entropy", logits=(6, 10), targets=(6,)),
    Case("cross_entropy", logits=(6, 10), targets=(6,), label_smoothing=0.1),
    Case("cross_entropy", logits=(6, 10), targets=(6,), weight=(10,)),
    Case("cross_entropy", logits=(6, 10), targets=(6,), weight=(10,), label_smoothing=0.3),
    Case("cross_entropy", logits=(1, 1), targets=(1,)),
    Case("cross_entropy", logits=(0, 10), targets=(0,)),
    Case("cross_entropy", logits=(0, 10), targets=(0,), weight=(10,)),
    Case("cross_entropy", logits=(1, 33), targets=(1,), label_smoothing=1.0),
    Case("cross_entropy", logits=(6, 10), targets=(6,), data="large"),
    *(Case("cross_entropy", logits=(6, 10), targets=(6,), layout=layout) for layout in LAYOUTS),
    Case("mse_loss", x=(4, 7), target=(4, 7)),
    Case("mse_loss", x=(2, 3, 4, 5), target=(2, 3, 4, 5)),
    Case("mse_loss", x=(0, 3), target=(0, 3)),
    Case("count_correct", logits=(9, 4), targets=(9,)),
    Case("count_correct", logits=(9, 3), targets=(9,), data="ties"),
    Case("count_correct", logits=(0, 3), targets=(0,)),
]

MOVES = [
    Case("concat", values=[(2, 3, 4, 5), (2, 1, 4, 5), (2, 9, 4, 5)]),
    Case("concat", values=[(2, 3, 4, 5), (2, 3, 4, 1)], axis=-1),
    Case("concat", values=[(2, 3, 1, 5), (2, 3, 4, 5)], axis=2),
    Case("concat", values=[(2, 3), (2, 17)]),
    Case("concat", values=[(2, 3)]),
    Case("concat", values=[(0, 3, 2, 2), (0, 4, 2, 2)]),
    *(Case("concat", values=[(2, n, 2, 1), (2, 3, 2, 1)]) for n in LENGTHS),
    Case("split", x=(2, 9, 4, 5), sizes=[2, 3, 4]),
    Case("split", x=(2, 9, 4, 5), sizes=(1, 3), axis=2),
    Case("split", x=(2, 9), sizes=[9]),
    Case("split", x=(0, 9), sizes=[4, 5]),
    Case("slice", x=(2, 9, 4, 5), start=3, stop=8),
    Case("slice", x=(2, 9, 4, 5), start=1, stop=3, axis=3),
    Case("slice", x=(2, 9, 4, 5), start=0, stop=4, axis=-2),
    Case("slice", x=(2, 19), start=18, stop=19),
    Case("pad", x=(2, 3, 4, 5), padding=1),
    Case("pad", x=(2, 3, 4, 5), padding=((1, 0), (2, 3)), value=-1.5),
    Case("pad", x=(0, 3, 4, 5), padding=(0, 2)),
    Case("pad_channels", x=(2, 3, 4, 5), channels=2),
    Case("pad_channels", x=(2, 8, 3, 1), channels=8),
    Case("pad_channels", x=(2, 3, 4, 5), channels=0),
    Case("pad_channels", x=(0, 3, 4, 5), channels=13),
    *(Case("channel_shuffle", x=x, groups=groups)
      for x, groups in (((2, 6, 3, 4), 1), ((2, 6, 3, 4), 2), ((2, 6, 3, 4), 3), ((2, 6, 3, 4), 6), ((3, 20), 4),
                        ((0, 6, 2, 2), 3), ((1, 256, 1, 2), 16), ((1, 510, 1, 2), 17))),
    *(Case("channel_shuffle", x=(2, 2 * n, 2, 1), groups=2) for n in LENGTHS),
    *(Case("channel_shuffle", x=(3, 6, 3, 2), groups=3, layout=layout) for layout in LAYOUTS),
    Case("flatten", x=(2, 3, 4, 5)),
    Case("flatten", x=(2, 8, 1, 1)),
    Case("flatten", x=(2, 1, 4, 5)),
    Case("flatten", x=(3, 7)),
    Case("flatten", x=(0, 3, 4, 5)),
    Case("reshape", x=(2, 3, 4, 5), shape=(5, 4, 3)),
    Case("reshape", x=(2, 12), shape=(3, 2, 2)),
    Case("reshape", x=(2, 3, 4, 1), shape=(12,)),
    Case("reshape", x=(2, 3, 4, 1), shape=(2, 6)),
    *(Case("flatten", x=(3, 4, 3, 3), layout=layout) for layout in LAYOUTS),
]

POINT = dict(stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1)
SAME = dict(stride=(1, 1), padding=(1, 1, 1, 1), dilation=(1, 1), groups=1)
DEPTHWISE = dict(SAME, groups=8)
FOURS = dict(SAME, groups=5)
SPREAD = dict(stride=(2, 1), padding=(1, 0, 2, 1), dilation=(1, 2), groups=2)
FUSED = [  # operations as `fuse` writes them, their parameters already in one form
    *(Case("conv2d", x=(2, 4, 6, 5), w=(6, 2, 3, 2), b=(6,), **SPREAD, flip=False, activation=a) for a in range(5)),
    Case("conv2d", x=(2, 4, 6, 5), w=(6, 2, 3, 2), b=None, **SPREAD, flip=True, activation=1),
    *(Case("conv2d", x=(2, 4, 6, 5), w=(6, 2, 3, 2), b=b, r=(2, 6, 3, 6), **SPREAD, flip=flip, activation=a)
      for a, b, flip in ((0, None, True), (1, (6,), False), (2, (6,), True))),
    *(Case("conv2d_moments", x=(2, 4, 6, 5), w=(6, 2, 3, 2), b=b, **SPREAD, flip=flip)
      for b, flip in (((6,), False), (None, True))),
    *(Case("conv2d_max_pool", x=(2, 4, 8, 5), w=(6, 2, 3, 2), b=b, **SPREAD, flip=flip, activation=a)
      for a, b, flip in ((0, (6,), False), (1, None, True))),
    *(Case("norm_act", x=x, mean=(c,), var=(c,), gamma=gamma, beta=beta, eps=1e-3, activation=a, own=0, **r)
      for x, c in (((3, 5, 4, 2), 5), ((7, 6), 6)) for a in (0, 1, 4)
      for gamma, beta in (((c,), (c,)), (None, None), ((c,), None)) for r in ({}, {"r": x})),
    *(Case("linear", x=(5, 7), w=(6, 7), b=(6,), activation=a) for a in range(5)),
    Case("conv2d_norm", x=(2, 4, 6, 5), w=(6, 2, 3, 2), b=None, mean=(6,), var=(6,), gamma=(6,), beta=(6,),
         r=(2, 6, 3, 6), **SPREAD, flip=False, activation=1, eps=1e-3),
    *(Case("conv2d_max_pool_norm", x=(2, 4, 8, 5), w=(6, 2, 3, 2), b=b, mean=(6,), var=(6,), gamma=b, beta=(6,),
           **SPREAD, flip=False, activation=a, eps=1e-3) for a, b in ((0, (6,)), (1, None))),
    *(Case("conv2d_norm", x=(2, 4, 6, 5), w=(6, 2, 3, 2), b=b, mean=(6,), var=(6,), gamma=b, beta=beta, **SPREAD,
           flip=False, activation=a, eps=1e-3) for a, b, beta in ((0, (6,), (6,)), (1, None, None), (2, (6,), None))),
    *(Case("linear_norm", x=(5, 7), w=(6, 7), b=b, mean=(6,), var=(6,), gamma=None, beta=b, activation=a, eps=1e-5)
      for a, b in ((0, (6,)), (1, None), (3, (6,)))),
]

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

CASES = CONVOLUTION + POOLING + CALLBACKS + NORMALISATION + ELEMENTWISE + LOSSES + MOVES + FUSED

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
    *(winograd((n, 17, 24, 24), 40, 3, 4, 16, moments=1, b=False) for n in (1, 50)),  # many units
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


# Many pixels and channels: several blocks, runs and strips of a reduction, with rows and columns left over.
LARGE = ((3, 37, 40, 20), (5, 6, 90, 61), (131, 520, 1, 3), (70, 1030), (2, 16, 127, 65))
CALLS = [
    *WINOGRAD_CALLS,
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


def public_operations() -> list[str]:
    """The operations a user can call; each must have rows."""
    return [name for name in ops.__all__ if inspect.isfunction(getattr(ops, name))]
