"""Checkpoints and the run folder: whole or not there, noticed when damaged, held by one run at a time."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from striate import atomic
from striate.errors import ConfigError, FormatError
from striate.train import checkpoint
from striate.train.checkpoint import Checkpoint
from striate.train.folder import RunFolder


def example(step=3, fill=0.5):
    tensors = {"state/w": np.full((4, 3), fill, np.float32), "slot/w.velocity": np.arange(5, dtype=np.float32),
               "state/n": np.array(7, np.int64), "state/none": np.zeros((0, 2), np.float32)}
    return Checkpoint(step, tensors, {"step": step, "loss": 0.1, "history": [{"epoch": 1, "test_loss": None}]})


def same(a, b):
    assert (a.step, a.record, a.tensors.keys()) == (b.step, b.record, b.tensors.keys())
    for name in a.tensors:
        assert a.tensors[name].dtype == b.tensors[name].dtype
        np.testing.assert_array_equal(a.tensors[name], b.tensors[name])


def test_it_comes_back_as_it_was(tmp_path):
    same(checkpoint.load(checkpoint.save(tmp_path, example())), example())


def test_the_last_two_are_kept(tmp_path):
    for step in (1, 20, 3000, 4):
        checkpoint.save(tmp_path, example(step))
    assert [p.name for p in checkpoint.found(tmp_path)] == [
        "checkpoint-000003000.safetensors", "checkpoint-000000020.safetensors"]


def test_every_damage_is_noticed(tmp_path):
    path = checkpoint.save(tmp_path, example())
    whole, rng = path.read_bytes(), random.Random(0)
    for _ in range(600):
        bit = rng.randrange(8 * len(whole))
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        path.write_bytes(broken)
        with pytest.raises(FormatError, match="checkpoint-000000003"):
            checkpoint.load(path)
    for length in range(0, len(whole), 64):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match="checkpoint-000000003"):
            checkpoint.load(path)


@pytest.mark.parametrize("content", [b"", b"{}", b"\x80\x04pickle", b"\xff" * 64])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "checkpoint-000000001.safetensors"
    path.write_bytes(content)
    with pytest.raises(FormatError, match="cannot be read as a checkpoint"):
        checkpoint.load(path)


def test_a_newer_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "VERSION", 99)
    path = checkpoint.save(tmp_path, example())
    monkeypatch.undo()
    with pytest.raises(FormatError, match="needs format version 1, got 99"):
        checkpoint.load(path)


class Faults:
    """The N-th call that touches the disk fails; `count` says how many there were."""

    def __init__(self, monkeypatch, at, code):
        self.at, self.code, self.count = at, code, 0
        for owner, name in ((os, "fsync"), (os, "replace"), (os, "chmod"), (os, "open"), (Path, "write_bytes"),
                            (Path, "unlink")):
            monkeypatch.setattr(owner, name, self.failing(getattr(owner, name)))

    def failing(self, real):
        def call(*args, **options):
            self.count += 1
            if self.count == self.at:
                raise OSError(self.code, os.strerror(self.code))
            return real(*args, **options)

        return call


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_whichever_call_fails_the_one_before_loads(tmp_path, code):
    for at in range(1, 100):
        folder = tmp_path / f"{code}-{at}"
        folder.mkdir()
        checkpoint.save(folder, example(1))
        checkpoint.save(folder, example(2))
        with pytest.MonkeyPatch.context() as patch:
            faults = Faults(patch, at, code)
            try:
                checkpoint.save(folder, example(3, 0.25))
                failed = False
            except OSError:
                failed = True
        newest = next(found for _, found in checkpoint.candidates(folder) if isinstance(found, Checkpoint))
        same(newest, example(3, 0.25) if newest.step == 3 else example(2))
        assert failed or newest.step == 3
        if faults.count < at:
            return
    pytest.fail("no save without a fault")


def test_a_short_write_leaves_the_one_before(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, example(1))
    real = Path.write_bytes

    def short(self, data):
        real(self, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", short)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(tmp_path, example(2))
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-000000001.safetensors"]


# ---- the run folder

def test_two_runs_in_one_folder_are_refused(tmp_path):
    with RunFolder(tmp_path / "run", resume=False) as run:
        run.write_config({})
        with pytest.raises(ConfigError, match="is in use by another run"):
            RunFolder(tmp_path / "run", resume=True)
    RunFolder(tmp_path / "run", resume=True).__exit__()


def test_a_killed_run_lets_go_of_its_folder(tmp_path):
    code = ("import sys, time\nfrom striate.train.folder import RunFolder\n"
            "run = RunFolder(sys.argv[1], resume=False)\nrun.write_config({})\n"
            "print('held', flush=True)\ntime.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match="in use"):
            RunFolder(tmp_path, resume=True)
        holder.send_signal(signal.SIGKILL)
    RunFolder(tmp_path, resume=True).__exit__()


def test_a_folder_with_content_needs_resume(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"must be a new or empty folder, .* holds notes\.txt"):
        RunFolder(tmp_path, resume=False)


def test_resume_needs_a_run(tmp_path):
    with pytest.raises(ConfigError, match="there is no run to resume in"):
        RunFolder(tmp_path / "absent", resume=True)
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("out", ["/dev/full", "/dev/null"])
def test_out_must_be_a_folder(out):
    with pytest.raises(ConfigError, match=f"out must be a folder, got {out}"):
        RunFolder(out, resume=False)


def test_an_unwritable_place_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"train: cannot write to .*Not a directory"):
        RunFolder(tmp_path / "file" / "run", resume=False)


def test_strays_of_a_killed_write_are_swept_and_other_files_stay(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    for name in (".checkpoint-000000005.safetensors.ab12_xyz", ".config.json.abcdefgh", ".mine.json", ".git.x.y"):
        (tmp_path / name).write_text("")
    RunFolder(tmp_path, resume=True).__exit__()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".git.x.y", ".lock", ".mine.json", "config.json"]


def test_the_log_goes_back_to_the_checkpoint_and_loses_a_torn_line(tmp_path):
    with RunFolder(tmp_path, resume=False) as run:
        for step in (1, 2, 3, 4):
            run.log({"kind": "step", "step": step})
        with open(tmp_path / "log.jsonl", "a") as file:
            file.write('{"kind": "step", "st')
        run.rewind_log(2)
        run.log({"kind": "step", "step": 3})
        assert [line["step"] for line in run.read_log()] == [1, 2, 3]


def test_a_write_is_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    atomic.write_bytes(path, b"old")
    with pytest.raises(RuntimeError), atomic.replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
