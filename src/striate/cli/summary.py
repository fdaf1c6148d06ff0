"""`striate summary NET`: what a network costs, before it runs."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated

import typer

from striate import account
from striate.cli.network import open_network
from striate.cli.output import Json, show_json
from striate.errors import ConfigError
from striate.kernels import native
from striate.kernels.contract import Shape


def summary(
    net: Annotated[str, typer.Argument(metavar="NET", help="A network's name, a saved file or a run folder.")],
    input: Annotated[str | None, typer.Option(
        metavar="CxHxW", help="The shape of one image, as 1x28x28. Default: what the network is for.")] = None,
    batch: Annotated[int, typer.Option(metavar="N", help="How many images at once.")] = 1,
    json: Json = False,
) -> None:
    """Parameters, multiply-accumulates and bytes of activations, layer by layer.

    Example: striate summary lenet5 --batch 128
    """
    found = open_network(net)
    shape = found.input_shape if input is None else image_shape(input)
    result = replace(account.summary(found.net, shape, batch), name=found.name)
    if not json:
        print(result)
        return
    fields = result.as_dict()
    show_json(dict(name=fields.pop("name"), input=fields.pop("input"), threads=native.get_threads(), **fields))


def image_shape(text: str) -> Shape:
    """(C, H, W) from "1x28x28"."""
    if not re.fullmatch(r"\d{1,9}(x\d{1,9}){2}|\d{1,9}", text):
        raise ConfigError(f"summary: --input must be channels, height and width, as 1x28x28, got {text!r}")
    return tuple(map(int, text.split("x")))
