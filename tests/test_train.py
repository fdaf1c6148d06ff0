"""fit: it learns, it tells, it leaves a folder, and a run that was stopped anywhere goes on with the same bits."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import sys

import numpy as np
import pytest

import striate as st
from striate import nn, ops, train
from striate.data import Dataset, as_float
from striate.errors import ConfigError, DtypeError, FormatError, NonFiniteError
from striate.train import checkpoint, loop, report
from striate.train.progress import _Bar, _Lines
from striate.train.schedule import describe

IMAGES, BATCH, EPOCHS = 90, 16, 3
STEPS = -(-IMAGES // BATCH)


class Net(nn.Module):
    """With what has a memory of its own: batch statistics, and random bits that depend on the step."""

    def __init__(self, channels=4):
        super().__init__()
        self.conv = nn.Conv2d(1, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels, momentum=0.4)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(channels * 16, 3)

    def forward(self, x):
        x = ops.max_pool2d(ops.relu(self.norm(self.conv(x))), 2)
        return self.head(self.drop(ops.flatten(x)))


def images(count=IMAGES, seed=0, side=8):
    """Three classes: a bright square in one of three places, under noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    pixels = rng.integers(0, 90, (count, 1, side, side), dtype=np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[0, 1:4, 2 * label : 2 * label + 3] += 120
    return Dataset(f"squares-{seed}", pixels, labels.astype(np.int64), ("left", "middle", "right"), "made here")


TRAIN, TEST = images(), images(40, seed=1)


def run(out=None, *, net=None, optimizer=None, **options):
    net = net or Net().initialize(3)
    options = {"epochs": EPOCHS, "batch_size": BATCH, "progress": False, "seed": 5} | options
    return net, train.fit(net, TRAIN, TEST, out=out, optimizer=optimizer or train.Adam(0.01), **options)


def bits(net):
    return {path: state.array.tobytes() for path, state in net.states().items()}


def timeless(history):
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in history]


@pytest.fixture(scope="module")
def whole():
    """The run that nobody interrupts."""
    net, result = run()
    return bits(net), timeless(result.history)


class Stop(Exception):
    pass


def stop_at(step, error=Stop):
    def listen(event):
        if isinstance(event, train.StepDone) and event.step == step:
            raise error

    return listen


@pytest.fixture(autouse=True)
def undrawn(request):
    """Pictures take longer than these trainings: they are drawn where a test asks for the fixture `drawn`."""
    with pytest.MonkeyPatch.context() as patch:  # a test may undo its own
        if "drawn" not in request.fixturenames:
            patch.setattr(loop, "write_report", lambda *_: [])
        yield


@pytest.fixture
def drawn():
    pass


# ---- learning and telling

def test_it_learns_and_says_so(whole):
    first, last = whole[1][0], whole[1][-1]
    assert last["loss"] < first["loss"] and last["test_accuracy"] > 0.7


def test_events_come_in_order_and_count_right():
    events = []
    _, result = run(on_event=events.append, epochs=2)
    kinds = [type(e).__name__ for e in events]
    assert kinds == (["EpochStarted"] + ["StepDone"] * STEPS + ["EpochDone"]) * 2
    steps = [e for e in events if isinstance(e, train.StepDone)]
    assert [e.step for e in steps] == list(range(1, 2 * STEPS + 1))
    assert steps[STEPS - 1].images == IMAGES and steps[STEPS].images == BATCH
    done = [e for e in events if isinstance(e, train.EpochDone)]
    assert done[1].loss == steps[-1].loss and result.test_accuracy == done[1].test_accuracy


def test_the_mean_loss_weighs_a_short_last_batch_by_its_images():
    events = []
    run(on_event=events.append, epochs=1)
    steps = [e for e in events if isinstance(e, train.StepDone)]
    sizes = np.diff([0, *(e.images for e in steps)])
    assert sizes[-1] == IMAGES % BATCH
    assert steps[-1].loss == pytest.approx(float(np.dot([e.batch_loss for e in steps], sizes)) / IMAGES, rel=1e-12)


def test_evaluation_is_what_the_network_says():
    net, _ = run(epochs=1)
    x = as_float(TEST.images)
    logits = net(x).astype(np.float64)
    shares = np.exp(logits - logits.max(1, keepdims=True))
    loss = -np.log(shares[np.arange(len(TEST)), TEST.labels] / shares.sum(1)).mean()
    score = train.evaluate(net, TEST, batch_size=7)
    assert score.accuracy == (logits.argmax(1) == TEST.labels).mean() and score.images == len(TEST)
    assert score.loss == pytest.approx(loss, rel=1e-5)
    counts = train.confusion(net, TEST, batch_size=7)
    expected = np.zeros((3, 3), int)
    for label, guess in zip(TEST.labels, logits.argmax(1), strict=True):
        expected[label, guess] += 1
    np.testing.assert_array_equal(counts, expected)


def test_arrays_serve_as_well_as_a_dataset(whole):
    net = Net().initialize(3)
    result = train.fit(net, (TRAIN.images, TRAIN.labels), (TEST.images, TEST.labels.astype(np.uint8)), epochs=EPOCHS,
                       batch_size=BATCH, progress=False, seed=5, optimizer=train.Adam(0.01))
    assert (bits(net), timeless(result.history)) == whole


def test_without_a_test_set():
    net = Net().initialize(0)
    result = train.fit(net, TRAIN, epochs=1, progress=False)
    assert result.test_accuracy is None and result.history[0]["test_loss"] is None and result.run is None


def test_several_outputs_train_by_a_loss_of_your_own():
    class Two(Net):
        def forward(self, x):
            y = super().forward(x)
            return y, y * 0.5

    def both(outputs, targets):
        return ops.cross_entropy(outputs[0], targets) + ops.cross_entropy(outputs[1], targets)

    _, result = run(net=Two().initialize(3), loss=both)
    assert result.history[-1]["loss"] < result.history[0]["loss"] and result.test_accuracy > 0.7


@pytest.mark.parametrize("threads", [1, 3])
def test_no_bit_depends_on_the_number_of_threads(whole, threads):
    from striate.kernels import native

    native.set_threads(threads)
    try:
        net, _ = run()
    finally:
        native.set_threads(None)
    assert bits(net) == whole[0]


# ---- the run folder

def test_what_a_run_leaves(tmp_path, whole, drawn):
    net, result = run(tmp_path / "run")
    folder = result.run
    assert bits(net) == whole[0]
    assert {p.name for p in folder.iterdir()} >= {
        "config.json", "log.jsonl", "model.safetensors", "learning_curve.csv", "learning_curve.png", "confusion.csv",
        "confusion.png", f"checkpoint-{3 * STEPS:09d}.safetensors", f"checkpoint-{2 * STEPS:09d}.safetensors"}
    config = json.loads((folder / "config.json").read_text())
    assert config["arguments"]["optimizer"].startswith("Adam(lr=0.01") and config["train"]["images"] == IMAGES
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    epochs = [{k: v for k, v in line.items() if k != "kind"} for line in log if line["kind"] == "epoch"]
    assert timeless(epochs) == whole[1]
    rows = list(csv.reader((folder / "confusion.csv").read_text().splitlines()))
    assert rows[0] == ["true class", "left", "middle", "right"]
    assert sum(int(c) for row in rows[1:] for c in row[1:]) == len(TEST)
    x = as_float(TEST.images)
    np.testing.assert_array_equal(st.load(folder / "model.safetensors")(x), net(x))


def test_pictures_are_pictures(tmp_path, drawn):
    from PIL import Image

    _, result = run(tmp_path / "run", epochs=1)
    for name in ("learning_curve", "confusion"):
        with Image.open(result.run / f"{name}.png") as picture:
            assert min(picture.size) > 400 and len(picture.convert("L").getcolors()) > 20


def test_without_matplotlib_the_tables_stand_and_the_extra_is_named(tmp_path, monkeypatch, drawn):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    notes = []
    _, result = run(tmp_path / "run", epochs=1, on_event=lambda e: isinstance(e, train.Note) and notes.append(e.text))
    assert len(notes) == 1 and "pip install 'striate[plot]'" in notes[0]
    assert (result.run / "confusion.csv").exists() and not list(result.run.glob("*.png"))


def test_many_classes_and_an_empty_one_can_be_drawn(tmp_path):
    counts = np.zeros((60, 60), np.int64)
    counts[0, 0] = 3
    report.draw_confusion(tmp_path / "c.png", counts, [f"class {i}" for i in range(60)])
    report.draw_learning_curve(tmp_path / "l.png", [])


# ---- going on

@pytest.mark.parametrize("step", [1, 4, STEPS, STEPS + 1, 2 * STEPS - 1, 3 * STEPS])
def test_stopped_anywhere_it_goes_on_with_the_same_bits(tmp_path, whole, step):
    with pytest.raises(Stop):
        run(tmp_path / "run", on_event=stop_at(step), save_every=3)
    net, result = run(tmp_path / "run", resume=True, save_every=3)
    assert (bits(net), timeless(result.history)) == whole


def test_stopped_again_and_again(tmp_path, whole):
    net = Net().initialize(3)
    for step in range(2, 3 * STEPS, 3):
        with pytest.raises(Stop):
            run(tmp_path / "run", net=net, on_event=stop_at(step), save_every=2, resume=step > 2)
    net, result = run(tmp_path / "run", resume=True)
    assert (bits(net), timeless(result.history)) == whole
    log = [json.loads(line) for line in (result.run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if line["kind"] == "step"] == list(range(1, 3 * STEPS + 1))


def test_a_finished_run_can_be_resumed_and_is_only_reported_again(tmp_path, whole):
    run(tmp_path / "run")
    events = []
    net, result = run(tmp_path / "run", resume=True, on_event=events.append)
    assert (bits(net), timeless(result.history)) == whole
    assert not [e for e in events if isinstance(e, train.StepDone)]


@pytest.mark.parametrize("moment", [train.StepDone, train.EpochStarted])
def test_sigterm_saves_and_exits_143(tmp_path, whole, moment):
    seen = []

    def listen(event):
        if isinstance(event, moment):
            seen.append(event)
            if len(seen) == 2:
                os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught:
        run(tmp_path / "run", on_event=listen)
    assert caught.value.code == 143 and signal.getsignal(signal.SIGTERM) is before
    saved = max(checkpoint.load(p).step for p in checkpoint.found(tmp_path / "run"))
    assert saved == (2 if moment is train.StepDone else STEPS + 1)
    net, result = run(tmp_path / "run", resume=True)
    assert (bits(net), timeless(result.history)) == whole


def test_sigterm_during_an_evaluation_keeps_the_steps(tmp_path, whole, monkeypatch):
    real = loop.evaluate

    def asked_meanwhile(*args, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*args, **options)

    monkeypatch.setattr(loop, "evaluate", asked_meanwhile)
    with pytest.raises(SystemExit):
        run(tmp_path / "run")
    monkeypatch.undo()
    net, result = run(tmp_path / "run", resume=True)
    assert (bits(net), timeless(result.history)) == whole


def test_ctrl_c_leaves_what_was_saved(tmp_path, whole):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", on_event=stop_at(STEPS + 2, KeyboardInterrupt))
    assert [checkpoint.load(p).step for p in checkpoint.found(tmp_path / "run")] == [STEPS, 0]
    net, _ = run(tmp_path / "run", resume=True)
    assert bits(net) == whole[0]


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_taken(tmp_path, whole):
    with pytest.raises(Stop):
        run(tmp_path / "run", on_event=stop_at(9), save_every=4)
    newest = checkpoint.found(tmp_path / "run")[0]
    broken = bytearray(newest.read_bytes())
    broken[-5] ^= 4
    newest.write_bytes(broken)
    events = []
    net, result = run(tmp_path / "run", resume=True, on_event=events.append)
    said = [e for e in events if isinstance(e, train.Note)]
    assert len(said) == 1 and "does not match its checksum" in said[0].text
    assert next(e for e in events if isinstance(e, train.Resumed)).step == STEPS
    assert newest.with_suffix(".damaged").exists()
    assert (bits(net), timeless(result.history)) == whole


def test_with_no_good_checkpoint_left_it_does_not_start_over_silently(tmp_path):
    with pytest.raises(Stop):
        run(tmp_path / "run", on_event=stop_at(5), save_every=4)
    for path in checkpoint.found(tmp_path / "run"):
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FormatError, match="no good checkpoint is left"):
        run(tmp_path / "run", resume=True)


def test_a_full_disk_is_one_sentence_and_the_last_checkpoint_stands(tmp_path, whole, monkeypatch):
    real = checkpoint.write_tensors

    def full(path, *args):
        if len(list(path.parent.glob("checkpoint-*"))) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, *args)

    monkeypatch.setattr(checkpoint, "write_tensors", full)
    with pytest.raises(OSError, match=r"train: cannot write to .*run: No space left on device"):
        run(tmp_path / "run")
    monkeypatch.undo()
    net, _ = run(tmp_path / "run", resume=True)
    assert bits(net) == whole[0]


class Wide(Net):
    def __init__(self):
        super().__init__(channels=6)


@pytest.mark.parametrize(
    ("match", "options"),
    [
        ("net name must be as it was, 'Net'; got 'Wide'", {"net": Wide()}),
        ("net architecture must be as it was", {"net": Net(channels=6)}),
        ("optimizer must be as it was, 'Adam.lr=0.01.*got 'Adam.lr=0.02", {"optimizer": train.Adam(0.02)}),
        ("optimizer must be as it was", {"optimizer": train.SGD(0.01)}),
        ("epochs must be as it was, 3; got 4", {"epochs": 4}),
        ("batch_size must be as it was, 16; got 8", {"batch_size": 8}),
        ("seed must be as it was, 5; got 6", {"seed": 6}),
        ("schedule must be as it was, 'cosine.*got 'constant", {"schedule": train.constant()}),
        ("loss must be as it was", {"loss": lambda y, t: ops.cross_entropy(y, t, label_smoothing=0.1)}),
    ],
)
def test_another_setting_is_named(tmp_path, match, options):
    with pytest.raises(Stop):
        run(tmp_path / "run", on_event=stop_at(1))
    with pytest.raises(ConfigError, match=match):
        run(tmp_path / "run", resume=True, **options)


def test_other_images_are_named(tmp_path):
    with pytest.raises(Stop):
        run(tmp_path / "run", on_event=stop_at(1))
    net = Net().initialize(3)
    others = {"epochs": EPOCHS, "batch_size": BATCH, "progress": False, "seed": 5, "optimizer": train.Adam(0.01)}
    with pytest.raises(ConfigError, match=r"train .*must be as it was"):
        train.fit(net, images(seed=7), TEST, out=tmp_path / "run", resume=True, **others)
    with pytest.raises(ConfigError, match="test must be as it was"):
        train.fit(net, TRAIN, out=tmp_path / "run", resume=True, **others)


# ---- what cannot be trained

def test_a_loss_that_is_not_finite_stops_with_its_step(tmp_path):
    net = Net().initialize(3)
    with pytest.raises(NonFiniteError, match=r"at step [2-9]\d? \(epoch"):
        run(tmp_path / "run", net=net, optimizer=train.SGD(1e38, 0.9), save_every=1, schedule=train.constant())
    kept = checkpoint.load(checkpoint.found(tmp_path / "run")[0])
    assert kept.step >= 1 and bits(net) == {
        name[6:]: t.tobytes() for name, t in kept.tensors.items() if name.startswith("state/")}


@pytest.mark.parametrize(
    ("error", "match", "options"),
    [
        (ConfigError, "epochs must be positive, got 0", {"epochs": 0}),
        (ConfigError, "batch_size must be positive, got -1", {"batch_size": -1}),
        (DtypeError, "batch_size must be an integer, got '3'", {"batch_size": "3"}),
        (DtypeError, "epochs must be an integer, got 1.5", {"epochs": 1.5}),
        (ConfigError, "seed must be at least 0, got -1", {"seed": -1}),
        (ConfigError, "save_every must be at least 0, got -3", {"save_every": -3}),
        (DtypeError, "schedule and loss must be functions", {"schedule": "cosine"}),
        (DtypeError, "optimizer must be an SGD or Adam, got str", {"optimizer": "sgd"}),
        (ConfigError, "resume=True needs out", {"resume": True}),
        (ConfigError, "warmup must be shorter", {"schedule": train.cosine(warmup=100)}),
        (ConfigError, "net must be a Module, got str", {"net": "lenet5"}),
    ],
)
def test_mistakes(error, match, options):
    with pytest.raises(error, match=match):
        run(**options)


@pytest.mark.parametrize("lr", [0, -1.0, float("nan"), float("inf")])
def test_an_lr_must_be_positive_and_finite(lr):
    with pytest.raises(ConfigError, match="lr must be"):
        train.SGD(lr)


@pytest.mark.parametrize(
    ("error", "match", "data"),
    [
        (ConfigError, "train must be a Dataset or", "pen"),
        (ConfigError, "train must be a Dataset or", (TRAIN.images,)),
        (st.ShapeError, "labels must be one an image", (TRAIN.images, TRAIN.labels[:-1])),
        (st.ShapeError, "N, C, H, W", (TRAIN.images[:, 0], TRAIN.labels)),
        (DtypeError, "images must be", (TRAIN.images.astype(np.float64), TRAIN.labels)),
        (DtypeError, "labels must be", (TRAIN.images, TRAIN.labels.astype(float))),
        (ConfigError, "labels must be at most 65535", (TRAIN.images, TRAIN.labels + 2**40)),
        (ConfigError, r"out of range \[0, 3\) at index", (TRAIN.images, TRAIN.labels + 5)),
    ],
)
def test_mistakes_in_the_data(error, match, data):
    with pytest.raises(error, match=match):
        train.fit(Net(), data, epochs=1, progress=False)


def test_what_does_not_fit_is_found_before_a_folder_is_made(tmp_path):
    with pytest.raises(st.ShapeError, match="head"):
        train.fit(Net(), images(side=12), out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_train_and_test_images_have_one_shape():
    with pytest.raises(ConfigError, match=r"one shape, got \(1, 8, 8\) and \(1, 9, 9\)"):
        train.fit(Net(), TRAIN, images(side=9), progress=False)


# ---- showing

def test_lines_for_a_file_and_a_bar_for_a_terminal():
    import io

    from rich.console import Console
    from rich.progress import Progress, TextColumn

    lines, screen = [], io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    with Progress(TextColumn("{task.description} {task.fields[figures]}"), console=console, auto_refresh=False) as bar:
        listeners = [_Lines(2, lines.append), _Bar(bar, 2, 2 * STEPS)]
        run(epochs=2, on_event=lambda event: [listen(event) for listen in listeners])
    assert len(lines) == 2 and lines[1].startswith("epoch 2/2  loss 0.") and "test accuracy" in lines[1]
    assert lines[1] in screen.getvalue() and "epoch 1/2" in screen.getvalue() and "images/s" in screen.getvalue()


def test_progress_goes_to_standard_error(capsys):
    run(epochs=1, progress=True)
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("epoch 1/1  loss")


def test_a_schedule_says_what_it_is():
    assert describe(train.cosine(warmup=5)) == "cosine(warmup=5, floor=0.0)"
    assert describe(train.constant()) == "constant(warmup=0)"
    assert describe(train.step([0.5])) == "step(warmup=0, milestones=[0.5], gamma=0.1)"


@pytest.mark.parametrize(
    ("schedule", "total", "factors"),
    [
        (train.constant(), 4, [1, 1, 1, 1]),
        (train.constant(warmup=3), 8, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        (train.constant(warmup=0.5), 4, [1 / 3, 2 / 3, 1, 1]),
        (train.step([0.5, 0.75], gamma=0.1), 4, [1, 1, 0.1, 0.01]),
        (train.cosine(), 4, [1, 0.5 + 0.5 * 2**-0.5, 0.5, 0.5 - 0.5 * 2**-0.5]),
        (train.cosine(warmup=0.2, floor=0.5), 5, [0.5, 1, 0.75 + 0.25 * 2**-0.5, 0.75, 0.75 - 0.25 * 2**-0.5]),
    ],
)
def test_schedules_against_their_formulas(schedule, total, factors):
    assert [schedule(i, total) for i in range(total)] == pytest.approx(factors)
