"""`striate eval RUN`: how good a trained network is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from striate import data as datasets
from striate import train
from striate.cli.network import open_trained
from striate.cli.output import Json, Precision, Threads, Tune, say, show, show_json
from striate.cli.samples import short_name
from striate.errors import ConfigError
from striate.kernels import native


def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or the file of a saved network.")],
    data: Annotated[str | None, typer.Option(
        metavar="NAME", help="auto, mnist, fashion-mnist, pen or a folder. Default: those of the run.")] = None,
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Images at once.")] = 256,
    threads: Threads = None,
    precision: Precision = "default",
    tune: Tune = False,
    json: Json = False,
) -> None:
    """Loss and accuracy on test images.

    Example: striate eval runs/lenet5-pen-1
    """
    native.set_threads(threads)
    native.set_precision(precision)
    found = open_trained(Path(run))
    if data is None and found.data is None:
        raise ConfigError(f"eval: {run} does not say what it was trained on; name the images with --data")
    _, test, why = datasets.load(data or str(found.data))
    say(f"data: {why}")
    if test.image_shape != found.input_shape:
        raise ConfigError(f"eval: {run} is for images {found.input_shape}, {test.name} has {test.image_shape}")
    score = train.evaluate(found.net, test, batch_size=batch_size, tune=tune)
    assert score is not None, "nothing stops this evaluation"
    show(f"{found.name} on {test.name}: accuracy {100 * score.accuracy:.2f} %, loss {score.loss:.4f} "
         f"({score.images:,} images, {score.images_per_second:,.0f} images/s)", as_json=json)
    if json:
        show_json(dict(net=found.name, data=short_name(test), epochs=found.epochs, test_accuracy=score.accuracy,
                       seconds=score.seconds, images_per_second=score.images_per_second,
                       run=found.run and str(found.run)))
