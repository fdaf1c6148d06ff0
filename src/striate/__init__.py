"""striate: convolutional networks on the CPU you have.

    import striate as st
    net = st.create("lenet5")
    y = net(x)
    st.fit(net, train, test, epochs=5)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from striate.errors import (
    ConfigError,
    DtypeError,
    FormatError,
    LimitError,
    MissingExtra,
    NonFiniteError,
    ShapeError,
    StriateError,
    UnknownName,
)

if TYPE_CHECKING:
    from striate import account, data, models, nn, ops, train
    from striate.account import summary
    from striate.kernels.native import get_precision, get_threads, set_precision, set_threads
    from striate.models import create
    from striate.nn import GraphModule, Module, load, save, value_and_grad
    from striate.train import SGD, Adam, fit

__version__ = "0.1.0"

# Public name -> the module that holds it; looked up when first asked for, so that `import striate` stays light.
_HOMES = {
    "account": "striate.account", "data": "striate.data", "models": "striate.models", "nn": "striate.nn",
    "ops": "striate.ops", "train": "striate.train",
    "Adam": "striate.train", "GraphModule": "striate.nn", "Module": "striate.nn", "SGD": "striate.train",
    "create": "striate.models", "fit": "striate.train", "load": "striate.nn", "save": "striate.nn",
    "summary": "striate.account", "value_and_grad": "striate.nn",
    **dict.fromkeys(("get_precision", "get_threads", "set_precision", "set_threads"), "striate.kernels.native"),
}

__all__ = [
    "SGD", "Adam", "ConfigError", "DtypeError", "FormatError", "GraphModule", "LimitError", "MissingExtra", "Module",
    "NonFiniteError", "ShapeError", "StriateError", "UnknownName", "account", "create", "data", "fit",
    "get_precision", "get_threads", "load", "models", "nn", "ops", "save", "set_precision", "set_threads", "summary",
    "train", "value_and_grad",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'striate' has no attribute {name!r}")
    module = importlib.import_module(_HOMES[name])
    found = module if module.__name__.rpartition(".")[2] == name else getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
