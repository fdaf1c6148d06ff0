"""fit: epochs of training steps, an evaluation after each, and a run folder from which it can go on at any step."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from striate.data import Dataset
from striate.engine.trace import Loss
from striate.errors import ConfigError, DtypeError, FormatError, NonFiniteError
from striate.graph import Array
from striate.nn import Module, save
from striate.train import checkpoint
from striate.train.checkpoint import Checkpoint
from striate.train.evaluation import confusion, evaluate, loss_of
from striate.train.events import EpochDone, EpochStarted, Event, Listener, Note, Resumed, Saved, StepDone
from striate.train.folder import RunFolder, writing
from striate.train.optim import SGD, Adam
from striate.train.position import Position, Tally
from striate.train.progress import drawn
from striate.train.report import write_report
from striate.train.schedule import Schedule, cosine
from striate.train.settings import Settings

MAX_LABEL = 65_535
LOG_LINES = 400  # of steps, over a whole run
TERMINATED = 128 + signal.SIGTERM  # the exit status of a process that was asked to end


@dataclasses.dataclass(frozen=True)
class Result:
    """What a training reached. `history` has one row an epoch; test_accuracy is the last epoch's, from 0 to 1.

    Units: seconds of training over all parts of the run, without evaluation; images_per_second of training.
    """

    history: list[dict[str, Any]]
    test_accuracy: float | None
    seconds: float
    images_per_second: float
    run: Path | None


def fit(net: Module, train: Dataset | tuple[Array, Array], test: Dataset | tuple[Array, Array] | None = None, *,
        epochs: int = 5, batch_size: int = 128, optimizer: SGD | Adam | None = None,
        schedule: Schedule | None = None, loss: Loss | None = None, seed: int = 0,
        out: str | os.PathLike[str] | None = None, resume: bool = False, save_every: int = 0,
        on_event: Listener | None = None, progress: bool = True, notes: Mapping[str, Any] | None = None,
        tune: bool = False, memory_budget: int | None = None) -> Result:
    """Trains `net` in place and says what it reached; with `out` it leaves a run folder there.

    train, test: a Dataset, or (images, labels) arrays. optimizer: by default SGD with momentum; schedule: by default
    a cosine behind a short warm-up; loss: by default the network's own, which those with auxiliary heads have, else
    ops.cross_entropy. With resume=True it goes on where the run in `out` stood, and ends with the same bits as if it
    had never stopped. save_every: a checkpoint each so many steps, besides that of each epoch. on_event is called with
    what happens (see striate.train.events). tune=True chooses algorithms by measuring them once; its checkpoints keep
    what was chosen. memory_budget: bytes that a step may need; it computes some values twice for that, to the same
    bits. SIGTERM saves a checkpoint and exits with status 143.
    Raises: ConfigError for a setting out of range or unlike the run to resume; NonFiniteError with the step; LimitError
    for a memory_budget below what a step needs at least.
    >>> fit(create("lenet5"), train, test, epochs=5).test_accuracy
    """
    if resume and out is None:
        raise ConfigError("train: resume=True needs out, the folder of the run to go on with, got None")
    settings = Settings(
        net, as_dataset("train", train), None if test is None else as_dataset("test", test), epochs, batch_size,
        SGD(lr=0.05, momentum=0.9, weight_decay=5e-4) if optimizer is None else optimizer,
        cosine(warmup=0.1) if schedule is None else schedule,
        loss_of(net) if loss is None else loss, seed, save_every, tune, notes or {},
        memory_budget,
    )
    settings.plan()
    with ExitStack() as stack:
        folder = None if out is None else stack.enter_context(RunFolder(out, resume=resume))
        listeners = [on_event] if on_event else []
        if progress:
            listeners.append(stack.enter_context(drawn(settings.epochs, settings.steps)))
        stopped = stack.enter_context(_terminable()) if folder else lambda: False
        return _Run(settings, folder, listeners, stopped).complete(resume)


def as_dataset(name: str, given: Any) -> Dataset:
    """`given` if it is a Dataset, else one of the arrays (images, labels)."""
    if isinstance(given, Dataset):
        return given
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise ConfigError(f"train: {name} must be a Dataset or (images, labels), got {type(given).__name__}")
    images, labels = (np.asarray(part) for part in given)
    if images.dtype != np.uint8:
        raise DtypeError(f"train: {name} images must be uint8, 0 to 255, got {images.dtype}")
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise DtypeError(f"train: {name} labels must be integers (N,), got {labels.dtype} of shape {labels.shape}")
    if labels.max(initial=0) > MAX_LABEL:  # broken, and as many names of classes would fill the memory
        raise ConfigError(f"train: {name} labels must be at most {MAX_LABEL}, got {labels.max()}")
    classes = tuple(map(str, range(int(labels.max(initial=0)) + 1)))
    return Dataset(name, images, labels.astype(np.int64), classes, "arrays")


class _Run:
    """One training under way: the settings, where it stands, and whom it tells."""

    def __init__(self, settings: Settings, folder: RunFolder | None, listeners: list[Listener],
                 stopped: Callable[[], bool]) -> None:
        self.settings, self.folder, self.listeners, self.stopped = settings, folder, listeners, stopped
        self.log_every = max(1, settings.steps // LOG_LINES)
        self.at = Position()
        self.mark = 0.0  # when the time that `at.epoch_seconds` counts was last read

    def complete(self, resume: bool) -> Result:
        """Everything from the first step, or the one to resume behind, to the reports."""
        if self.folder and not resume:
            self.folder.write_config(self.settings.config())
            self._save()  # the initial weights: from here on there is always something to go back to
        elif self.folder:
            self._resume(self.folder)
        while self.at.epoch < self.settings.epochs:
            self._epoch()
        if self.folder:
            self._leave(self.folder)
        at, images = self.at, len(self.settings.train) * self.settings.epochs
        return Result(at.history, at.history[-1]["test_accuracy"], at.seconds, images / max(at.seconds, 1e-9),
                      self.folder.path if self.folder else None)

    def emit(self, event: Event) -> None:
        for listener in self.listeners:
            listener(event)

    # ---- training

    def _epoch(self) -> None:
        settings, at = self.settings, self.at
        self.emit(EpochStarted(at.epoch + 1, settings.epochs, settings.steps_per_epoch, at.batch, len(settings.train)))
        self.mark = time.perf_counter()
        for x, targets in settings.loader.epoch(at.epoch, start=at.batch):
            self._step(x, targets)
            if self.stopped() or (settings.save_every and at.step % settings.save_every == 0):
                self._save()
        self._end_epoch()

    def _step(self, x: Array, targets: Array) -> None:
        settings, at = self.settings, self.at
        lr = settings.lr(at.step)
        try:
            found = self.settings.training_step(x, targets, lr=lr, step=at.step + 1, seed=settings.seed)
        except NonFiniteError as error:
            raise NonFiniteError(
                f"train: the loss must be finite, got NaN or infinity at step {at.step + 1} (epoch {at.epoch + 1}, "
                f"lr {lr:g}); no weight was changed by it, a smaller lr or a warm-up may help"
            ) from error
        now = time.perf_counter()
        at.epoch_seconds, self.mark = at.epoch_seconds + now - self.mark, now
        at.step, at.batch = at.step + 1, at.batch + 1
        for sums in (at.tally, at.window):
            sums.add(found["loss"], found["correct"], len(x))
        speed = at.tally.images / max(at.epoch_seconds, 1e-9)
        self.emit(StepDone(at.epoch + 1, at.step, found["loss"], at.tally.mean_loss, at.tally.accuracy, lr,
                           at.tally.images, speed))
        if at.step % self.log_every == 0:
            self._log("step", epoch=at.epoch + 1, loss=at.window.mean_loss, accuracy=at.window.accuracy, lr=lr)
            at.window = Tally()

    def _end_epoch(self) -> None:
        settings, at = self.settings, self.at
        score = None
        if settings.test is not None:
            score = evaluate(settings.net, settings.test, loss=settings.loss, stopped=self.stopped,
                             tune=settings.tune)
            if score is None:
                self._save()  # which exits: the epoch's steps are kept, its evaluation is done again
        done = EpochDone(
            at.epoch + 1, at.step, at.tally.mean_loss, at.tally.accuracy, finite(score.loss) if score else None,
            score.accuracy if score else None, settings.lr(at.step - 1), at.epoch_seconds,
            at.tally.images / max(at.epoch_seconds, 1e-9),
        )
        at.seconds += at.epoch_seconds
        at.history.append(dataclasses.asdict(done))
        at.epoch, at.batch, at.epoch_seconds, at.tally = at.epoch + 1, 0, 0.0, Tally()
        self._log("epoch", **at.history[-1])
        self.emit(done)
        self._save()

    def _log(self, kind: str, **fields: Any) -> None:
        if self.folder:
            self.folder.log({"kind": kind, "step": self.at.step, **fields})

    # ---- saving and going on

    def _save(self) -> None:
        """A checkpoint, where there is a folder; then the exit, if SIGTERM asked for it."""
        if self.folder is None:
            return
        tensors = {f"state/{path}": s.array for path, s in self.settings.net.states().items()}
        tensors |= {f"slot/{path}": s.array for path, s in self.settings.slots().items()}
        with writing(self.folder.path):
            record = dataclasses.asdict(self.at) | {"tuned": dict(self.settings.net.programs.tuned)}
            path = checkpoint.save(self.folder.path, Checkpoint(self.at.step, tensors, record))
        self.emit(Saved(path, self.at.step))
        self.mark = time.perf_counter()
        if self.stopped():
            raise SystemExit(TERMINATED)

    def _resume(self, folder: RunFolder) -> None:
        saved = folder.read_config()
        self.settings.compare(saved)
        path, found = self._newest(folder.path)
        if found is not None:
            self._restore(found)
        folder.rewind_log(self.at.step)
        self.emit(Resumed(path, self.at.step))

    def _newest(self, folder: Path) -> tuple[Path | None, Checkpoint | None]:
        """The newest good checkpoint; damaged ones before it are set aside and told of."""
        damaged: FormatError | None = None
        for path, found in checkpoint.candidates(folder):
            if isinstance(found, Checkpoint):
                return path, found
            damaged = damaged or found
            path.rename(path.with_suffix(".damaged"))
            self.emit(Note(f"{found}; the one before it is tried"))
        if damaged:
            raise FormatError(f"{damaged}; no good checkpoint is left in {folder}")
        return None, None

    def _restore(self, found: Checkpoint) -> None:
        record, slots = dict(found.record), self.settings.slots()
        tensors = {kind: {name.partition("/")[2]: t for name, t in found.tensors.items() if name.startswith(kind)}
                   for kind in ("state", "slot")}
        if tensors["slot"].keys() != slots.keys():
            raise ConfigError(f"train: to resume, the optimizer must keep {len(tensors['slot'])} slots, "
                              f"got {len(slots)}")
        self.settings.net.programs.retune(record.pop("tuned", {}))
        self.settings.net.load(tensors["state"])
        for path, slot in slots.items():
            slot.assign(tensors["slot"][path])
        sums = {name: Tally(**record[name]) for name in ("tally", "window")}
        self.at = Position(**{**record, **sums})

    def _leave(self, folder: RunFolder) -> None:
        """The network, the curves and the confusion matrix."""
        settings = self.settings
        with writing(folder.path):
            try:
                save(settings.net, folder.path / "model.safetensors", settings.train.image_shape)
                self.emit(Saved(folder.path / "model.safetensors", self.at.step))
            except ConfigError as error:
                self.emit(Note(str(error)))
            counts = None if settings.test is None else confusion(settings.net, settings.test)
            for event in write_report(folder.path, folder.read_log(), counts, settings.train.classes, self.at.step):
                self.emit(event)


def finite(x: float) -> float | None:
    """JSON has no NaN: a loss that is not finite is none."""
    return x if abs(x) < float("inf") else None


@contextmanager
def _terminable() -> Iterator[Callable[[], bool]]:
    """SIGTERM only leaves word, for the loop to read between two steps; signals reach the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
