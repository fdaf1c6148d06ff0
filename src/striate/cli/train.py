"""`striate train`: a network, trained on real images, in a folder of its own."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from striate import data as datasets
from striate import train as training
from striate.cli.network import MODEL, RUNS, for_data, open_network
from striate.cli.output import GivenPrecision, Json, Threads, Tune, say, show, show_json
from striate.cli.samples import save_samples, short_name
from striate.errors import ConfigError, FormatError, NonFiniteError, unknown_name
from striate.kernels import native
from striate.ops.arguments import MAX_SIZE, number
from striate.train.folder import read_config

DEFAULTS: dict[str, Any] = dict(
    net="lenet5", data="auto", epochs=5, batch_size=128, optimizer="sgd", lr=None, momentum=0.9, weight_decay=5e-4,
    schedule="cosine", warmup=0.1, seed=0, images=None,
    precision="default", tune=False,
)
KINDS: dict[str, Any] = dict(
    net=str, data=str, epochs=int, batch_size=int, optimizer=str, lr=int | float | None, momentum=int | float,
    weight_decay=int | float, schedule=str, warmup=int | float, seed=int, images=int | None,
    precision=str, tune=bool,
)
OPTIMIZERS = {"sgd": 0.05, "adam": 0.001}  # with the lr each starts from
SCHEDULES = ("constant", "cosine", "step")
INTERRUPTED = 130


def train(
    net: Annotated[str | None, typer.Argument(
        metavar="NET", help="A network's name, or a saved file to train on. Default: lenet5.")] = None,
    data: Annotated[str | None, typer.Option(
        metavar="NAME", help="auto, mnist, fashion-mnist, pen, or a folder with IDX files. Default: auto.")] = None,
    epochs: Annotated[int | None, typer.Option(
        metavar="N", min=1, help="How often all images are seen. Default: 5.")] = None,
    out: Annotated[Path | None, typer.Option(
        metavar="DIR", help="A new folder for what the run leaves. Default: runs/NET-DATA-1, -2 and so on.")] = None,
    batch_size: Annotated[int | None, typer.Option(metavar="N", min=1, help="Images a step. Default: 128.")] = None,
    optimizer: Annotated[str | None, typer.Option(metavar="sgd|adam", help="Default: sgd.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate. Default: 0.05 for sgd, 0.001 for adam.")] = None,
    momentum: Annotated[float | None, typer.Option(help="Of sgd. Default: 0.9.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Default: 0.0005.")] = None,
    schedule: Annotated[str | None, typer.Option(
        metavar="constant|cosine|step", help="How the learning rate falls. Default: cosine.")] = None,
    warmup: Annotated[float | None, typer.Option(
        metavar="STEPS", min=0, help="Steps in which it rises first; below 1, a share of all. Default: 0.1.")] = None,
    seed: Annotated[int | None, typer.Option(
        min=0, help="Of the initial weights and the order of the images. Default: 0.")] = None,
    images: Annotated[int | None, typer.Option(metavar="N", min=1, help="The first N only. Default: all.")] = None,
    save_every: Annotated[int, typer.Option(
        metavar="STEPS", min=0, show_default=False, help="A checkpoint each so many steps, besides each epoch's.")] = 0,
    threads: Threads = None,
    precision: GivenPrecision = None,
    tune: Tune = False,
    resume: Annotated[bool, typer.Option(
        "--resume", metavar=" ", help="Go on with the run in --out: same settings, same bits.")] = False,
    json: Json = False,
) -> None:
    """Train a network and leave it, its learning curve and its confusion matrix in a folder.

    Example: striate train

    Example: striate train lenet5 --data fashion-mnist --epochs 15 --out runs/fashion

    Ctrl-C stops it; striate train --resume --out DIR goes on as if it had never stopped.
    """
    native.set_threads(threads)
    given = dict(net=net, data=data, epochs=epochs, batch_size=batch_size, optimizer=optimizer, lr=lr,
                 momentum=momentum, weight_decay=weight_decay, schedule=schedule, warmup=warmup, seed=seed,
                 images=images, precision=precision, tune=tune or None)
    command = _command({name: value for name, value in given.items() if value is not None}, out, resume)
    job = _prepare(command)
    out = out or _new_folder(job.name, job.data)
    say(f"run: {out}, threads: {native.get_threads()}, instruction set: {native.default_isa()}")
    result = _fit(job, out, resume, save_every)
    _tell(job, result, out, json)


@dataclass(frozen=True)
class Job:
    """A command line made concrete."""

    command: dict[str, Any]
    name: str
    data: str
    net: Any
    train: datasets.Dataset
    test: datasets.Dataset
    optimizer: Any
    schedule: Any


def _command(given: dict[str, Any], out: Path | None, resume: bool) -> dict[str, Any]:
    """What was given over what the run to resume was given, over the defaults."""
    before: dict[str, Any] = {}
    if resume:
        if out is None:
            raise ConfigError("train: --resume needs --out, the folder of the run to go on with")
        if not (out / "config.json").is_file():
            raise ConfigError(f"train: there is no run to resume in {out}; leave out --resume to start one")
        before = _command_of(out)
    return DEFAULTS | before | given


def _command_of(run: Path) -> dict[str, Any]:
    """The settings a run was started with. Raises: FormatError if they are not such as this command writes."""
    command = read_config(run)["notes"].get("command", {})
    for name, value in command.items() if isinstance(command, dict) else [("command", command)]:
        kinds = KINDS.get(name, ())
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise FormatError(f"{run / 'config.json'}: {name} is no setting of a training, got {value!r:.60}")
    return dict(command)


def _prepare(command: dict[str, Any]) -> Job:
    """Mistakes come to light before any image is fetched."""
    native.set_precision(command["precision"])
    opened, optimizer, schedule = open_network(command["net"]), _optimizer(command), _schedule(command)
    train, test, why = datasets.load(command["data"])
    say(f"data: {why}")
    if command["images"] is not None:
        train = train.first(min(command["images"], len(train)))
    name = short_name(train)
    if command["data"] == "auto":
        command = command | {"data": name}  # a resumed run takes the same images, whatever there is by then
    net = for_data(opened, train, command["seed"])
    return Job(command, opened.name, name, net, train, test, optimizer, schedule)


def _fit(job: Job, out: Path, resume: bool, save_every: int) -> training.Result:
    command = job.command
    again = f"striate train --resume --out {shlex.quote(str(out))}"
    try:
        return training.fit(
            job.net, job.train, job.test, epochs=command["epochs"], batch_size=command["batch_size"],
            optimizer=job.optimizer, schedule=job.schedule, seed=command["seed"], out=out, resume=resume,
            save_every=save_every, notes={"command": command}, tune=command["tune"],
        )
    except KeyboardInterrupt:
        say(f"stopped; to go on from the last checkpoint: {again}")
        raise typer.Exit(INTERRUPTED) from None
    except NonFiniteError:
        say(f"the checkpoints before this step are kept in {out}")
        raise
    except SystemExit:
        say(f"asked to end; saved. To go on: {again}")
        raise


def _optimizer(command: dict[str, Any]) -> Any:
    name = command["optimizer"]
    if name not in OPTIMIZERS:
        raise unknown_name("train", "optimizer", name, OPTIMIZERS)
    lr = OPTIMIZERS[name] if command["lr"] is None else command["lr"]
    if name == "adam":
        return training.Adam(lr, weight_decay=command["weight_decay"], decoupled=True)
    return training.SGD(lr, command["momentum"], weight_decay=command["weight_decay"])


def _schedule(command: dict[str, Any]) -> Any:
    name, warmup = command["schedule"], command["warmup"]
    warmup = warmup if warmup < 1 else int(number("train", "warmup", warmup, 0, MAX_SIZE))
    if name not in SCHEDULES:
        raise unknown_name("train", "schedule", name, SCHEDULES)
    return training.step([0.5, 0.75], warmup=warmup) if name == "step" else getattr(training, name)(warmup=warmup)


def _new_folder(net: str, data: str) -> Path:
    """runs/NET-DATA-1, or the first number that is free."""
    number = 1
    while (RUNS / f"{net}-{data}-{number}").exists():
        number += 1
    return RUNS / f"{net}-{data}-{number}"


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' if count != 1 else ''}"


def _tell(job: Job, result: training.Result, out: Path, as_json: bool) -> None:
    """What was reached, where it lies, what to type next."""
    samples = save_samples(job.test, out / "samples")
    pictures = sorted(p.name for p in out.iterdir() if p.stem in ("learning_curve", "confusion"))
    folder = shlex.quote(str(out))
    show("\n".join([
        "",
        f"{job.name} gets {100 * (result.test_accuracy or 0):.2f} % of {len(job.test):,} test images right, after "
        f"{_epochs(job.command['epochs'])} in {result.seconds:.1f} s ({result.images_per_second:,.0f} images/s).",
        f"In {out}: {MODEL}, {', '.join(p for p in pictures if p.endswith('.png') or p[:-4] + '.png' not in pictures)}",
        "",
        "Next:",
        f"  striate predict {folder}/samples/*.png --run {folder}   # ask it about {len(samples)} images",
        f"  striate eval {folder}",
        f"  striate summary {job.command['net']}",
    ]), as_json=as_json)
    if as_json:
        show_json(dict(net=job.name, data=job.data, epochs=job.command["epochs"],
                       test_accuracy=result.test_accuracy, seconds=result.seconds,
                       images_per_second=result.images_per_second, run=str(out)))
