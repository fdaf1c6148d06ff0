"""Rows of activations, arithmetic, losses, and of what only moves numbers."""

from __future__ import annotations

from cases.case import INF, LAYOUTS, LENGTHS, Case

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
