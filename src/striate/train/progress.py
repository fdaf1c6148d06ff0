"""How a training shows itself: a bar on a terminal, a line an epoch elsewhere. Both go to standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from striate.train.events import EpochDone, EpochStarted, Event, Listener, Note, Resumed, StepDone

REDRAW = 0.1  # seconds between two drawings of the bar


@contextmanager
def drawn(epochs: int, steps: int) -> Iterator[Listener]:
    """A listener that shows a run of so many steps."""
    progress = _rich_progress() if sys.stderr.isatty() else None
    if progress is None:
        yield _Lines(epochs, lambda text: print(text, file=sys.stderr, flush=True))
        return
    with progress:
        yield _Bar(progress, epochs, steps)


def _rich_progress() -> Any:
    """A bar with its columns, or None where rich is not installed."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        return None
    return Progress(
        TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[figures]}"), TimeRemainingColumn(compact=True), TextColumn("left"),
        console=Console(stderr=True, highlight=False), auto_refresh=False, transient=True,
    )


class _Lines:
    """One line an epoch, by `show`."""

    def __init__(self, epochs: int, show: Callable[[str], Any]) -> None:
        self.epochs, self.show = epochs, show

    def __call__(self, event: Event) -> None:
        if isinstance(event, EpochDone):
            self.show(epoch_line(event, self.epochs))
        elif isinstance(event, Note):
            self.show(event.text)
        elif isinstance(event, Resumed):
            where = f"behind step {event.step}, from {event.path}" if event.path else "from the beginning"
            self.show(f"resumed: goes on {where}")


class _Bar(_Lines):
    """The lines, and below them a bar over all steps of the run."""

    def __init__(self, progress: Any, epochs: int, steps: int) -> None:
        super().__init__(epochs, lambda text: progress.console.print(
            text, markup=False, highlight=False, soft_wrap=True))
        self.progress, self.drawn_at = progress, 0.0
        self.task = progress.add_task("starting", total=steps, figures="")

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        if isinstance(event, Resumed):
            self.progress.update(self.task, completed=event.step)
        elif isinstance(event, EpochStarted):
            self.progress.update(self.task, description=f"epoch {event.epoch}/{event.epochs}", refresh=True)
        elif isinstance(event, StepDone) and time.monotonic() - self.drawn_at > REDRAW:
            self.drawn_at = time.monotonic()
            figures = (f"loss {event.loss:.4f}  accuracy {100 * event.accuracy:.2f} %  "
                       f"{event.images_per_second:,.0f} images/s")
            self.progress.update(self.task, completed=event.step, figures=figures, refresh=True)


def epoch_line(event: EpochDone, epochs: int) -> str:
    """An epoch in one line."""
    parts = [f"epoch {event.epoch:>{len(str(epochs))}}/{epochs}", f"loss {event.loss:.4f}",
             f"accuracy {100 * event.accuracy:5.2f} %"]
    if event.test_accuracy is not None:
        loss = "not finite" if event.test_loss is None else f"{event.test_loss:.4f}"
        parts += [f"test loss {loss}", f"test accuracy {100 * event.test_accuracy:5.2f} %"]
    parts += [f"{event.images_per_second:,.0f} images/s", f"{event.seconds:.1f} s"]
    return "  ".join(parts)
