"""A saved network computes and trains as the one it was, without its code; a damaged file is a FormatError."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import striate as st
from nets import Branches, Classics, Shared, Tiny
from striate import nn, ops
from striate.engine.step import TrainingStep
from striate.nn.saved import KEY

NETS = {
    "lenet5": (lambda: st.create("lenet5", seed=5), (1, 28, 28)),
    "tiny": (lambda: Tiny().initialize(1), (3, 8, 8)),
    "branches": (lambda: Branches().initialize(2), (4, 8, 8)),
    "classics": (lambda: Classics().initialize(4), (3, 9, 11)),
    "shared": (lambda: Shared().initialize(3), (2, 5, 5)),
}


def images(shape, n=3):
    return np.random.default_rng(0).standard_normal((n, *shape)).astype(np.float32)


def flat(y):
    return [y] if isinstance(y, np.ndarray) else [y["logits"], *y["aux"]]


@pytest.mark.parametrize("name", NETS)
def test_loaded_network_gives_the_same_bits(name, tmp_path):
    build, shape = NETS[name]
    net = build()
    st.save(net, tmp_path / "net.safetensors", shape)
    loaded = st.load(tmp_path / "net.safetensors")
    x = images(shape)
    for training in (False, True):
        for a, b in zip(flat(net(x, training=training)), flat(loaded(x, training=training)), strict=True):
            np.testing.assert_array_equal(a, b)
    st.save(loaded, tmp_path / "again.safetensors")
    before, after = (load_file(tmp_path / f"{n}.safetensors") for n in ("net", "again"))
    assert before.keys() == after.keys()


def test_loaded_network_trains_like_the_original(tmp_path):
    net = Tiny().initialize(1)
    st.save(net, tmp_path / "net.safetensors", (3, 8, 8))
    loaded = st.load(tmp_path / "net.safetensors")
    x, targets = images((3, 8, 8), 8), np.arange(8) % 5
    for module in (net, loaded):
        step = TrainingStep(module.programs, ops.cross_entropy, st.SGD(0.1, momentum=0.9))
        for i in range(5):
            step(x, targets, lr=0.1, step=i + 1)
    for path, state in net.states().items():
        np.testing.assert_array_equal(state.array, loaded.states()[path].array)


def test_a_callback_cannot_be_saved(tmp_path):
    net = nn.Sequential(nn.Pool2d(2, lambda w: w.max(-1)))
    with pytest.raises(st.ConfigError, match="Python callback, which no file can hold"):
        st.save(net, tmp_path / "net.safetensors", (1, 4, 4))
    with pytest.raises(st.ConfigError, match="needs input_shape"):
        st.save(net, tmp_path / "net.safetensors")
    assert list(tmp_path.iterdir()) == []


def damage(change):
    """A file whose header went through `change`."""

    def write(path):
        st.save(Tiny().initialize(1), path, (3, 8, 8))
        tensors = load_file(path)
        from safetensors import safe_open

        with safe_open(path, framework="numpy") as file:
            header = json.loads(file.metadata()[KEY])
        text = change(header, tensors)
        save_file(tensors, path, {KEY: text if isinstance(text, str) else json.dumps(header)})

    return write


def node(index, **changes):
    return damage(lambda header, tensors: header["graphs"]["evaluate"]["nodes"][index].update(changes))


def params(index, **changes):
    return damage(lambda header, tensors: header["graphs"]["evaluate"]["nodes"][index]["params"].update(changes))


BROKEN = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"not a network"),
    "pickle": lambda path: path.write_bytes(b"\x80\x04\x95" + b"0" * 100),
    "huge header": lambda path: path.write_bytes((2**62).to_bytes(8, "little") + b"{}"),
    "no graph": lambda path: save_file({"a": np.zeros(1, np.float32)}, path),
    "not json": damage(lambda header, tensors: "{"),
    "deep json": damage(lambda header, tensors: "[" * 100_000),
    "list": damage(lambda header, tensors: "[]"),
    "version": damage(lambda header, tensors: header.update(version=99)),
    "image 0": damage(lambda header, tensors: header.update(image=[3, 0, 8])),
    "image huge": damage(lambda header, tensors: header.update(image=[3, 2**31, 8])),
    "image text": damage(lambda header, tensors: header.update(image="388")),
    "missing tensor": damage(lambda header, tensors: tensors.__delitem__("stem.weight")),
    "other shape": damage(lambda header, tensors: tensors.update({"stem.weight": np.zeros((1, 1), np.float32)})),
    "other dtype": damage(lambda header, tensors: tensors.update({"stem.weight": np.zeros((6, 3, 3, 3))})),
    "unknown op": node(0, op="exec"),
    "callback": node(0, op="callback"),
    "op list": node(0, op=["conv2d"]),
    "unknown state": node(0, inputs=["input:x", "state:nothing", None]),
    "future value": node(0, inputs=["node:5:0", "state:stem.weight", None]),
    "stride 0": params(0, stride=[0, 0]),
    "stride text": params(0, stride="1"),
    "groups 0": params(0, groups=0),
    "groups half": params(0, groups=1.5),
    "padding huge": params(0, padding=[2**40] * 4),
    "unknown parameter": params(0, evil=1),
    "dilation nan": params(0, dilation=[float("nan")] * 2),
    "short stride": params(0, stride=[1]),
    "outputs": damage(lambda header, tensors: header["graphs"]["train"].update(outputs={"y": "node:99:0"})),
    "nest": damage(lambda header, tensors: header["graphs"]["train"].update(nest=7)),
    "nest kind": damage(lambda header, tensors: header["graphs"]["train"].update(nest={"eval": [0]})),
    "updates": damage(lambda header, tensors: header["graphs"]["train"].update(updates=[["nothing", "node:0:0"]])),
    "input dtype": damage(lambda header, tensors: header["graphs"]["train"]["inputs"].append(1)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_damaged_file_is_a_format_error(name, tmp_path):
    path = tmp_path / "net.safetensors"
    BROKEN[name](path)
    with pytest.raises(st.FormatError, match=r"load: .*net\.safetensors"):
        st.load(path)


def test_every_truncation_is_a_format_error(tmp_path):
    path = tmp_path / "net.safetensors"
    st.save(Tiny().initialize(1), path, (3, 8, 8))
    data = path.read_bytes()
    for size in range(0, len(data), 97):
        path.write_bytes(data[:size])
        with pytest.raises(st.FormatError):
            st.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors"):
        st.load(tmp_path / "nothing.safetensors")
