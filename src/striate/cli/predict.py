"""`striate predict IMAGE...`: what a trained network sees in pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from striate import ops
from striate.cli.network import Opened, newest_run, open_trained
from striate.cli.output import Json, Precision, Threads, Tune, say, show_json
from striate.cli.samples import CHANNELS
from striate.data import as_float, read_image
from striate.errors import ConfigError
from striate.kernels import native
from striate.train.evaluation import main_output

SHOWN = 3  # classes a picture


def predict(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="PNG, JPEG or BMP files.")],
    run: Annotated[Path | None, typer.Option(
        metavar="DIR", help="The run folder of the network. Default: the newest in runs/.")] = None,
    model: Annotated[Path | None, typer.Option(metavar="FILE", help="A saved network instead.")] = None,
    invert: Annotated[bool | None, typer.Option(
        "--invert/--no-invert", help="Swap light and dark. Default: for a grey picture on a light ground.")] = None,
    threads: Threads = None,
    precision: Precision = "default",
    tune: Tune = False,
    json: Json = False,
) -> None:
    """The most probable classes of each picture.

    Example: striate predict seven.png --run runs/lenet5-pen-1
    """
    native.set_threads(threads)
    native.set_precision(precision)
    if run is not None and model is not None:
        raise ConfigError("predict: needs --run or --model, got both")
    found = open_trained(run or model or newest_run())
    if len(found.input_shape) != 3 or found.input_shape[0] not in CHANNELS:
        raise ConfigError(f"predict: needs a network for images of 1 or 3 channels, got {found.input_shape}")
    channels, *size = found.input_shape
    pixels = []
    for path in images:
        picture, inverted = read_image(path, (size[0], size[1]), channels, invert=invert)
        if inverted and invert is None:
            say(f"{path}: dark on light, inverted (--no-invert takes it as it is)")
        pixels.append(picture)
    shares = probabilities(found, np.stack(pixels), tune)
    rows = [_row(path, p, found) for path, p in zip(images, shares, strict=True)]
    if json:
        show_json(dict(net=found.name, run=found.run and str(found.run), images=rows))
        return
    width = max(len(str(path)) for path in images)
    for row in rows:
        print(f"{row['file']:<{width}}  " + "  ".join(f"{t['class']} {100 * t['probability']:.1f} %"
                                                      for t in row["top"]))


def probabilities(found: Opened, pixels: Any, tune: bool = False) -> Any:
    """softmax of the network's logits for uint8 images (N, C, H, W)."""
    logits = main_output(found.net(as_float(pixels), tune=tune))
    return ops.softmax(np.ascontiguousarray(logits))


def _row(path: Path, shares: Any, found: Opened) -> dict[str, Any]:
    names = found.classes if len(found.classes) == len(shares) else tuple(map(str, range(len(shares))))
    best = np.argsort(-shares, kind="stable")[:SHOWN]
    top = [{"class": names[i], "probability": float(shares[i])} for i in best]
    return {"file": str(path), **top[0], "top": top}
