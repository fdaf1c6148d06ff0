"""Networks by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from striate.errors import ConfigError, DtypeError, unknown_name
from striate.kernels.contract import Shape
from striate.nn import Module
from striate.ops.arguments import integer

ENDS = ("classes", "in_channels")  # what every builder takes


@dataclass(frozen=True)
class Entry:
    """A network of the registry: how it is built, what it was built for, and what was published of it.

    `top1` is the accuracy in percent that `top1_source` gives for its test images; torchvision's are one centre crop.
    """

    name: str
    build: Callable[..., Module]  # (classes, in_channels, **options)
    input_shape: Shape  # of one image, (C, H, W)
    classes: int
    paper: str
    year: int
    top1: float | None = None
    top1_source: str = ""
    aliases: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)  # that make this row of its builder's table


MODELS: dict[str, Entry] = {}
ALIASES: dict[str, str] = {}  # a second name -> the name
_NAMES: WeakKeyDictionary[Module, str] = WeakKeyDictionary()


def register(name: str, build: Callable[..., Module], input_shape: Shape, classes: int, paper: str, year: int, *,
             top1: float | None = None, top1_source: str = "", aliases: tuple[str, ...] = (), **options: Any) -> None:
    """Enters the builder (classes, in_channels, **options) -> Module under `name`, and under the aliases.

    Raises: ConfigError for a name that is taken, or a builder that is no function.
    """
    if not callable(build):
        raise ConfigError(f"register: {name!r} needs a builder, a function or class, got {build!r}")
    for taken in filter(known, (name, *aliases)):
        raise ConfigError(f"register: there is a network named {taken!r} already")
    MODELS[name] = Entry(name, build, input_shape, classes, paper, year, top1, top1_source, aliases, options)
    ALIASES.update(dict.fromkeys(aliases, name))


def known(name: str) -> bool:
    """Whether there is a network of that name."""
    return name in MODELS or name in ALIASES


def find(name: str) -> Entry:
    """The entry of that name. Raises: UnknownName, with the nearest names."""
    if not isinstance(name, str) or not known(name):
        raise unknown_name("models", "model", name, (*MODELS, *ALIASES))
    return MODELS[ALIASES.get(name, name)]


def name_of(net: Module) -> str:
    """The name the registry built a network under, else its class."""
    return _NAMES.get(net, type(net).__name__)


def build(name: str, *, classes: int | None = None, in_channels: int | None = None, **options: Any) -> Module:
    """The network called `name` with its weights still zero: all it takes to count, and at once for the largest.

    Raises: UnknownName, with the nearest names; ConfigError for an option its builder does not have.
    """
    entry = find(name)
    has = [p for p in inspect.signature(entry.build).parameters if p not in ENDS]
    for option in options:
        if option not in has:
            raise ConfigError(f"{name}: has no option {option!r}; it has {', '.join(has) or 'none'}")
    try:
        net = entry.build(
            classes=integer("create", "classes", entry.classes if classes is None else classes),
            in_channels=integer("create", "in_channels", entry.input_shape[0] if in_channels is None else in_channels),
            **{**entry.options, **options},
        )
    except (ConfigError, DtypeError) as error:
        error.within(name, "model")
        raise
    _NAMES[net] = entry.name
    return net


def create(name: str, *, seed: int = 0, classes: int | None = None, in_channels: int | None = None,
           **options: Any) -> Module:
    """The network called `name` with initial weights keyed by (seed, parameter path).

    `options` are those of its builder, as residual=False for the plain twin of a residual network.
    Raises: UnknownName, with the nearest names; ConfigError.
    >>> create("lenet5")(np.zeros((1, 1, 28, 28), np.float32)).shape
    (1, 10)
    """
    net = build(name, classes=classes, in_channels=in_channels, **options)
    return net.initialize(integer("create", "seed", seed, 0, 2**63 - 1))
