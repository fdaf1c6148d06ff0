"""Kernel calls on tensors against a page that must not be touched: `python tests/guard_pages.py [--short]`.

Every tensor ends exactly at such a page, and in a second run begins exactly at one. Each call is named on standard
output before it runs, so that the last line names the one that crashed. test_guard_pages.py runs this in a process of
its own.
"""

from __future__ import annotations

import ctypes
import mmap
import sys

import numpy as np

from arrays import arrays_of
from cases import POINT, SAME, WINOGRAD, Call, norm_call, pooled_calls
from elsewhere import Elsewhere
from striate.kernels import native

PAGE = mmap.PAGESIZE
TAILS = range(1, 68)
SHORT = (1, 7, 18, 67)
libc = ctypes.CDLL(None, use_errno=True)


# ---- memory between two pages that must not be touched

class Slot:
    """Whole pages with a forbidden one on either side."""

    def __init__(self, nbytes):
        self.nbytes = (nbytes + PAGE - 1) // PAGE * PAGE
        self.map = mmap.mmap(-1, self.nbytes + 2 * PAGE)
        self.start = ctypes.addressof(ctypes.c_char.from_buffer(self.map)) + PAGE
        for guard in (self.start - PAGE, self.start + self.nbytes):
            if libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(PAGE), 0):
                raise OSError(ctypes.get_errno(), "guard_pages: mprotect must work")


class Guarded(Elsewhere):
    """The compiled module, its tensors moved to the end of a slot each, or to the beginning."""

    def __init__(self, module):
        super().__init__(module)
        self.slots, self.at_end = {}, True

    def compute(self, isa, kernel, tensors, given, integers, floats, threads):
        at = [self.place(i, held) for i, held in enumerate(given)]
        moved = [None if t is None else (*t[:3], address) for t, address in zip(tensors, at, strict=True)]
        finished = self.module.call(isa, kernel, moved, integers, floats, threads)
        return finished, [ctypes.string_at(address, len(held)) for address, held in zip(at, given, strict=True)]

    def place(self, i, held):
        if i not in self.slots or self.slots[i].nbytes < len(held):
            self.slots[i] = Slot(max(len(held), 64 * PAGE))
        slot = self.slots[i]
        address = slot.start + (slot.nbytes - len(held) if self.at_end else 0)
        ctypes.memmove(address, held, len(held))
        return address


# ---- the calls, with n and m = 68 - n where a vector can have a tail

def convolutions(n, m):
    down = dict(SAME, stride=(2, 2))
    for x, w, at in (((2, n, 4, 5), (m, n, 3, 3), SAME), ((2, n, 3, 4), (m, n, 1, 1), POINT),
                     ((1, n, 5, 6), (m, n, 3, 3), down), ((1, n, 4, 5), (n, 1, 3, 3), dict(SAME, groups=n)),
                     ((1, 3, 3, n), (5, 3, 3, 3), SAME), ((5, 3, 6, 5), (n, 3, 3, 3), SAME),
                     ((1, 4 * n, 3, 6), (4 * n, 4, 3, 3), dict(SAME, groups=n))):
        y = (x[0], w[0], *(-(-size // at["stride"][0]) for size in x[2:]))
        yield Call("conv2d", x=x, w=w, b=w[:1], r=y, **at, activation=1)
        yield Call("conv2d_moments", x=x, w=w, b=None, **at)
        yield Call("conv2d_dx_add", dy=y, w=w, r=x, size=x[2:], **at)
        yield Call("conv2d_dw", x=x, dy=y, kernel=w[2:], **at)
    for x, w in (((2, n, 4, 6), (m, n, 3, 3)), ((5, 3, 6, 5), (n, 3, 3, 3))):
        yield Call("conv2d_max_pool", x=x, w=w, b=w[:1], **SAME, activation=1)
    for x, o in (((2, n, 4, 6), m), ((5, 1, 6, n + 1), 6), ((2, 3, 4, n + 1), 5)):
        yield Call("conv2d_max_pool", x=x, w=(o, x[1], 3, 3), b=(o,), **SAME, activation=1)
        yield from pooled_calls(x, o, (3, 3), pad=1)


def linear(n, m):
    for images in (1, 3, 70):
        x, dy, w = (images, n), (images, m), (m, n)
        yield Call("linear", x=x, w=w, b=(m,), activation=0)
        yield Call("linear_dx", dy=dy, w=w)
        yield Call("linear_dw", x=x, dy=dy)
        yield Call("rbf", x=x, w=w)
        yield Call("linear_dw_sgd", x=x, dy=dy, w=w, v=w, lr=(), momentum=0.9, nesterov=1, weight_decay=0.1)
        yield Call("linear_dw_adam", x=x, dy=dy, w=w, m=w, v=np.ones(w), lr=(), step=np.array(3), beta1=0.9, beta2=0.9,
                   eps=1e-8, weight_decay=0.1, decoupled=0)


def winograd(n, m):
    for kernel, tile in WINOGRAD:
        pad = (kernel // 2,) * 4
        for x, o in (((1, n, 6, 5), m), ((1, 3, 4, n + 1), 5)):
            rest = dict(out_channels=o, kernel=kernel, tile=tile, padding=pad)
            w, y = (o, x[1], kernel, kernel), (1, o, *x[2:])
            yield Call("conv2d_winograd", x=x, u=w, b=(o,), r=y, **rest, activation=1, pool=0, moments=0)
            yield Call("conv2d_winograd", x=x, u=w, b=None, r=None, **rest, activation=0, pool=0, moments=1)
            if tile % 2 == 0:
                yield Call("conv2d_winograd", x=x, u=w, b=(o,), r=None, **rest, activation=0, pool=1, moments=0)
            yield Call("conv2d_dw_winograd", x=x, dy=y, kernel=kernel, tile=tile, padding=pad)
            yield Call("conv2d_winograd_sums", dy=x, u=w, **beside(y, kernel + tile), **rest)
    for x, c in (((2, n, 3, 5), m), ((5, 3, 9, 8), n)):
        yield Call("conv2d_dx_gemm_sums", dy=x, wp=(x[1], c, 1, 1), **beside((x[0], c, *x[2:]), n))


def beside(x, at):
    """The residual and the norm that a gradient of the shape of x is met with."""
    given = norm_call("norm_act_sums", x, at % 2 * 4 + 8).given
    return {"r": x, **{name: value for name, value in given.items() if name != "dy"}}


def norms(n, m):
    for x in ((2, n, 3, 5), (4, n)):
        c = x[1:2]
        yield from (Call(kernel, x=x) for kernel in ("channel_sum", "batch_moments"))
        yield Call("batch_moments_dx", x=x, mean=c, dmean=c, dvar=c, dunbiased=c)
        yield Call("scale_shift", x=x, mean=c, var=c, gamma=c, beta=c, eps=1e-3)
        yield Call("scale_shift_sums", x=x, dy=x, mean=c, var=c, eps=1e-3)
        yield Call("scale_shift_dx", dy=x, var=c, gamma=c, eps=1e-3)
        for size in (1, 4, 5):
            window = dict(size=size, alpha=0.1, beta=0.75, offset=1.0)
            yield Call("local_response_norm", x=x, **window)
            yield Call("local_response_norm_dx", x=x, dy=x, **window)
        yield from (norm_call(kernel, x, at) for kernel in ("norm_act", "norm_act_sums", "norm_act_dx")
                    for at in (0, 12))
    yield Call("scale_shift_dstats", sum_dy=(n,), sum_dy_xhat=(n,), var=(n,), gamma=(n,), eps=1e-3)
    yield Call("fold_norm", w=(n, 3, 2, 2), b=(n,), mean=(n,), var=(n,), gamma=(n,), beta=(n,), eps=1e-3)


def pools(n, m):
    for x, k in (((2, n, 4, 6), (2, 2)), ((1, n, 7, 5), (3, 3)), ((1, 3, 4, 2 * n), (2, 2))):
        half = dict(kernel=k, stride=(2, 2), padding=(k[0] // 2 - 1 + k[0] % 2,) * 2)
        y = (*x[:2], *((s + 2 * half["padding"][0] - k[0]) // 2 + 1 for s in x[2:]))
        index = np.zeros(y, np.uint8) + k[0] * k[1] // 2
        yield Call("max_pool", x=x, **half, dilation=(1, 1), ceil=0)
        yield Call("max_pool_dx", dy=y, index=index, y=y, size=x[2:], **half, dilation=(1, 1))
        yield Call("avg_pool", x=x, **half, ceil=0, count_include_pad=1)
        yield Call("avg_pool_dx", dy=y, size=x[2:], **half, count_include_pad=1)
    for x, y in (((2, n, 4, 6), (2, n, 2, 3)), ((1, 3, 4, 2 * n), (1, 3, 2, n))):
        yield Call("lp_pool", x=x, power=2.0, kernel=(2, 2), stride=(2, 2), ceil=0)
        yield Call("lp_pool_dx", x=x, y=y, dy=y, power=2.0, kernel=(2, 2), stride=(2, 2))
        yield Call("adaptive_avg_pool", x=x, out=(3, 4))
        yield Call("adaptive_avg_pool_dx", dy=y, size=(3, 5))


def elementwise(n, m):
    for x in ((n,), (3, n), (2, n, 2, 3)):
        yield from (Call(kernel, x=x) for kernel in ("relu", "tanh", "sigmoid", "relu6", "hard_swish", "copy",
                                                    "check_finite", "fill_nan"))
        yield from (Call(kernel, y=x, dy=x) for kernel in ("relu_grad", "tanh_grad", "sigmoid_grad", "relu6_grad"))
        for kernel, params in (("leaky_relu", dict(slope=0.1)), ("gelu", dict(tanh=0)), ("gelu", dict(tanh=1))):
            yield Call(kernel, x=x, **params)
            yield Call(f"{kernel}_grad", x=x, dy=x, **params)
        yield Call("hard_swish_grad", x=x, dy=x)
        yield from (Call(kernel, a=x, b=b) for kernel in ("add", "sub", "mul", "div") for b in (x, (1,) * len(x)))
        yield Call("clip", x=x, low=-1.0, high=1.0)
        yield Call("clip_grad", x=x, dy=x, low=-1.0, high=1.0)
        yield Call("scale", x=x, factor=2.0)
        yield Call("dropout", x=x, seed=(), step=np.array(2), p=0.5, key=3, first=1)
        yield Call("lerp", old=x, new=x, weight=0.5)
        yield Call("sgd", w=x, g=x, v=x, lr=(), momentum=0.9, nesterov=1, weight_decay=0.1)
        yield Call("adam", w=x, g=x, m=x, v=np.ones(x), lr=(), step=np.array(3), beta1=0.9, beta2=0.9, eps=1e-8,
                   weight_decay=0.1, decoupled=0)
    yield Call("sum_to", x=(2, n, 2, 3), axes=0b1101)


def losses_and_moves(n, m):
    classes = np.arange(3) % n
    yield from (Call(kernel, x=(3, n)) for kernel in ("softmax", "log_softmax"))
    yield from (Call(kernel, y=(3, n), dy=(3, n)) for kernel in ("softmax_grad", "log_softmax_grad"))
    yield Call("cross_entropy", x=(3, n), targets=classes, weight=np.ones(n), smoothing=0.1)
    yield Call("cross_entropy_dx", probs=np.ones((3, n)), targets=classes, weight=None, dloss=(), smoothing=0.1)
    yield Call("count_correct", x=(3, n), targets=classes)
    yield Call("mse", x=(3, n), target=(3, n))
    yield Call("mse_dx", x=(3, n), target=(3, n), dloss=())
    yield Call("channel_shuffle", x=(2, 2 * n, 2, 3), groups=2)
    yield Call("channel_shuffle", x=(2, 2 * n, 2, 3), groups=n)
    yield Call("flatten", x=(2, n, 2, 3))
    yield Call("unflatten", x=(2, 6 * n), shape=(n, 2, 3))
    yield Call("to_dense", x=(2, n, 2, 3))
    yield Call("from_dense", w=(2, n, 2, 3))
    yield Call("flip", w=(n, 3, 2, 2))
    yield Call("window", x=(2, n, 3, 4), start=(0, -1, 1, -1), shape=(2, n + 2, 2, 6), fill=0.5)


TABLES = (convolutions, linear, winograd, norms, pools, elementwise, losses_and_moves)


# ---- the run

def calls(tails):
    return (call for n in tails for table in TABLES for call in table(n, 68 - n))


def run(k, call, arrays):
    if call.kernel == "conv2d_dx_gemm_sums":
        wp = k.pack_filters(arrays[1], groups=1, for_dx=1, stride=(1, 1), dilation=(1, 1), nr=k.target.nr)
        arrays = [arrays[0], wp, *arrays[2:]]
    if call.kernel.startswith("conv2d_winograd"):
        w = k.winograd_filters(arrays[1], tile=call.params["tile"], for_dx=0, nr=k.target.nr)
        arrays = [arrays[0], w, *arrays[2:]]
    getattr(k, call.kernel)(*arrays, **call.params)


def main():
    guarded = native._native = Guarded(native._native)
    sets = [native.kernels(isa, threads=1) for isa in native.isas()]
    for call in calls(SHORT if "--short" in sys.argv else TAILS):
        arrays = [None if a is None else np.asarray(a) for a in arrays_of(call, np.float32).values()]
        for k in sets:
            for guarded.at_end in (True, False):
                print(k.isa, "end" if guarded.at_end else "begin", call, flush=True)
                run(k, call, arrays)


if __name__ == "__main__":
    main()
