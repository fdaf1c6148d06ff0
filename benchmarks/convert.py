"""Writes a network's weights, and the network in the formats its peers read; peers.py runs it as a process."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
from engines import MACS, WEIGHTS, Job
from safetensors.numpy import load_file, save_file

import striate as st
from striate.kernels.contract import Shape
from striate.nn import BatchNorm2d


def write_weights(job: Job) -> None:
    """The states of a new network, and what an image costs."""
    net = st.create(job.network)
    settle(net, job.shape)
    save_file({path: np.array(state.array) for path, state in net.states().items()}, job.file(WEIGHTS))
    Path(job.file(MACS)).write_text(str(st.summary(net, job.shape).total.macs))


def settle(net: st.Module, shape: Shape) -> None:
    """Moves running statistics to those of a batch: without, ResNet-50's logits are in the thousands."""
    norms = [module for _, module in net.modules() if isinstance(module, BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    if norms:
        net(np.random.default_rng(2).standard_normal((4, *shape)).astype(np.float32), training=True)


def write_onnx(job: Job) -> None:
    """The ONNX file of a fixed batch, and from it MNN's."""
    import _tools  # MNN's converter; its command line is a wrapper that sends telemetry as well
    import torch
    from twins import twin

    net = twin(job.network, load_file(job.file(WEIGHTS))).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (torch.zeros(job.batch, *job.shape),), job.onnx, input_names=["x"], output_names=["y"],
                          dynamo=False)
    _tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", job.onnx, "--MNNModel", job.mnn, "--bizCode", "net"])


def write_ncnn(job: Job) -> None:
    """ncnn's two files, by pnnx; for one image, as ncnn knows no batches."""
    import pnnx
    import torch
    from twins import twin

    net = twin(job.network, load_file(job.file(WEIGHTS))).eval()
    pnnx.export(net, job.file("net.pt"), torch.zeros(1, *job.shape), fp16=False)


FILES = {"weights": write_weights, "onnx": write_onnx, "ncnn": write_ncnn}


def main() -> None:
    FILES[sys.argv[1]](Job(**json.loads(sys.argv[2])))


if __name__ == "__main__":
    main()
