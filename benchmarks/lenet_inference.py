"""LeNet-5 inference, batch 256: striate beside ONNX Runtime and PyTorch, interleaved in one process.

    python benchmarks/lenet_inference.py [--rounds 30] [--batch 256] [--json FILE]
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import machine
import numpy as np
import onnxruntime
import torch
from twins import twin_of

import striate as st
from striate.kernels import native

CALLS = 20  # a round times this many calls in a row


def engines(batch: int) -> dict[str, Callable[[], Any]]:
    """Name -> a function that runs one batch from an array in memory to logits in memory."""
    net = st.create("lenet5")
    x = np.random.default_rng(0).standard_normal((batch, 1, 28, 28)).astype(np.float32)
    twin = twin_of(net).eval()
    session = onnx_session(twin, batch)
    tensor = torch.from_numpy(x)
    channels_last = twin_of(net).eval().to(memory_format=torch.channels_last)

    def run_torch(module: Any) -> Any:
        with torch.inference_mode():
            return module(tensor)

    found: dict[str, Callable[[], Any]] = {
        "striate": lambda: net(x),
        "onnxruntime": lambda: session.run(None, {"x": x})[0],
        "torch": lambda: run_torch(twin),
        "torch channels_last": lambda: run_torch(channels_last),
    }
    ours = found["striate"]()
    for name, run in found.items():
        np.testing.assert_allclose(np.asarray(run()), ours, atol=1e-4, err_msg=name)
    return found


def onnx_session(twin: torch.nn.Module, batch: int) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session with all optimisations and as many threads as the others."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(twin, (torch.zeros(batch, 1, 28, 28),), file, input_names=["x"], dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = machine.THREADS
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--json")
    args = parser.parse_args()
    native.set_threads(machine.THREADS)
    torch.set_num_threads(machine.THREADS)
    machine.heading(f"LeNet-5 inference, batch {args.batch}")
    found = engines(args.batch)
    ms: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(args.rounds):
        for name, run in found.items():
            start = time.perf_counter()
            for _ in range(CALLS):
                run()
            ms[name].append((time.perf_counter() - start) / CALLS * 1e3)
    ratios = {}
    for name, values in ms.items():
        ratios[name] = statistics.median(t / o for t, o in zip(values, ms["striate"], strict=True))
        print(f"{name:20s} {machine.spread(values)} a batch, {ratios[name]:.2f} x striate's time")
    machine.report({"batch": args.batch, "ms": ms, "ratio": ratios}, args.json)


if __name__ == "__main__":
    main()
