"""Bad inputs, several hundred: each is refused in one clear sentence within a second, on arrays and while tracing.

Rows marked CVE or with a number are mistakes that crashed other frameworks. Nothing here may crash, hang, allocate what
was asked for, or give a silent wrong answer.
"""

from __future__ import annotations

import math
import re
import time

import numpy as np
import pytest

from arrays import arrays_of
from cases import Case, cube, l2
from play import Playback, invoke
from striate import ops
from striate.errors import ConfigError, DtypeError, LimitError, ShapeError, StriateError, UnknownName
from striate.graph import Graph
from striate.kernels import native, reference
from striate.kernels.contract import Spec

ANY = StriateError
NOT_INTEGERS = (True, 1.5, math.nan, math.inf, "3", b"3", None, 2j, np.float32(2), np.bool_(True), {}, object)
OUT_OF_RANGE = (-1, -(2**63), 2**31, 2**32, 2**55, 2**63, 2**64, np.int8(-1), np.uint64(2**63))
NOT_PAIRS = ((), (1,), (1, 2, 3), [], [2, "2"], (2, None), (2, (2,)), np.ones((3, 2), int), np.ones(3, int), "22")
NOT_NUMBERS = (True, "0.5", None, 1j, (), [0.5], np.float32)

IMAGES = dict(x=(2, 4, 8, 8))
CONV = dict(**IMAGES, w=(4, 4, 3, 3))
POOLS = [("max_pool2d", dict(**IMAGES, kernel_size=2), ("kernel_size", "stride", "padding", "dilation")),
         ("avg_pool2d", dict(**IMAGES, kernel_size=2), ("kernel_size", "stride", "padding")),
         ("lp_pool2d", dict(**IMAGES, p=2, kernel_size=2), ("kernel_size", "stride")),
         ("adaptive_avg_pool2d", dict(**IMAGES, output_size=3), ("output_size",)),
         ("pool2d", dict(**IMAGES, kernel_size=2, function=l2), ("kernel_size", "stride", "padding"))]


def bad(op, argument, values, error=ANY, /, **given):
    """One row a value, the message naming operation and argument."""
    return [Case(op, **{**given, argument: value}, error=error, match=rf"^{op}: .*{argument}") for value in values]


def sizes(op, given, arguments):
    """Every wrong kind of integer and pair under each argument."""
    rows = []
    for argument in arguments:
        default = argument == "stride" and op != "conv2d"
        kinds = [v for v in NOT_INTEGERS if not (v is None and default)]
        rows += bad(op, argument, kinds, (DtypeError, ConfigError), **given)
        rows += bad(op, argument, OUT_OF_RANGE, ConfigError, **given)
        rows += bad(op, argument, [0] if argument != "padding" else [], ConfigError, **given)
        rows += bad(op, argument, NOT_PAIRS, (DtypeError, ConfigError), **given)
    return rows


SIZES = [
    *sizes("conv2d", CONV, ("stride", "dilation", "padding")),
    *bad("conv2d", "groups", (*NOT_INTEGERS, (1, 1), [1]), DtypeError, **CONV),
    *bad("conv2d", "groups", (0, *OUT_OF_RANGE), ConfigError, **CONV),
    *bad("conv2d", "groups", (3, 5, 8, 2**31 - 1), ShapeError, **CONV),
    *(row for op, given, arguments in POOLS for row in sizes(op, given, arguments)),
    Case("conv2d", **CONV, padding="valid", error=ConfigError, match="numbers or 'same', got 'valid'"),
    Case("conv2d", **CONV, padding=((1, 2), (3, -1)), error=ConfigError, match="padding must be at least 0"),
    Case("conv2d", **CONV, padding=((1, 2), 3), error=(ConfigError, DtypeError), match="padding"),
    Case("conv2d", **CONV, padding=2**31 - 1, error=LimitError, match="conv2d: a result of shape"),
    Case("conv2d", **CONV, padding=2**22, error=LimitError, match="conv2d: a result of shape"),  # torch 143489
    Case("conv2d", **CONV, dilation=2**31 - 1, error=ShapeError, match="must fit into the padded input"),
    Case("conv2d", **CONV, flip=1, error=DtypeError, match="flip must be True or False, got 1"),
    Case("conv2d", **CONV, kernels="gpu", error=UnknownName, match="no kernel set named 'gpu'"),
    Case("max_pool2d", x=(1, 1, 400, 400), kernel_size=300, error=LimitError, match="at most 65535 positions"),
    Case("max_pool2d", **IMAGES, kernel_size=2, ceil_mode=1, error=DtypeError, match="ceil_mode must be True or False"),
    Case("max_pool2d", **IMAGES, kernel_size=9, error=ShapeError, match="must fit"),  # CVE-2021-41196
    Case("max_pool2d", **IMAGES, kernel_size=2, dilation=8, error=ShapeError, match="must fit"),
    Case("max_pool2d", **IMAGES, kernel_size=3, padding=2, error=ShapeError, match="at most half"),
    Case("max_pool2d", x=(1, 1, 1, 1), kernel_size=2, stride=1, dilation=3, padding=2, error=ShapeError,
         match="every window must hold a pixel"),
    Case("avg_pool2d", **IMAGES, kernel_size=2, count_include_pad="no", error=DtypeError, match="count_include_pad"),
    Case("avg_pool2d", **IMAGES, kernel_size=2**31 - 1, error=ShapeError, match="must fit"),
    Case("pad", **IMAGES, padding=2**31 - 1, error=LimitError, match="pad: a result of shape"),  # CVE-2022-41885
    Case("pad", **IMAGES, padding=2**22, error=LimitError, match="pad: a result of shape"),
    *bad("pad", "padding", (*NOT_INTEGERS, *OUT_OF_RANGE, *NOT_PAIRS), (DtypeError, ConfigError), **IMAGES),
    *bad("pad_channels", "channels", (*NOT_INTEGERS, *OUT_OF_RANGE), (DtypeError, ConfigError), **IMAGES),
    *bad("pad", "value", (*NOT_NUMBERS, math.nan), (DtypeError, ConfigError), **IMAGES, padding=1),
]


def array(shape, dtype=np.float32):
    return np.zeros(shape, dtype)


VECTORS = dict(running_mean=(4,), running_var=(4,), weight=(4,), bias=(4,))
SHAPES = [
    *(Case("conv2d", x=x, w=(4, 4, 3, 3), error=ShapeError, match="x must have rank 4")
      for x in ((), (4,), (4, 8), (4, 8, 8), (1, 2, 4, 8, 8))),
    *(Case("conv2d", **IMAGES, w=w, error=ShapeError, match="w must have rank 4")
      for w in ((), (4,), (4, 4), (4, 4, 3), (4, 4, 3, 3, 3))),
    *(Case("conv2d", **CONV, b=b, error=ShapeError, match="b must have shape") for b in ((), (3,), (5,), (4, 1), (0,))),
    *(Case("conv2d", x=x, w=(4, 4, 3, 3), error=ShapeError, match="axis of size 0")
      for x in ((2, 4, 0, 8), (2, 4, 8, 0), (2, 0, 8, 8), (0, 0, 0, 0))),  # CVE-2022-35996
    *(Case("conv2d", **IMAGES, w=w, error=ShapeError, match="no axis of size 0|C/groups")
      for w in ((0, 4, 3, 3), (4, 0, 3, 3), (4, 4, 0, 3), (4, 4, 3, 0))),  # CVE-2021-41209
    *(Case("conv2d", **IMAGES, w=w, error=ShapeError, match="C/groups = 4") for w in ((4, 3, 3, 3), (4, 5, 3, 3))),
    Case("conv2d", **IMAGES, w=(1, 2, 3, 3), groups=2, error=ShapeError, match="multiples of groups"),
    Case("conv2d", **IMAGES, w=(4, 4, 9, 1), error=ShapeError, match="effective kernel height 9"),
    Case("conv2d", **IMAGES, w=(4, 4, 1, 9), error=ShapeError, match="effective kernel width 9"),
    *(Case("linear", x=x, w=(5, 4), error=ShapeError, match="linear: ")
      for x in ((), (4,), (2, 3), (2, 4, 1), (2, 4, 1, 1), (2, 0))),
    *(Case("linear", x=(2, 4), w=w, error=ShapeError, match="linear: ") for w in ((), (4,), (0, 4), (5, 0), (5, 4, 1))),
    *(Case("linear", x=(2, 4), w=(5, 4), b=b, error=ShapeError, match="b must have shape") for b in ((), (4,), (1, 5))),
    *(Case(op, x=x, kernel_size=2, error=ShapeError, match="rank 4|axis of size 0")
      for op in ("max_pool2d", "avg_pool2d")
      for x in ((), (8, 8), (4, 8, 8), (2, 0, 8, 8), (2, 4, 0, 8), (2, 4, 8, 0))),
    *(Case("global_avg_pool2d", x=x, error=(ShapeError, ConfigError), match="rank 4|size 0|positive")
      for x in ((), (8,), (2, 3, 4), (2, 4, 0, 8), (2, 0, 4, 4))),
    *(Case("batch_norm", x=(2, 4, 3, 3), **{**VECTORS, name: v}, error=ShapeError,
           match=r"batch_norm: .* must have shape \(C,\)") for name in VECTORS
      for v in ((3,), (5,), (), (4, 1))),  # CVE-2021-29583
    *(Case("batch_norm", x=x, **VECTORS, training=training, error=ShapeError, match="batch_norm: ")
      for x in ((), (4,), (2, 4, 3), (2, 0), (2, 4, 0, 3)) for training in (False, True)),
    *(Case("batch_norm", x=x, running_mean=(4,), running_var=(4,), training=True, error=ShapeError,
           match="more than 1 value per channel") for x in ((1, 4), (1, 4, 1, 1))),
    *(Case(op, a=(2, 3), b=b, error=ShapeError, match=rf"^{op}: ")
      for op in ("add", "sub", "mul", "div") for b in ((), (3,), (2, 4), (3, 2), (2, 3, 1))),
    *(Case("concat", values=v, error=ShapeError, match="^concat: ")
      for v in ([()], [(2, 3), (2,)], [(2, 3), (2, 3, 1)], [(2, 3, 4, 4), (2, 3, 4, 5)], [(2, 3), (1, 3)])),
    *(Case("mse_loss", x=(2, 3), target=t, error=ShapeError, match="^mse.*: target must have shape")
      for t in ((), (2,), (3, 2), (2, 3, 1), (1, 3))),
    *(Case("cross_entropy", logits=(2, 3), targets=array(t, np.int64), error=ShapeError, match="targets must have")
      for t in ((), (1,), (3,), (2, 1), (0,))),
    *(Case("cross_entropy", logits=x, targets=array(2, np.int64), error=ShapeError, match="logits|axis of size 0")
      for x in ((), (2,), (2, 3, 1), (2, 3, 1, 1), (2, 0))),
    *(Case("cross_entropy", logits=(2, 3), targets=array(2, np.int64), weight=w, error=ShapeError, match="weight must")
      for w in ((), (2,), (4,), (3, 1))),
    *(Case("adaptive_avg_pool2d", x=x, output_size=3, error=ShapeError, match="rank 4|axis of size 0")
      for x in ((), (8, 8), (4, 8, 8), (2, 0, 8, 8), (2, 4, 0, 8))),
    *(Case("adaptive_avg_pool2d", **IMAGES, output_size=size, error=LimitError, match="^adaptive_avg_pool2d: a result")
      for size in (2**31 - 1, (2**23, 2**23))),
    *(Case(op, x=x, **given, error=ShapeError, match="rank 2 or 4|axis of size 0")
      for op, given in (("local_response_norm", {}), ("channel_shuffle", dict(groups=2)))
      for x in ((), (4,), (2, 4, 4), (2, 0), (2, 4, 0, 3))),
    *(Case("rbf", x=x, centers=w, error=ShapeError, match="^rbf: ")
      for x, w in (((4,), (3, 4)), ((2, 4), (4,)), ((2, 4), (4, 3)), ((2, 4), (0, 4)), ((2, 0), (3, 0)),
                   ((2, 4, 1, 1), (3, 4)))),
    *(Case(op, x=x, error=ShapeError, match="rank|size 0")
      for op in ("softmax", "log_softmax") for x in ((), (3,), (2, 0))),
    *(Case("lerp", old=(3,), new=new, weight=0.5, error=ShapeError, match="^lerp: ")
      for new in ((), (4,), (3, 1), (1,))),
    *(Case("flatten", x=x, error=ShapeError, match="x must have rank") for x in ((), (3,), (1, 2, 3, 4, 5))),
    *(Case("pad", x=x, padding=1, error=ShapeError, match="rank 4") for x in ((), (3,), (2, 3), (2, 3, 4))),
    *(Case(op, x=(1, 2, 3, 4, 5), error=ShapeError, match="rank") for op in ("relu", "tanh", "sigmoid", "sum", "mean")),
]

DTYPES = [
    *(Case("conv2d", x=array((2, 4, 8, 8), dtype), w=array((4, 4, 3, 3)), error=DtypeError, match="^conv2d: needs")
      for dtype in ("f8", "f2", "i8", "u1", "?", "c8", "O", "U3", "S3", "M8[s]", "V4", "f4,i4")),
    *(Case("conv2d", x=array((2, 4, 8, 8)), w=array((4, 4, 3, 3), dtype), error=DtypeError, match="^conv2d: needs")
      for dtype in ("f8", "f2", "i4", "O")),
    *(Case("conv2d", x=x, w=array((4, 4, 3, 3)), error=ANY, match="^conv2d: ")
      for x in (None, "image", b"\0", 3, [[1, [2]]], {}, object())),
    *(Case("conv2d", x=array((2, 4, 8, 8)), w=w, error=ANY, match="^conv2d: ")
      for w in (None, "w", 3, [[[1], [2, 3]]])),
    Case("conv2d", x=array((2, 4, 8, 8)), w=array((4, 4, 3, 3)), b=array(4, "f8"), error=DtypeError, match="needs"),
    Case("conv2d", x=array((2, 4, 8, 8)), w=array((4, 4, 3, 3), "f8"), kernels="reference", error=DtypeError,
         match="one dtype"),
    *(Case(op, x=x, error=DtypeError, match=rf"^{op}: ") for op in ("relu", "tanh", "sigmoid", "softmax", "sum")
      for x in (None, "x", array((2, 3), "i8"), array((2, 3), "O"), array((2, 3), "f8"))),
    *(Case("add", a=array((2, 3)), b=b, error=ANY, match="^add: ") for b in (None, "1", array((2, 3), "f8"), 1j)),
    *(Case("concat", values=v, error=ANY, match="^concat: ")
      for v in ([], (), None, "ab", 3, [None], [array((2, 3)), array((2, 3), "f8")], [array((2, 3)), "x"], {1: 2})),
    *(Case("cross_entropy", logits=(2, 3), targets=t, error=ANY, match="^cross_entropy: ")
      for t in (None, "01", array(2), array(2, "f8"), np.array([0.0, math.nan]), np.array([True, False]),
                np.array(["a", "b"]), array(2, "O"), [0.5, 1.0], array(2, "c8"))),
    *(Case("mse_loss", x=(2, 3), target=t, error=ANY, match="^mse_loss: ")
      for t in (None, "x", array((2, 3), "i8"), array((2, 3), "f8"))),
]

TARGETS = [Case(op, logits=(3, 10), targets=np.array([0, t, 1], dtype), error=ConfigError,
                match=rf"^{op}: target .* out of range \[0, 10\) at index 1")
           for op in ("cross_entropy", "count_correct")
           for t, dtype in ((-1, "i8"), (10, "i8"), (2**31, "i8"), (2**63 - 1, "i8"), (-(2**63), "i8"), (-1, "i4"),
                            (200, "u1"), (2**64 - 1, "u8"), (2**63, "u8"), (10, ">i4"))]

NUMBERS = [
    *bad("dropout", "p", (*NOT_NUMBERS, math.nan, -0.1, 1.0, 1.5, math.inf), **IMAGES),
    *bad("dropout", "seed", (*NOT_INTEGERS, -1, 2**63), **IMAGES),
    *bad("dropout", "step", (1.5, -1, 2**63), **IMAGES),
    *bad("batch_norm", "eps", (*NOT_NUMBERS, math.nan, -1e-5), x=(2, 4), running_mean=(4,), running_var=(4,)),
    *bad("batch_norm", "training", (1, None, "yes"), x=(2, 4), running_mean=(4,), running_var=(4,)),
    *bad("batch_norm", "momentum", (*NOT_NUMBERS, math.nan, -0.1, 1.1), x=(2, 4), running_mean=(4,), running_var=(4,)),
    *bad("cross_entropy", "label_smoothing", (*NOT_NUMBERS, math.nan, -0.1, 1.1), logits=(2, 3), targets=(2,)),
    *bad("lerp", "weight", (*NOT_NUMBERS, math.nan, -0.1, 1.1), old=(3,), new=(3,)),
    *bad("leaky_relu", "slope", (*NOT_NUMBERS, math.nan, math.inf, 1e39), x=(2, 3)),
    *bad("gelu", "approximate", (None, True, 1, ["tanh"], "erf"), UnknownName, x=(2, 3)),
    *bad("lp_pool2d", "p", (*NOT_NUMBERS, math.nan, math.inf, 0.5, -2), **IMAGES, kernel_size=2),
    *bad("local_response_norm", "size", (*NOT_INTEGERS, 0, -1, 2**31), **IMAGES),
    *(row for name in ("alpha", "beta", "k")
      for row in bad("local_response_norm", name, (*NOT_NUMBERS, math.nan, math.inf, -1e-4), **IMAGES)),
    *bad("local_response_norm", "k", (0, 1e-39), **IMAGES),
    *bad("channel_shuffle", "groups", (*NOT_INTEGERS, 0, -1, 3, 8, 2**31), **IMAGES),
    *bad("clip", "low", (*NOT_NUMBERS, math.nan, 2.0), x=(2, 3), high=1.0),
    *bad("clip", "high", (*NOT_NUMBERS, math.nan, -2.0), x=(2, 3), low=-1.0),
    *bad("concat", "axis", (0, 2, -3, *NOT_INTEGERS, 2**63), values=[(2, 3), (2, 3)]),
    *bad("split", "axis", (0, 4, -5, *NOT_INTEGERS), **IMAGES, sizes=[4]),
    *bad("split", "sizes", (None, "4", 4, [], [3], [5], [0, 4], [-1, 5], [1.5, 2.5], [True, 3], [2**63], [[4]]),
         **IMAGES),
    *bad("slice", "axis", (0, 4, -5, *NOT_INTEGERS), **IMAGES, start=0, stop=1),
    *bad("slice", "start", (-1, 1, 2, 2**31, *NOT_INTEGERS), **IMAGES, stop=1),
    *bad("slice", "stop", (0, -1, 5, 2**63, *NOT_INTEGERS), **IMAGES, start=0),
    *bad("reshape", "shape", ((), (0,), (-1,), (2, 2), (1, 1, 1, 256), "256", None, (256.0,), (True, 256), (2**63,),
                              (2**31, 2**33), (2**31 - 1,) * 3, {}), **IMAGES),  # CVE-2022-23576
]

LARGE = np.broadcast_to(np.float32(1), (2**20, 2**10, 2**8, 2**8))  # 2**46 elements in four bytes
MEMORY = [
    Case("relu", x=LARGE, error=LimitError, match="^relu: "),
    Case("conv2d", x=LARGE, w=(1, 2**10, 1, 1), error=LimitError, match="^conv2d: "),
    Case("max_pool2d", x=LARGE, kernel_size=256, error=LimitError, match="^max_pool2d: "),
    Case("add", a=np.broadcast_to(np.float32(1), (1, 2**24)), b=np.broadcast_to(np.float32(1), (2**24, 1)),
         error=LimitError, match="^add: a result of shape"),
    Case("concat", values=[LARGE, LARGE], error=LimitError, match="^concat: "),  # CVE-2021-29601
]


def two(x):
    return x, x


def longer(x):
    return np.concatenate([x, x])


def integers(x):
    return x.astype(int)


def nothing(x):
    return None


CALLBACKS = [
    *(Case("callback", x=(2, 3), function=f, shape=(3,), error=ANY, match="callback: ")
      for f in (two, longer, integers, nothing, None, 3, "cube")),
    *(Case("callback", x=(2, 3), function=cube, shape=s, error=ANY, match="shape")
      for s in ((4,), (0,), (-1,), (1.5,), ("3",), (2**63,), 3, "3")),
    *(Case("pool2d", **IMAGES, kernel_size=2, function=f, error=ANY, match="callback: |pool2d: ")
      for f in (two, longer, nothing, None, 3)),
]

ALL = SIZES + SHAPES + DTYPES + TARGETS + NUMBERS + MEMORY + CALLBACKS
DATA = {id(case) for case in DTYPES + TARGETS + MEMORY + CALLBACKS}  # found when there are numbers, not while tracing


def refuse(case, act):
    began = time.perf_counter()
    with pytest.raises(case.error) as caught:
        act()
    assert time.perf_counter() - began < 1
    assert isinstance(caught.value, StriateError), f"{type(caught.value).__name__} is not one of ours"
    text = str(caught.value)
    assert re.search(case.match, text), f"{text!r} does not match {case.match!r}"
    assert "\n" not in text and not text.endswith(".") and len(text) < 400, text


def by_op(cases):
    """One test an operation: a thousand rows of a millisecond cost more to announce than to run."""
    ops_of = sorted({case.op for case in cases})
    return pytest.mark.parametrize("cases", [[c for c in cases if c.op == op] for op in ops_of], ids=ops_of)


@by_op(ALL)
def test_refused(cases):
    for case in cases:
        given = arrays_of(case, np.float32)
        refuse(case, lambda case=case, given=given: invoke(case.op, given, case.options))


TRACED = [c for c in ALL if id(c) not in DATA and "kernels" not in c.given and c.given.get("seed", 0) == 0
          and c.given.get("step", 0) == 0]


@by_op(TRACED)
def test_refused_while_tracing(cases):
    for case in cases:
        given = arrays_of(case, np.float32)
        if any(isinstance(v, np.ndarray | list) for v in given.values()):  # else there is nothing to trace with
            refuse(case, lambda case=case, given=given: Playback(case, given))


def test_count():
    assert len(ALL) >= 200


# ---- Values are not data

def value():
    return Graph().add_input("x", Spec((2, 3)))


@pytest.mark.parametrize("act", [bool, list, np.asarray, float, len, lambda v: v[0], lambda v: v + np.ones(3, "O"),
                                 lambda v: v + "1", lambda v: v + value(), lambda v: np.exp(v), lambda v: v + None,
                                 lambda v: 1 if v > 0 else 0])
def test_value_is_not_data(act):
    """Python cannot look into a traced value; trying says so instead of computing nonsense."""
    with pytest.raises((StriateError, TypeError)):
        act(value())


# ---- right answers where a refusal would be wrong

class Sub(np.ndarray):
    pass


@pytest.mark.parametrize("wrap", [lambda x: x.view(Sub), lambda x: x[:, :, ::-1][:, :, ::-1], np.asfortranarray,
                                  lambda x: np.ma.array(x), lambda x: x.astype(">f4"), memoryview])
def test_other_arrays(wrap):
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 4)).astype(np.float32)
    w = np.random.default_rng(1).standard_normal((4, 3, 2, 2)).astype(np.float32)
    y = ops.conv2d(wrap(x), w)
    assert type(y) is np.ndarray
    assert np.array_equal(y, ops.conv2d(x, w))


def test_callers_exception_passes():
    def fails(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        ops.callback(fails, np.ones((2, 3), np.float32), shape=(3,))


def test_callback_cannot_change_inputs():
    def rude(x):
        x[...] = 7
        return x

    x = np.ones((2, 3), np.float32)
    assert (ops.callback(rude, x) == 7).all()
    assert (x == 1).all()


# ---- kernels do not trust the sizes and indices of whoever calls them

POOL = dict(kernel=(2, 2), stride=(2, 2), padding=(0, 0))


@pytest.mark.parametrize("size", [(0, 8), (1, 1), (2, 3), (6, 8), (10, 8), (100, 100), (2**31, 2**31)])
@pytest.mark.parametrize("name", ["max_pool_dx", "avg_pool_dx"])
def test_pool_gradient_of_another_size(name, size, isa):  # CVE-2021-29577, CVE-2021-29579, CVE-2022-35968
    dy, index = array((1, 3, 4, 4)), array((1, 3, 4, 4), "u1")
    more = ((index, None), dict(dilation=(1, 1))) if name == "max_pool_dx" else ((), dict(count_include_pad=1))
    with pytest.raises((ShapeError, LimitError), match=f"^{name}: "):
        getattr(native.kernels(isa), name)(dy, *more[0], size=size, **POOL, **more[1])


def test_pool_gradient_of_any_index(isa):  # CVE-2021-29570: an index outside its window sends nothing
    rng = np.random.default_rng(0)
    for c in (1, 7, 8, 33):
        dy, index = np.ones((2, c, 4, 4), np.float32), rng.integers(0, 256, (2, c, 4, 4)).astype(np.uint8)
        for extent in (8, 9):
            given = dict(size=(extent, extent), **POOL, dilation=(1, 1))
            dx = native.kernels(isa).max_pool_dx(dy, index, None, **given)
            assert np.array_equal(dx, reference.kernels().max_pool_dx(dy, index, None, **given))


@pytest.mark.parametrize(("name", "shapes", "params"), [
    ("conv2d_dw", ((1, 1, 1, 2), (1, 1, 1, 2)), dict(kernel=(1, 1), stride=(66, 49))),  # CVE-2021-29540
    ("conv2d_dw", ((2, 4, 8, 8), (2, 4, 9, 9)), dict(kernel=(3, 3), stride=(1, 1))),
    ("conv2d_dw", ((2, 4, 8, 8), (3, 4, 6, 6)), dict(kernel=(3, 3), stride=(1, 1))),
    ("conv2d_dx", ((3, 1, 0, 1), (1, 4, 3, 3)), dict(size=(8, 8), stride=(1, 1))),  # CVE-2022-35999
    ("conv2d_dx", ((2, 4, 6, 6), (4, 4, 3, 3)), dict(size=(9, 9), stride=(1, 1))),
    ("conv2d_dx", ((2, 5, 6, 6), (4, 4, 3, 3)), dict(size=(8, 8), stride=(1, 1))),
], ids=str)
def test_convolution_gradient_of_other_sizes(name, shapes, params, isa):
    given = dict(padding=(0, 0, 0, 0), dilation=(1, 1), groups=1, **params)
    with pytest.raises(ShapeError, match=r"^conv2d"):
        getattr(native.kernels(isa), name)(*map(array, shapes), **given)
