"""The engines of peers.py, each at its best settings: a function that builds the network and returns what is timed.

Inference goes from an image batch in memory to logits in memory. A training step is forward, cross-entropy, backward
and SGD with momentum and weight decay, and returns the loss.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

Array = np.ndarray[Any, Any]
Run = Callable[[], Any]

INFERENCE, TRAINING = "inference", "training"
BUDGETED = "striate memory_budget"
LR, MOMENTUM, DECAY = 1e-3, 0.9, 5e-4
BUDGET = {"vgg16": 2000, "resnet50": 1700}  # MiB, half of what PyTorch takes at batch 32 in channels_last
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt
WEIGHTS, MACS, NCNN = "weights.safetensors", "macs", "net.ncnn"


@dataclass(frozen=True)
class Job:
    """What is measured, and where the weights and the converted networks lie."""

    network: str
    batch: int
    mode: str
    folder: str
    shape: tuple[int, ...]  # of one image
    classes: int
    threads: int

    def file(self, name: str) -> str:
        return str(Path(self.folder) / name)

    @property
    def onnx(self) -> str:
        return self.file(f"net-{self.batch}.onnx")

    @property
    def mnn(self) -> str:
        return self.file(f"net-{self.batch}.mnn")

    def images(self) -> Array:
        return np.random.default_rng(0).standard_normal((self.batch, *self.shape)).astype(np.float32)

    def targets(self) -> Array:
        return np.random.default_rng(1).integers(0, self.classes, self.batch)


@dataclass(frozen=True)
class Engine:
    """A name in the table, the distributions it needs, the modules it imports, and how it is built."""

    name: str
    needs: tuple[str, ...]
    modules: tuple[str, ...]
    build: Callable[[Job], Run]
    trains: bool = False
    converted: bool = False  # it reads what convert.py writes


# ---- striate

def striate(job: Job, budget: dict[str, int] | None = None) -> Run:
    """With a budget, network -> MiB that a training step may take."""
    import striate as st
    from striate import ops
    from striate.engine.step import TrainingStep
    from striate.kernels import native
    from striate.models import build

    native.set_threads(job.threads)
    net = build(job.network)
    net.load(load_file(job.file(WEIGHTS)))
    x, targets = job.images(), job.targets()
    if job.mode == INFERENCE:
        return lambda: net(x)
    sgd = st.SGD(LR, momentum=MOMENTUM, weight_decay=DECAY)
    step = TrainingStep(net.programs, ops.cross_entropy, sgd, memory_budget=budget and budget[job.network] << 20)
    count = iter(range(1, 1 << 62))
    return lambda: step(x, targets, lr=LR, step=next(count))["loss"]


# ---- torch

def keep_memory() -> None:
    """Tells glibc to return no memory: else every buffer above 32 MB is mapped, and its pages touched, at each use."""
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, -1)


def torch(layout: str, compiled: bool = False) -> Callable[[Job], Run]:
    """Eager or compiled, in one of the memory layouts."""

    def build(job: Job) -> Run:
        import torch
        from twins import twin

        torch.set_num_threads(job.threads)
        torch.set_flush_denormal(True)
        memory = dict(memory_format=getattr(torch, layout))
        net = twin(job.network, load_file(job.file(WEIGHTS))).to(**memory)
        x = torch.from_numpy(job.images()).to(**memory)
        if job.mode == INFERENCE:
            return _torch_inference(net.eval(), x, compiled)
        return _torch_training(net.train(), x, torch.from_numpy(job.targets()), compiled)

    return build


def _torch_inference(net: Any, x: Any, compiled: bool) -> Run:
    import torch

    if compiled:
        import torch._inductor.config

        torch._inductor.config.freezing = True  # folds batch norm and packs the weights
        net = torch.compile(net)

    def run() -> Array:
        with torch.inference_mode() if not compiled else torch.no_grad():
            return net(x).numpy()

    return run


def _torch_training(net: Any, x: Any, targets: Any, compiled: bool) -> Run:
    import torch

    def loss_of(x: Any, targets: Any) -> Any:
        return torch.nn.functional.cross_entropy(net(x), targets)

    forward = torch.compile(loss_of) if compiled else loss_of
    sgd = torch.optim.SGD(net.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY, fused=True)

    def run() -> float:
        sgd.zero_grad(set_to_none=True)
        loss = forward(x, targets)
        loss.backward()
        sgd.step()
        return loss.item()

    return run


# ---- engines for inference only

def onnxruntime(job: Job) -> Run:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = job.threads
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    session = ort.InferenceSession(job.onnx, options, providers=["CPUExecutionProvider"])
    feed = {"x": job.images()}
    return lambda: session.run(None, feed)[0]


def openvino(job: Job) -> Run:
    import openvino as ov

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": job.threads, "INFERENCE_PRECISION_HINT": "f32",
                "CPU_DENORMALS_OPTIMIZATION": True}
    request = ov.Core().compile_model(job.onnx, "CPU", settings).create_infer_request()
    x = job.images()

    def run() -> Array:
        return np.array(request.infer([x], share_inputs=True, share_outputs=True)[0])

    return run


def mnn(job: Job) -> Run:
    import MNN

    net = MNN.Interpreter(job.mnn)
    session = net.createSession({"backend": "CPU", "numThread": job.threads, "precision": "high"})
    x = job.images()
    inside = net.getSessionInput(session)
    given = MNN.Tensor(x.shape, MNN.Halide_Type_Float, x, MNN.Tensor_DimensionType_Caffe)
    y = np.empty((job.batch, job.classes), np.float32)
    taken = MNN.Tensor(y.shape, MNN.Halide_Type_Float, y, MNN.Tensor_DimensionType_Caffe)

    def run() -> Array:
        inside.copyFrom(given)
        net.runSession(session)
        net.getSessionOutput(session).copyToHostTensor(taken)
        return np.array(taken.getNumpyData(), copy=True).reshape(y.shape)

    return run


def ncnn(job: Job) -> Run:
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = job.threads
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    net.load_param(job.file(f"{NCNN}.param"))
    net.load_model(job.file(f"{NCNN}.bin"))
    x = job.images()

    def one(image: Array) -> Array:
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(image))
        return np.array(extractor.extract("out0")[1])

    return lambda: np.stack([one(image) for image in x])  # it knows no batches


ENGINES = {e.name: e for e in (
    Engine("striate", ("striate",), ("striate.models", "striate.train"), striate, trains=True),
    Engine(BUDGETED, ("striate",), ("striate.models", "striate.train"), lambda job: striate(job, BUDGET),
           trains=True),
    Engine("onnxruntime", ("onnxruntime", "onnx", "torch"), ("onnxruntime",), onnxruntime, converted=True),
    Engine("openvino", ("openvino", "onnx", "torch"), ("openvino",), openvino, converted=True),
    Engine("MNN", ("MNN", "onnx", "torch"), ("MNN",), mnn, converted=True),
    Engine("ncnn", ("ncnn", "pnnx", "torch"), ("ncnn",), ncnn, converted=True),
    Engine("torch", ("torch",), ("torch", "twins"), torch("contiguous_format"), trains=True),
    Engine("torch channels_last", ("torch",), ("torch", "twins"), torch("channels_last"), trains=True),
    Engine("torch.compile", ("torch",), ("torch", "twins", "torch._inductor.compile_fx"),
           torch("channels_last", compiled=True), trains=True),
)}
