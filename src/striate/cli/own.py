"""A network in a file of the user's, named as FILE.py:NAME. Its code is run, as `python FILE.py` would run it."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from striate.errors import ConfigError, StriateError, unknown_name
from striate.nn import Module

_FILES: dict[Path, Path] = {}  # whose code was run: where it lies, as it was given


def place_of(error: BaseException) -> str:
    """Where in a user's file an error came up, as FILE.py:LINE; empty if no such file was in play."""
    frames = traceback.extract_tb(error.__traceback__)
    places = ((_FILES.get(Path(f.filename).resolve()), f.lineno) for f in reversed(frames))
    return next((f"{given}:{line}" for given, line in places if given is not None), "")


def is_own(given: str) -> bool:
    """Whether `given` has the form FILE.py:NAME."""
    file, colon, name = given.rpartition(":")
    return bool(colon) and file.endswith(".py") and name.isidentifier()


def own_network(given: str) -> Module:
    """The network FILE.py:NAME: a Module, or a class or function that gives one without arguments.

    Raises: ConfigError, UnknownName, each naming the file.
    """
    file, _, name = given.rpartition(":")
    module = _imported(Path(file))
    if not hasattr(module, name):
        raise unknown_name(file, "network", name, _candidates(module))
    found = getattr(module, name)
    with contextlib.redirect_stdout(sys.stderr):
        net = found if isinstance(found, Module) else _built(given, found)
    if not isinstance(net, Module):
        raise ConfigError(f"{given}: must be a Module, or give one when it is called, got {type(net).__name__}")
    if type(net).forward is Module.forward:
        raise ConfigError(f"{given}: a Module needs a forward(self, x)")
    return net


def _imported(path: Path) -> ModuleType:
    if not path.exists():
        raise ConfigError(f"{path}: there is no such file")
    spec = importlib.util.spec_from_file_location(f"own_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path}: cannot be imported as Python")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))  # what lies beside it can be imported, as if it were run
    _FILES[path.resolve()] = path
    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for the result
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{path}: cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    return module


def _candidates(module: ModuleType) -> list[str]:
    """Names of the file that may be a network, or give one."""
    return [name for name, value in vars(module).items()
            if isinstance(value, Module) or getattr(value, "__module__", "") == module.__name__]


def _built(given: str, maker: Any) -> Any:
    if not callable(maker):
        return maker
    needed = [p.name for p in inspect.signature(maker).parameters.values()
              if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if needed:
        raise ConfigError(f"{given}: must be built without arguments, but it needs {', '.join(needed)}; give them "
                          "defaults, or name a function without arguments that builds it")
    try:
        return maker()
    except StriateError:
        raise
    except Exception as error:
        raise ConfigError(f"{given}: cannot be built: {type(error).__name__}: {error}") from error
