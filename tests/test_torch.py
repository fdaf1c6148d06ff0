"""The case table beside PyTorch, where it is installed: forward and every gradient, in float64."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from arrays import arrays_of, plain
from cases import CASES
from play import Playback
from striate.kernels import reference

pytestmark = [pytest.mark.torch,
              pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel"),
              pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs pip install '.[test-torch]'")]


def padded(F, x, padding, value=0.0):
    (top, bottom), (left, right) = ((p, p) if isinstance(p, int) else p for p in padding)
    return F.pad(x, (left, right, top, bottom), value=value)


def conv2d(F, x, w, b=None, *, padding=0, flip=False, **options):
    w = w.flip(2, 3) if flip else w
    if isinstance(padding, tuple) and not isinstance(padding[0], int):
        x, padding = padded(F, x, padding), 0
    return F.conv2d(x, w, b, padding=padding, **options)


def batch_norm(F, x, running_mean, running_var, weight=None, bias=None, *, training=False, eps=1e-5):
    mean, var = running_mean.detach().clone(), running_var.detach().clone()
    return F.batch_norm(x, mean, var, weight, bias, training=training, eps=eps)


def local_response_norm(F, x, size=5, *, alpha=1e-4, beta=0.75, k=2.0):
    pixels = x if x.ndim == 4 else x[..., None]
    return F.local_response_norm(pixels, size, size * alpha, beta, k).reshape(x.shape)


def channel_shuffle(F, x, groups):
    return F.channel_shuffle(x if x.ndim == 4 else x[..., None], groups).reshape(x.shape) if len(x) else x.clone()


def clip(F, x, low, high):
    return x.clamp(low, high)


def pad(F, x, padding, value=0.0):
    return padded(F, x, padding if isinstance(padding, tuple) else (padding, padding), value)


THEIRS = {
    "conv2d": conv2d, "batch_norm": batch_norm, "clip": clip, "pad": pad,
    "local_response_norm": local_response_norm, "channel_shuffle": channel_shuffle,
    "lp_pool2d": lambda F, x, p, kernel_size, *, stride=None, ceil_mode=False:
        F.lp_pool2d(x, float(p), kernel_size, stride, ceil_mode),
    "adaptive_avg_pool2d": lambda F, x, output_size: F.adaptive_avg_pool2d(x, output_size),
    "rbf": lambda F, x, centers: (x[:, None] - centers).square().sum(2),
    "relu6": lambda F, x: F.relu6(x), "hard_swish": lambda F, x: F.hardswish(x),
    "leaky_relu": lambda F, x, slope=0.01: F.leaky_relu(x, slope),
    "gelu": lambda F, x, approximate="none": F.gelu(x, approximate=approximate),
    "pad_channels": lambda F, x, channels: F.pad(x, (0, 0, 0, 0, 0, channels)),
    "linear": lambda F, x, w, b=None: F.linear(x, w, b),
    "max_pool2d": lambda F, x, kernel_size, **o: F.max_pool2d(x, kernel_size, **o),
    "avg_pool2d": lambda F, x, kernel_size, **o: F.avg_pool2d(x, kernel_size, **o),
    "global_avg_pool2d": lambda F, x: F.adaptive_avg_pool2d(x, 1),
    "relu": lambda F, x: x.relu(), "tanh": lambda F, x: x.tanh(), "sigmoid": lambda F, x: x.sigmoid(),
    "softmax": lambda F, x: x.softmax(1), "log_softmax": lambda F, x: x.log_softmax(1),
    "add": lambda F, a, b: a + b, "sub": lambda F, a, b: a - b, "mul": lambda F, a, b: a * b,
    "div": lambda F, a, b: a / b, "lerp": lambda F, old, new, weight: old.lerp(new, weight),
    "sum": lambda F, x: x.sum(), "mean": lambda F, x: x.mean(),
    "flatten": lambda F, x: x.flatten(1), "reshape": lambda F, x, shape: x.reshape(x.shape[0], *shape),
    "split": lambda F, x, sizes, axis=1: x.split(list(sizes), axis),
    "slice": lambda F, x, start, stop, axis=1: x.narrow(axis, start, stop - start),
    "mse_loss": lambda F, x, target: F.mse_loss(x, target),
    "cross_entropy": lambda F, logits, targets, **o: F.cross_entropy(logits, targets, **o),
}
EMPTY_IS_NAN = {"mean", "mse_loss", "cross_entropy"}  # of no image; here it is 0, so that a sum over batches is right


def comparable(case):
    """Rows torch computes too; its pools do not count dilation when they limit the padding."""
    beyond = case.op == "max_pool2d" and case.given.get("padding") == (1, 2)
    return not beyond and (case.op in THEIRS and case.layout == "plain" and "activation" not in case.given
            and not (case.op in EMPTY_IS_NAN and 0 in next(iter(case.tensors.values()))))


ROWS = [c for c in CASES if comparable(c)]


@pytest.mark.parametrize("case", ROWS, ids=str)
def test_row(case):
    torch = pytest.importorskip("torch")
    given = {name: plain(value) for name, value in arrays_of(case).items()}
    played, k = Playback(case, given), reference.kernels()
    ys = played.forward(k, played.feed)
    rng = np.random.default_rng(0)
    dys = [rng.standard_normal(y.shape) for y in ys]
    gradients = played.backward(k, dys)
    tensors = {name: torch.tensor(value) if isinstance(value, np.ndarray) else value for name, value in given.items()}
    ours = dict(zip(played.feed, (t for t in tensors.values() if isinstance(t, torch.Tensor)), strict=True))
    for value, t in ours.items():
        t.requires_grad_(value in gradients)
    theirs = THEIRS[case.op](torch.nn.functional, **tensors, **case.options)
    theirs = list(theirs) if isinstance(theirs, tuple) else [theirs]
    for y, other in zip(ys, theirs, strict=True):
        np.testing.assert_allclose(y, other.detach().numpy(), rtol=1e-10, atol=1e-12)
    if case.data == "one_nan":
        return  # where a NaN's gradient goes is nobody's promise
    torch.autograd.backward(theirs, [torch.tensor(dy) for dy in dys])
    for value, t in ours.items():
        if value in gradients and t.grad is not None:  # the running statistics are constants there
            np.testing.assert_allclose(gradients[value], t.grad.numpy(), rtol=1e-9, atol=1e-11, err_msg=value.name)


@pytest.mark.parametrize("options", [
    dict(momentum=0.9), dict(momentum=0.9, nesterov=True, weight_decay=0.01), dict(weight_decay=0.1)], ids=str)
def test_sgd(options):
    torch = pytest.importorskip("torch")
    settings = dict(momentum=options.get("momentum", 0.0), nesterov=int(options.get("nesterov", False)),
                    weight_decay=options.get("weight_decay", 0.0))
    follow(torch, torch.optim.SGD, options,
           lambda k, w, g, slots, step: k.sgd(w, g, slots[0], np.array(0.1), **settings),
           [np.zeros(7) if "momentum" in options else None])


@pytest.mark.parametrize(("name", "decay"), [("Adam", 0.0), ("Adam", 0.1), ("AdamW", 0.1)])
def test_adam(name, decay):
    torch = pytest.importorskip("torch")
    settings = dict(beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=decay, decoupled=int(name == "AdamW"))
    follow(torch, getattr(torch.optim, name), dict(weight_decay=decay),
           lambda k, w, g, slots, step: k.adam(w, g, *slots, np.array(0.1), np.array(step), **settings),
           [np.zeros(7), np.zeros(7)])


def follow(torch, optimiser, options, ours, slots):
    """Ten steps of both from the same weights and gradients."""
    rng, k = np.random.default_rng(0), reference.kernels()
    w = rng.standard_normal(7)
    parameter = torch.nn.Parameter(torch.tensor(w))
    theirs = optimiser([parameter], lr=0.1, **options)
    for step in range(1, 11):
        g = rng.standard_normal(7)
        w, *slots = ours(k, w, g, slots, step)
        parameter.grad = torch.tensor(g)
        theirs.step()
        np.testing.assert_allclose(w, parameter.detach().numpy(), rtol=1e-12)
