"""What a user may name as a network: one of the registry, a saved file, the folder of a run, or FILE.py:NAME."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from striate.cli.own import is_own, own_network
from striate.data import Dataset
from striate.errors import ConfigError
from striate.kernels.contract import Shape
from striate.models import build, create, find, known
from striate.nn import GraphModule, Module, load
from striate.train.folder import read_config

RUNS = Path("runs")
MODEL = "model.safetensors"


@dataclass(frozen=True)
class Opened:
    """A network with what is known of where it comes from; `run` and the data are those of its training.

    The input shape of a network of the user's is its attribute `input_shape`, or () if it has none.
    """

    name: str
    net: Module
    input_shape: Shape
    run: Path | None = None
    data: str | None = None
    classes: tuple[str, ...] = ()
    epochs: int | None = None


def open_network(given: str, *, drawn: bool = True) -> Opened:
    """The network called `given` in the registry, in a file, or in a run folder.

    With drawn=False one of the registry has no weights yet: all it takes to count, and at once for the largest.
    """
    path = Path(given)
    if is_own(given):
        net = own_network(given)
        return Opened(given, net, tuple(getattr(net, "input_shape", ())))
    if known(given) or not (path.exists() or path.suffix or len(path.parts) > 1):
        entry = find(given)
        return Opened(given, create(given) if drawn else build(given), entry.input_shape)
    return open_trained(path)


def for_data(opened: Opened, data: Dataset, seed: int) -> Module:
    """The network with as many inputs and outputs as the images need, its weights drawn anew; a saved one as it is."""
    if not known(opened.name) or isinstance(opened.net, GraphModule):
        return opened.net
    return create(opened.name, seed=seed, classes=len(data.classes), in_channels=data.image_shape[0])


def open_trained(path: Path) -> Opened:
    """The network in a file, or in the folder of a finished run. Raises: ConfigError, FormatError."""
    if not path.exists():
        raise ConfigError(f"{path}: there is no such file or run folder")
    folder = path if path.is_dir() else path.parent
    file = path / MODEL if path.is_dir() else path
    if not file.exists():
        raise ConfigError(f"{path}: holds no {MODEL}; a run writes it when it is done (striate train --resume --out "
                          f"{path} goes on with it)")
    net = load(file)
    if file.name != MODEL or not (folder / "config.json").exists():
        return Opened(file.stem, net, _shape(net))
    config = read_config(folder)
    test = config.get("test") or config["train"]
    name = config.get("notes", {}).get("command", {}).get("data", test["name"])
    return Opened(config["net"]["name"], net, _shape(net), folder, name, tuple(test["classes"]),
                  config["arguments"]["epochs"])


def newest_run() -> Path:
    """The run below runs/ that was finished last."""
    done = sorted(RUNS.glob(f"*/{MODEL}"), key=lambda file: file.stat().st_mtime)
    if not done:
        raise ConfigError("predict: there is no finished run in runs/; name one with --run, or train: striate train")
    return done[-1].parent


def _shape(net: GraphModule) -> Shape:
    return net.input_shape
