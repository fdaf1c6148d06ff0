"""`striate summary NET`: what a network costs, before it runs."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Any

import typer

from striate import account
from striate.cli.network import Opened, open_network
from striate.cli.output import Batch, Input, Json, Net, show_json
from striate.errors import ConfigError
from striate.kernels import native
from striate.kernels.contract import Shape

UNITS = {"": 1, "B": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
         "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def summary(
    net: Net,
    input: Input = None,
    batch: Batch = 1,
    convention: Annotated[str, typer.Option(
        metavar="|".join(account.CONVENTIONS), help="Whose way of counting operations.")] = "striate",
    budget: Annotated[str | None, typer.Option(
        metavar="BYTES", help="Also the largest batch that fits so much memory, as 2GiB.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", metavar=" ", help="Tables in Markdown.")] = False,
    csv: Annotated[bool, typer.Option("--csv", metavar=" ", help="The rows as comma-separated values.")] = False,
    json: Json = False,
) -> None:
    """What a network computes, holds, moves and sees, layer by layer, and the memory it needs.

    Example: striate summary resnet50 --batch 32 --budget 4GiB

    Example: striate summary vgg16 --convention thop
    """
    if csv + markdown + json > 1:
        raise ConfigError("summary: needs one of --csv, --markdown and --json, got more")
    found = open_network(net, drawn=False)
    shape = shape_of("summary", found, input)
    result = replace(account.account(found.net, shape, batch, convention=convention), name=found.name)
    if csv:
        print(result.csv(), end="")
        return
    peaks = account.peaks(found.net, shape, batch)
    fits = None if budget is None else _batches(found, shape, byte_count(budget))
    if json:
        show_json(_object(result, peaks, fits))
        return
    print(result.markdown() if markdown else result, end="\n\n")
    print("\n".join(_memory(peaks, batch, fits)))


def shape_of(who: str, found: Opened, text: str | None) -> Shape:
    """The shape of one image: the one given as CxHxW, else the network's own."""
    if text is not None:
        return image_shape(text)
    if not found.input_shape:
        raise ConfigError(f"{who}: {found.name} does not say what images it is for; give --input, as 3x224x224")
    return found.input_shape


def image_shape(text: str) -> Shape:
    """(C, H, W) from "1x28x28"."""
    if not re.fullmatch(r"\d{1,9}(x\d{1,9}){2}|\d{1,9}", text):
        raise ConfigError(f"summary: --input must be channels, height and width, as 1x28x28, got {text!r}")
    return tuple(map(int, text.split("x")))


def byte_count(text: str) -> int:
    """Bytes from "2GiB" (powers of two), "500MB" (powers of ten) or a plain number."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)\s*([A-Za-z]*)", text)
    if match is None or match[2].upper() not in UNITS:
        raise ConfigError(f"summary: --budget must be a number of bytes, as 2GiB or 500MB, got {text!r}")
    return int(float(match[1]) * UNITS[match[2].upper()])


Fits = dict[str, Any]


def _batches(found: Opened, shape: Shape, budget: int) -> Fits:
    inference, training = (account.largest_batch(found.net, shape, budget, training=mode) for mode in (False, True))
    return {"budget_bytes": budget, "inference": inference, "training": training}


def _object(result: account.Account, peaks: account.Peaks, fits: Fits | None) -> dict[str, Any]:
    fields = result.as_dict()
    fields["total"] |= {"peak_inference_bytes": peaks.inference, "peak_training_bytes": peaks.training}
    threads = native.get_threads()
    found = dict(name=fields.pop("name"), input=fields.pop("input"), threads=threads, **fields)
    return found if fits is None else found | {"largest_batch": fits}


def _memory(peaks: account.Peaks, batch: int, fits: Fits | None) -> list[str]:
    """Memory in words; what a training step is stands in the guide."""
    lines = [f"peak memory, batch {batch}: inference {_sized(peaks.inference)}"]
    lines.append(f"  training step (cross-entropy, SGD with momentum) {_sized(peaks.training)}"
                 if peaks.training is not None else f"  no training step: {peaks.why}")
    if peaks.training is not None and peaks.inference > peaks.training:
        lines.append("  (inference keeps its filters packed beside the weights)")
    if fits is not None:
        lines.append(f"largest batch in {_sized(fits['budget_bytes'])}:\n  {fits['inference']:,} images in inference, "
                     f"{fits['training']:,} in training")
    return lines


def _sized(nbytes: int) -> str:
    return f"{nbytes:,} B ({nbytes / 2**20:,.1f} MiB)"
