"""The command line: `striate train`, `eval`, `predict`, `summary`, `data` and `doctor`, one file a verb."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line; the exit status is 0 done, 1 failed, 2 a mistake in the call, 130 and 143 for signals."""
    from striate.cli.app import run

    return run(arguments)
