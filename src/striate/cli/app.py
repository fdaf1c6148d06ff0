"""The verbs under one roof, and what becomes of an error: one sentence on standard error and an exit status."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, cast

import typer

import striate
from striate.cli.audit import audit
from striate.cli.calibrate import calibrate
from striate.cli.chart import chart
from striate.cli.data import data
from striate.cli.doctor import doctor
from striate.cli.evaluate import evaluate
from striate.cli.explain import explain
from striate.cli.latency import latency
from striate.cli.models import models
from striate.cli.output import say
from striate.cli.own import place_of
from striate.cli.predict import predict
from striate.cli.summary import summary
from striate.cli.train import train
from striate.errors import NonFiniteError, StriateError

FAILED, MISTAKE, INTERRUPTED = 1, 2, 130
# typer brings its own click or uses the installed one: this finds its UsageError in either
UsageError = cast(type[typer.BadParameter], typer.BadParameter.__bases__[0])

app = typer.Typer(
    name="striate", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    rich_markup_mode="rich", context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: [bold]striate train[/bold]  (it fetches or draws its own images, and says what to type next)",
)
VERBS = (train, evaluate, predict, models, summary, audit, chart, explain, calibrate, latency, doctor)
BARE = (train, models, calibrate, doctor)  # do something without an argument; the others show their help
for verb in VERBS:
    app.command("eval" if verb is evaluate else verb.__name__, no_args_is_help=verb not in BARE)(verb)
app.add_typer(data, name="data")


def _version(asked: bool) -> None:
    if asked:
        print(f"striate {striate.__version__}")
        raise typer.Exit()


@app.callback()
def _striate(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True,
                                          help="Show the version and exit.")] = False,
) -> None:
    """Convolutional networks on the CPU you have: train them, try them, see what they cost."""


@functools.cache  # whoever calls main often waits for the verbs' signatures once
def _command() -> Any:
    return typer.main.get_command(app)


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line; STRIATE_DEBUG=1 lets errors through with their traceback."""
    try:
        status = _command()(None if arguments is None else list(arguments), prog_name="striate", standalone_mode=False)
        if sys.stdout is not None:  # it may have been closed
            sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        say("stopped")
        return INTERRUPTED
    except UsageError as error:
        if error.format_message():  # without arguments the help was shown, and there is nothing to add
            _explain(f"{error.format_message()}; see {error.ctx.command_path if error.ctx else 'striate'} --help")
        return MISTAKE
    except (StriateError, OSError) as error:
        if os.environ.get("STRIATE_DEBUG") == "1":
            raise
        return _failed(error)
    except Exception as error:
        place = place_of(error)
        if not place or os.environ.get("STRIATE_DEBUG") == "1":
            raise
        _explain(f"{place}: {type(error).__name__}: {error}".splitlines()[0])
        return MISTAKE


def _failed(error: StriateError | OSError) -> int:
    """Says what went wrong. A full disk or a loss that is not finite is a failed run, the rest mistakes in the call."""
    if isinstance(error, BrokenPipeError):  # whoever read our output has gone: nothing is left to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    if isinstance(error, StriateError):
        _explain(str(error))
        return FAILED if isinstance(error, NonFiniteError) else MISTAKE
    reason = error.strerror or str(error)
    _explain(reason if error.filename is None else f"{error.filename}: {reason}")
    if "stdout" in str(error.filename):
        return FAILED
    theirs = FileNotFoundError | PermissionError | NotADirectoryError | IsADirectoryError | FileExistsError
    return MISTAKE if isinstance(error, theirs) else FAILED


def _explain(sentence: str) -> None:
    say(f"error: {sentence}")
