"""Networks by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from striate.errors import ConfigError, DtypeError, unknown_name
from striate.kernels.contract import Shape
from striate.nn import Module
from striate.ops.arguments import integer


@dataclass(frozen=True)
class Entry:
    """A network of the registry: how it is built and what it was built for."""

    name: str
    build: Callable[..., Module]
    input_shape: Shape  # of one image, (C, H, W)
    classes: int
    paper: str


MODELS: dict[str, Entry] = {}


def register(name: str, input_shape: Shape, classes: int, paper: str) -> Callable[..., Callable[..., Module]]:
    """Enters the decorated builder (classes, in_channels) -> Module under `name`."""

    def enter(build: Callable[..., Module]) -> Callable[..., Module]:
        MODELS[name] = Entry(name, build, input_shape, classes, paper)
        return build

    return enter


def find(name: str) -> Entry:
    """The entry of that name. Raises: UnknownName, with the nearest names."""
    if not isinstance(name, str) or name not in MODELS:
        raise unknown_name("models", "model", name, MODELS)
    return MODELS[name]


def name_of(net: Module) -> str:
    """The name the registry knows a network by, else its class."""
    names = [entry.name for entry in MODELS.values() if entry.build is type(net)]
    return names[0] if names else type(net).__name__


def create(name: str, *, seed: int = 0, classes: int | None = None, in_channels: int | None = None) -> Module:
    """The network called `name` with initial weights keyed by (seed, parameter path).

    Raises: UnknownName, with the nearest names.
    >>> create("lenet5")(np.zeros((1, 1, 28, 28), np.float32)).shape
    (1, 10)
    """
    entry = find(name)
    try:
        ends = dict(
            classes=integer("create", "classes", entry.classes if classes is None else classes),
            in_channels=integer("create", "in_channels", entry.input_shape[0] if in_channels is None else in_channels),
        )
        return entry.build(**ends).initialize(integer("create", "seed", seed, 0, 2**63 - 1))
    except (ConfigError, DtypeError) as error:
        error.within(name, "model")
        raise


