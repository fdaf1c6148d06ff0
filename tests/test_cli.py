"""The command line as a user meets it: what it prints where, its exit status, and one sentence for a mistake."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from striate.cli import main, models
from striate.data import idx_bytes
from striate.train import checkpoint


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, undrawn):
    """A folder of its own, no network, and pictures that take no time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STRIATE_OFFLINE", "1")
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    """A folder of IDX files: 28x28 images of two classes that differ in their bright half."""
    folder, rng = tmp_path_factory.mktemp("data") / "squares", np.random.default_rng(0)
    folder.mkdir()
    for part, count in (("train", 300), ("t10k", 80)):
        labels = rng.integers(0, 2, count).astype(np.uint8)
        pixels = rng.integers(0, 60, (count, 28, 28)).astype(np.uint8)
        for image, label in zip(pixels, labels, strict=True):
            image[:, 14 * label : 14 * label + 14] += 150
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(pixels))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    return folder


@pytest.fixture(scope="module")
def trained(squares, tmp_path_factory):
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("striate.train.report.draw_learning_curve", lambda path, log: path)
        patch.setattr("striate.train.report.draw_confusion", lambda path, counts, classes: path)
        assert main(["train", "--data", str(squares), "--epochs", "4", "--batch-size", "32", "--lr", "0.1",
                     "--out", str(folder)]) == 0
    return folder


def ask(capsys, *arguments):
    status = main(list(map(str, arguments)))
    return status, *capsys.readouterr()


# ---- train, eval, predict

def test_train_says_what_it_reached_and_what_to_type_next(capsys, squares):
    status, out, err = ask(capsys, "train", "--data", squares, "--epochs", 1, "--images", 64)
    assert status == 0 and "epoch 1/1  loss" in err and "data: " in err
    assert "% of 80 test images right" in out and "striate predict runs/lenet5-squares-1/samples/*.png" in out
    _, out, _ = ask(capsys, "train", "--data", squares, "--epochs", 1, "--images", 64)
    assert "striate eval runs/lenet5-squares-2" in out


def test_train_json_is_one_object_and_eval_agrees(capsys, squares, tmp_path):
    status, out, err = ask(capsys, "train", "lenet5", "--data", squares, "--epochs", 2, "--out", tmp_path / "run",
                           "--json", "--optimizer", "adam")
    found = json.loads(out)
    assert status == 0 and "Next:" in err
    assert list(found) == ["net", "data", "epochs", "test_accuracy", "seconds", "images_per_second", "run"]
    assert (found["net"], found["data"], found["epochs"], found["run"]) == ("lenet5", "squares", 2,
                                                                           str(tmp_path / "run"))
    status, out, _ = ask(capsys, "eval", tmp_path / "run", "--json")
    again = json.loads(out)
    assert status == 0 and list(again) == list(found)
    assert (again["test_accuracy"], again["epochs"]) == (found["test_accuracy"], 2)


def test_eval_in_words_and_of_a_file_by_itself(capsys, trained, squares, tmp_path):
    status, out, _ = ask(capsys, "eval", trained)
    assert status == 0 and out.startswith("lenet5 on squares-test: accuracy ") and "images/s" in out
    (tmp_path / "alone.safetensors").write_bytes((trained / "model.safetensors").read_bytes())
    status, _, err = ask(capsys, "eval", "alone.safetensors")
    assert status == 2 and "name the images with --data" in err
    status, out, _ = ask(capsys, "eval", "alone.safetensors", "--data", squares, "--json")
    assert status == 0 and json.loads(out)["run"] is None


def test_predict_knows_the_samples_of_the_run(capsys, trained):
    pictures = sorted((trained / "samples").glob("*.png"))
    status, out, _ = ask(capsys, "predict", *pictures, "--run", trained, "--json")
    found = json.loads(out)["images"]
    assert status == 0 and [f["class"] for f in found] == ["0", "1"] == [p.stem for p in pictures]
    assert all(f["probability"] > 0.5 and len(f["top"]) == 2 for f in found)
    status, out, _ = ask(capsys, "predict", pictures[0], "--run", trained)
    assert status == 0 and out.startswith(f"{pictures[0]}  0 ")


def test_predict_takes_a_file_inverts_paper_and_says_so(capsys, trained, tmp_path):
    pixels = np.full((60, 40), 255, np.uint8)
    pixels[10:50, 4:18] = 0
    Image.fromarray(pixels).save("drawn.png")
    model = trained / "model.safetensors"
    status, _, err = ask(capsys, "predict", "drawn.png", "--model", model)
    assert status == 0 and "drawn.png: dark on light, inverted" in err
    assert ask(capsys, "predict", "drawn.png", "--model", model, "--no-invert")[2] == ""


def test_predict_finds_the_newest_run(capsys, trained):
    os.mkdir("runs")
    os.symlink(trained, "runs/mine")
    assert ask(capsys, "predict", trained / "samples" / "0.png")[0] == 0


# ---- going on

def test_resume_takes_the_settings_of_the_run(capsys, squares, trained):
    command = ["train", "--data", squares, "--epochs", 4, "--batch-size", 32, "--lr", 0.1, "--out", "run"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("striate.train.loop._Run._log", _raise_at(17))
        assert ask(capsys, *command)[0] == 130
    status, _, err = ask(capsys, "train", "--resume", "--out", "run")
    assert status == 0 and "resumed: goes on behind step 10" in err
    assert _weights("run/model.safetensors") == _weights(trained / "model.safetensors")
    status, _, err = ask(capsys, "train", "--resume", "--out", "run", "--lr", 0.2)
    assert status == 2 and "optimizer must be as it was" in err


def _raise_at(step):
    def log(self, kind, **fields):
        if self.at.step == step:
            raise KeyboardInterrupt

    return log


def _weights(path):
    import striate as st

    return {name: s.array.tobytes() for name, s in st.load(path).states().items()}


def test_killed_at_any_moment_it_goes_on_with_the_same_bits(squares, trained):
    """SIGKILL as soon as each next checkpoint appears, and then let it through."""
    command = [sys.executable, "-m", "striate.cli", "train", "--out", "run", "--save-every", "7"]
    settings = ["--data", str(squares), "--epochs", "4", "--batch-size", "32", "--lr", "0.1"]
    kills = 0
    for step in (7, 21):
        more = settings if not os.path.exists("run/config.json") else ["--resume"]
        with subprocess.Popen([*command, *more], stderr=subprocess.PIPE) as process:
            _wait_for(step, process)
            kills += process.poll() is None
            process.kill()
    assert kills and main(["train", "--out", "run", "--resume"]) == 0
    assert _weights("run/model.safetensors") == _weights(trained / "model.safetensors")


def _wait_for(step, process):
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        files = [int(f[11:20]) for f in os.listdir("run") if checkpoint.PATTERN.fullmatch(f)] if os.path.exists(
            "run") else []
        if max(files, default=-1) >= step:
            return
        time.sleep(0.002)


@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGINT, 130, "stopped"), (signal.SIGTERM, 143, "saved")])
def test_signals(squares, number, status, word):
    command = [sys.executable, "-m", "striate.cli", "train", "--data", squares, "--epochs", "99999", "--out", "run"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        _wait_for(3, process)
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert process.returncode == status and word in err and "striate train --resume --out run" in err
    assert "Traceback" not in err and all(checkpoint.load(p) for p in checkpoint.found(Path("run")))


# ---- summary, data, doctor

def test_summary(capsys):
    status, out, err = ask(capsys, "summary", "lenet5")
    assert status == 0 and "61,706" in out and "416,520 MACs" in out and err == ""
    status, out, _ = ask(capsys, "summary", "lenet5", "--json", "--batch", 2, "--input", "1x28x28")
    found = json.loads(out)
    assert list(found) == ["name", "input", "threads", "convention", "rows", "total", "shares"]
    assert found["name"] == "lenet5" and found["rows"][0]["receptive_field"] == [5, 5]
    total = found["total"]
    assert (total["parameters"], total["macs"], total["flops"], total["activation_bytes"]) == (
        61706, 833040, 1666080, 120016)
    assert total["peak_inference_bytes"] > 120016 and total["peak_training_bytes"] > 2 * 4 * 61706


def test_summary_in_other_forms(capsys):
    _, out, _ = ask(capsys, "summary", "lenet5", "--csv")
    assert out.splitlines()[-1].startswith("total,,,61706,416520,833040,")
    _, out, _ = ask(capsys, "summary", "lenet5", "--markdown", "--convention", "canziani")
    assert "| total |  |  | 61,706 | 833,040 |" in out and "canziani counts 833,040 operations" in out
    _, out, _ = ask(capsys, "summary", "lenet5", "--budget", "3MiB", "--json")
    assert json.loads(out)["largest_batch"].keys() == {"budget_bytes", "inference", "training"}
    _, out, _ = ask(capsys, "summary", "lenet5", "--budget", "1.5kB")
    assert "largest batch in 1,500 B (0.0 MiB):\n  0 images in inference, 0 in training" in out


OWN = """
from striate import nn, ops
from beside import MAPS

class Net(nn.Module):
    input_shape = (3, 8, 8)

    def __init__(self, classes=4):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, MAPS, 3), nn.Linear(MAPS, classes)

    def forward(self, x):
        return self.head(ops.flatten(ops.global_avg_pool2d(self.conv(x))))

class Wide(Net):
    def __init__(self, width):
        super().__init__(width)

def maps():
    net = nn.Sequential(nn.Conv2d(3, 2, 3))
    return net

def broken():
    return 1 / 0

class Empty(nn.Module):
    pass

class Falls(nn.Module):
    def forward(self, x):
        raise RuntimeError("down")

small, number = Net(2), 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)
    Path("beside.py").write_text("MAPS = 5")
    Path("fails.py").write_text("import nothing_of_that_name")
    Path("leaves.py").write_text("raise SystemExit(3)")
    Path("talks.py").write_text("print('said'); from own import Net")


def test_summary_of_a_network_in_a_file_of_mine(capsys, own):
    for name, parameters in (("Net", 140 + 24), ("small", 140 + 12)):
        status, out, err = ask(capsys, "summary", f"own.py:{name}", "--json")
        assert (status, err, json.loads(out)["total"]["parameters"]) == (0, "", parameters)
    status, out, _ = ask(capsys, "summary", "own.py:maps", "--input", "3x5x5")
    assert status == 0 and "no training step: " in out and "56 " in out


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["own.py:Nett"], "own.py: no network named 'Nett'; did you mean 'Net'?"),
    (["own.py:Wide"], "own.py:Wide: must be built without arguments, but it needs width"),
    (["own.py:number"], "own.py:number: must be a Module, or give one when it is called, got int"),
    (["own.py:broken"], "own.py:broken: cannot be built: ZeroDivisionError: division by zero"),
    (["fails.py:Net"], "fails.py: cannot be imported: ModuleNotFoundError: No module named 'nothing_of_that_name'"),
    (["nowhere.py:Net"], "nowhere.py: there is no such file"),
    (["own.py:maps"], "summary: own.py:maps does not say what images it is for; give --input, as 3x224x224"),
    (["own.py:Falls", "--input", "3x8x8"], "own.py:31: RuntimeError: down"),
    (["own.py:Empty", "--input", "3x8x8"], "own.py:Empty: a Module needs a forward(self, x)"),
    (["leaves.py:Net"], "leaves.py: cannot be imported: SystemExit: 3"),
])
def test_mistakes_about_a_file_of_mine(capsys, own, arguments, sentence):
    status, out, err = ask(capsys, "summary", *arguments)
    assert (status, out) == (2, "") and sentence in err and len(err.splitlines()) == 1


def test_what_a_file_of_mine_prints_is_no_result(capsys, own):
    status, out, err = ask(capsys, "summary", "talks.py:Net", "--json")
    assert status == 0 and json.loads(out)["name"] == "talks.py:Net" and err == "said\n"


def test_summary_of_a_run_and_of_a_file(capsys, trained):
    for given in (trained, trained / "model.safetensors"):
        status, out, _ = ask(capsys, "summary", given)
        assert status == 0 and "416,520" not in out.splitlines()[0] and "total" in out  # two classes: fewer MACs


def test_explain(capsys, brief_peaks):
    status, out, _ = ask(capsys, "explain", "lenet5", "--batch", 4)
    assert status == 0 and "GFLOP/s of multiply-adds" in out and "held back by" in out and "ms in" in out
    assert max(map(len, out.splitlines())) <= 160
    status, out, _ = ask(capsys, "explain", "lenet5", "--batch", 4, "--training", "--precision", "direct", "--json")
    found = json.loads(out)
    assert status == 0 and found["training"] and found["precision"] == "direct" and found["input"] == [4, 1, 28, 28]
    kinds = {line["algorithm"] for line in found["lines"]}
    assert kinds == {"", "direct"} and {line["section"] for line in found["lines"]} == {"forward", "backward", "update"}
    assert found["total_us"] == pytest.approx(sum(line["us"] for line in found["lines"]))


def test_data_show(capsys, squares):
    status, out, _ = ask(capsys, "data", "show", squares)
    assert status == 0 and "300 images 1x28x28, 2 classes" in out and ("@" in out or "#" in out)
    status, out, _ = ask(capsys, "data", "show", squares, "--json")
    assert status == 0 and sum(json.loads(out)["train"]) == 300


def test_doctor(capsys):
    status, out, _ = ask(capsys, "doctor", "--seconds", 0.01)
    assert status == 0 and "instruction set" in out and "GFLOP/s with" in out
    status, out, _ = ask(capsys, "doctor", "--seconds", 0.01, "--json")
    found = json.loads(out)
    assert status == 0 and found["peak_gflops"] > 0 and found["isa"] in found["isas"] and found["threads"] >= 1


def test_doctor_explains(monkeypatch):
    from dataclasses import replace

    from striate.cli import doctor

    found = doctor.Findings("cpu", "avx2", ["baseline", "avx2"], 2, 2, 2, 2, None, 0.0, "madvise", "performance",
                            100.0, 190.0, 10.0)
    monkeypatch.delenv("STRIATE_CHECK", raising=False)
    assert not list(doctor.remarks_on(found))
    for word, change in {"STRIATE_ISA": {"isa": "baseline"}, "quota|container": {"quota": 1.5}, "affinity": {
            "affinity": 1}, "other programs": {"peak_gflops": 120.0}, "load 3": {"load": 3.0}, "Huge pages": {
            "huge_pages": "never"}, "powersave": {"governor": "powersave"}, "share": {
            "threads": 4, "peak_gflops": 380.0}, "neither AVX2": {"isa": "baseline", "isas": ["baseline"]}}.items():
        (remark,) = doctor.remarks_on(replace(found, **change))
        assert any(w in remark for w in word.split("|"))


def test_version_and_help(capsys):
    status, out, _ = ask(capsys, "--version")
    assert status == 0 and out.startswith("striate 0.")
    for verb in ("train", "eval", "predict", "models", "summary", "audit", "chart", "explain", "calibrate", "latency",
                 "data", "doctor"):
        status, out, _ = ask(capsys, verb, "--help")
        assert status == 0 and "Usage: striate" in out and ("Example: striate" in out or verb == "data")


def test_models_lists_every_network_within_80_columns(capsys, monkeypatch):
    monkeypatch.setattr(models, "listed", functools.cache(models.listed))  # for both forms
    status, out, _ = ask(capsys, "models")
    lines = out.splitlines()
    assert status == 0 and max(map(len, lines)) <= 80
    paper = lines.index("2014  Simonyan and Zisserman 2015, arXiv 1409.1556")
    assert lines[paper + 1].split() == ["vgg_a,", "vgg11", "132,863,336", "7,609,090,048", "3x224x224", "69.02"]
    years = [int(line[:4]) for line in lines if line[:4].isdigit()]
    assert years == sorted(years) and sum(line.startswith("resnet") for line in lines) == 13
    status, out, err = ask(capsys, "models", "--json")
    found = {m["name"]: m for m in json.loads(out)["models"]}
    assert status == 0 and err == "" and found.keys() <= {line.partition(" ")[0].rstrip(",") for line in lines}
    assert found["resnet50"] == dict(
        name="resnet50", aliases=[], input=[3, 224, 224], classes=1000, parameters=25_557_032,
        all_parameters=25_557_032, macs=4_089_184_256,
        top1=76.13, top1_source="torchvision", year=2015, paper="He et al. 2015, arXiv 1512.03385")
    assert (found["inception_v3"]["parameters"], found["inception_v3"]["all_parameters"]) == (23_834_568, 27_161_264)
    assert found["plain20_cifar"]["top1"] is None and found["vgg_d"]["aliases"] == ["vgg16"]


# ---- mistakes

MISTAKES = [
    (["train", "lenet6"], "no model named 'lenet6'; did you mean 'lenet5'"),
    (["explain", "lenet5", "--precision", "drect"], "no precision named 'drect'; did you mean 'direct'?"),
    (["train", "--precision", "sloppy"], "no precision named 'sloppy'; there are default, direct, fast"),
    (["train", "--epochs", "0"], "'--epochs': "),
    (["train", "--epochs", "three"], "'--epochs': "),
    (["train", "--batch-size", "-1"], "'--batch-size': "),
    (["train", "--lr", "nan"], "lr must be a number from 0"),
    (["train", "--lr", "0"], "lr must be positive"),
    (["train", "--warmup", "inf"], "warmup must be a number from 0"),
    (["train", "--momentum", "2"], "momentum must be a number from 0 to 1"),
    (["train", "--optimizer", "sdg"], "no optimizer named 'sdg'; did you mean 'sgd'?"),
    (["train", "--schedule", "linear"], "no schedule named 'linear'"),
    (["train", "--threads", "0"], "threads must be 1 to 256, got 0"),
    (["train", "--resume"], "--resume needs --out"),
    (["train", "--resume", "--out", "nowhere"], "no run to resume in nowhere"),
    (["train", "--data", "nothing"], "no data set named 'nothing'"),
    (["train", "--data", "."], "must hold four IDX files"),
    (["train", "--loss", "mse"], "No such option"),
    (["eval", "nowhere"], "nowhere: there is no such file or run folder"),
    (["eval", "."], "holds no model.safetensors"),
    (["predict", "picture.png"], "no finished run in runs/"),
    (["predict", "picture.png", "--run", "a", "--model", "b"], "needs --run or --model, got both"),
    (["summary", "lenet5", "--input", "28x28"], "channels, height and width"),
    (["summary", "lenet5", "--input", "1x0x28"], "input_shape must be positive, got 0"),
    (["summary", "lenet5", "--input", "3x28x28"], "conv1"),
    (["summary", "lenet5", "--batch", "0"], "batch must be positive"),
    (["explain", "lenet5", "--batch", "0"], "explain: batch must be positive"),
    (["latency", "lenet5", "--batch", "0"], "latency: batch must be positive"),
    (["summary", "lenet5", "--convention", "topr"], "no convention named 'topr'; did you mean 'thop'"),
    (["summary", "lenet5", "--budget", "2 elephants"], "--budget must be a number of bytes, as 2GiB or 500MB"),
    (["summary", "lenet5", "--csv", "--json"], "needs one of --csv, --markdown and --json"),
    (["summary", "nowhere.safetensors"], "there is no such file"),
    (["data", "get", "mnist"], "STRIATE_OFFLINE"),
    (["data", "get", "imagenet"], "no data set named 'imagenet'"),
    (["bogus"], "No such command 'bogus'"),
]


@pytest.mark.parametrize(("arguments", "sentence"), MISTAKES, ids=lambda a: " ".join(a) if isinstance(a, list) else "")
def test_a_mistake_is_one_sentence_and_status_2(capsys, arguments, sentence):
    status, out, err = ask(capsys, *arguments)
    assert status == 2 and out == "" and sentence in err and "Traceback" not in err
    assert len([line for line in err.splitlines() if line.startswith("error: ")]) == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda config: config.clear(), "the file must have 'net', got nothing"),
        (lambda config: config.update(net=5), "net must be a dict, got int"),
        (lambda config: config.update(notes=[]), "notes must be a dict, got list"),
        (lambda config: config["train"].pop("classes"), "train must have 'classes'"),
    ],
)
def test_a_damaged_config_is_one_sentence(capsys, trained, tmp_path, change, sentence):
    run = shutil.copytree(trained, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    change(config)
    (run / "config.json").write_text(json.dumps(config))
    for command in (["eval", run], ["train", "--resume", "--out", run]):
        status, _, err = ask(capsys, *command)
        assert status == 2 and sentence in err and "Traceback" not in err


def test_a_damaged_setting_is_one_sentence(capsys, trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    config["notes"]["command"]["epochs"] = "five"
    (run / "config.json").write_text(json.dumps(config))
    status, _, err = ask(capsys, "train", "--resume", "--out", run)
    assert status == 2 and "epochs is no setting of a training, got 'five'" in err


def test_mistakes_that_need_images(capsys, squares, trained):
    for more, sentence in ((["--out", "/dev/full"], "must be a folder, got /dev/full"),
                           (["--out", trained], "must be a new or empty folder"),
                           (["--warmup", "999"], "warmup must be shorter"),
                           (["--out", "/proc/nowhere/run"], "cannot write to /proc/nowhere/run")):
        status, _, err = ask(capsys, "train", "--data", squares, *more)
        assert status == 2 and sentence in err and "Traceback" not in err
    with open("broken.png", "wb") as file:
        file.write(b"\x89PNG\r\n")
    status, _, err = ask(capsys, "predict", "broken.png", "--run", trained)
    assert status == 2 and "broken.png must be a whole PNG" in err


def test_a_loss_that_is_not_finite_is_a_failed_run(capsys, squares):
    status, _, err = ask(capsys, "train", "--data", squares, "--lr", "1e30", "--schedule", "constant", "--out", "run")
    assert status == 1 and "error: train: the loss must be finite" in err and "at step" in err
    assert "checkpoints before this step are kept in run" in err


def test_a_full_standard_output_is_one_sentence():
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "striate.cli", "summary", "lenet5", "--json"], stdout=full,
                              stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and done.stderr == "error: No space left on device\n"


def test_debug_shows_the_traceback(monkeypatch):
    monkeypatch.setenv("STRIATE_DEBUG", "1")
    with pytest.raises(Exception, match="lenet6"):
        main(["train", "lenet6"])
