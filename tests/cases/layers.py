"""Rows of the operations with weights, of norms, and of what `fuse` makes of them."""

from __future__ import annotations

from cases.case import LAYOUTS, LENGTHS, Case

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
