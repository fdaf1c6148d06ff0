"""`striate audit TABLE`: a published layer table, recomputed."""

from __future__ import annotations

from typing import Annotated

import typer

from striate import account
from striate.cli.network import open_network
from striate.cli.output import Json, show_json
from striate.errors import ConfigError
from striate.kernels.contract import Shape
from striate.nn import Module

WRONG = 1  # the exit status if a cell cannot be right


def audit(
    table: Annotated[str, typer.Argument(
        metavar="TABLE", help=f"One of {', '.join(account.TABLES)}, or a CSV file of the same form.")],
    json: Json = False,
) -> int:
    """Recomputes a published layer table and marks the cells that cannot be right. Exit status 1 if there are any.

    Example: striate audit googlenet1
    """
    found = account.audit(table, _network)
    if json:
        show_json(found.as_dict())
    else:
        print(found)
    return WRONG if found.wrong else 0


def _network(name: str) -> tuple[Module, Shape]:
    opened = open_network(name, drawn=False)
    if not opened.input_shape:
        raise ConfigError(f"audit: {name} must say what images it is for; give it input_shape = (channels, height, "
                          "width)")
    return opened.net, opened.input_shape
