"""Every convolution and linear layer of a network by itself: forward, dX and dW, striate beside PyTorch.

Counted are, of striate, the calls of a training step that belong to the layer, packing included, on NHWC maps; of
PyTorch, the operation on tensors of either layout, the faster one shown. In turns, in one process, each after a pause
and a call that warms its memory.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import machine
import torch
from engines import keep_memory
from one_layer import Layer, programs, seconds
from turns import PAUSE

from striate.graph import table
from striate.kernels import native
from striate.models import build, find

KINDS = ("forward", "dx", "dw")
IMAGE = 3  # channels of an image, which needs no gradient
BATCH = {"vgg16": 4, "resnet50": 8}
LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
HEADS = ("layer", "x", "", "striate ms", "GFLOP/s", "torch ms", "GFLOP/s", "layout", "ratio")


def layers(name: str, batch: int) -> Counter[Layer]:
    """The different layers of a network, and how often each is there."""
    found: Counter[Layer] = Counter()
    for node in build(name).graph(find(name).input_shape, batch=batch).nodes:
        if node.op.name not in ("conv2d", "linear"):
            continue
        (_, *map_), w = (v.shape for v in node.inputs[:2] if v is not None)
        x = (batch, *map_)  # that of a trace stands for any batch
        at = {key: node.params[key] for key in ("stride", "padding", "dilation", "groups") if key in node.params}
        found[Layer.conv2d(x, w, **at) if at else Layer(x, w)] += 1
    return found


def torch_calls(layer: Layer) -> dict[str, dict[str, Callable[[], Any]]]:
    """Kind -> layout -> the operation."""
    tensors = {name: torch.from_numpy(a) for name, a in layer.arrays().items()}
    found: dict[str, dict[str, Callable[[], Any]]] = {kind: {} for kind in KINDS}
    for layout, memory in LAYOUTS.items() if layer.at else [("-", None)]:
        x, w, dy = (t if memory is None else t.to(memory_format=memory) for t in map(tensors.get, ("x", "w", "dy")))
        if memory is None:
            calls = (lambda x=x, w=w: torch.nn.functional.linear(x, w), lambda dy=dy, w=w: dy @ w,
                     lambda x=x, dy=dy: dy.t() @ x)
        else:
            at = dict(layer.at)
            pads = at["padding"][::2]
            forward = [at["stride"], pads, at["dilation"]]
            calls = (
                lambda x=x, w=w, f=forward, g=at["groups"]: torch.conv2d(x, w, None, *f, g),
                lambda x=x, w=w, dy=dy, f=forward, g=at["groups"]: _backward(dy, x, w, f, g, [True, False, False]),
                lambda x=x, w=w, dy=dy, f=forward, g=at["groups"]: _backward(dy, x, w, f, g, [False, True, False]),
            )
        for kind, call in zip(KINDS, calls, strict=True):
            found[kind][layout] = call
    return found


def _backward(dy: Any, x: Any, w: Any, forward: list[Any], groups: int, wanted: list[bool]) -> Any:
    return torch.ops.aten.convolution_backward(dy, x, w, None, *forward, False, [0, 0], groups, wanted)


def timed(call: Callable[[], Any]) -> float:
    time.sleep(PAUSE)
    call()  # threads and caches
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(layer: Layer, rounds: int, isa: str) -> dict[str, tuple[float, float, str]]:
    """Kind -> (striate's ms, torch's in its faster layout, which); medians over the rounds."""
    ours, theirs = programs(layer, isa), torch_calls(layer)
    times: dict[tuple[str, str], list[float]] = {}
    kinds = [kind for kind in KINDS if kind != "dx" or layer.x[1] != IMAGE]
    for _ in range(rounds):
        for kind in kinds:
            program, arrays = ours[kind]
            time.sleep(PAUSE)  # PyTorch's threads spin for some ms: a layer of 1.5 ms took 2.5 beside them
            program.run(arrays)
            times.setdefault((kind, "striate"), []).append(seconds(program, arrays))
            for layout, call in theirs[kind].items():
                times.setdefault((kind, layout), []).append(timed(call))
    medians = {key: statistics.median(values) * 1e3 for key, values in times.items()}
    best = {kind: min(theirs[kind], key=lambda layout, kind=kind: medians[kind, layout]) for kind in kinds}
    return {kind: (medians[kind, "striate"], medians[kind, best[kind]], best[kind]) for kind in kinds}


def main(args: argparse.Namespace) -> None:
    """Prints a row a layer and kind, and the sums over the network."""
    native.set_threads(machine.THREADS)
    torch.set_num_threads(machine.THREADS)
    torch.set_flush_denormal(True)
    keep_memory()
    batch = (args.batches or [BATCH[args.layers]])[0]
    machine.heading(f"{args.layers}'s layers, batch {batch}, beside torch")
    rows, sums = [], {kind: [0.0, 0.0] for kind in KINDS}
    for layer, count in layers(args.layers, batch).items():
        for kind, (ours, theirs, layout) in measure(layer, args.rounds, native.default_isa()).items():
            sums[kind][0] += count * ours
            sums[kind][1] += count * theirs
            rows.append((
                f"{count} x " + "x".join(map(str, layer.w)), "x".join(map(str, layer.x[1:])), kind, f"{ours:.2f}",
                f"{layer.flops / ours / 1e6:.0f}", f"{theirs:.2f}", f"{layer.flops / theirs / 1e6:.0f}", layout,
                f"{theirs / ours:.2f}",
            ))
    print(table(HEADS, rows, right=HEADS[3:]))
    for kind, (ours, theirs) in sums.items():
        print(f"{kind:8s} all layers: striate {ours:.1f} ms, torch {theirs:.1f} ms, ratio {theirs / ours:.2f}")
