"""The exception tree, and how a message grows the path of the layer it happened in.

A message is one sentence: who, what is needed (in names), what came (in numbers), what to do if we know.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class StriateError(Exception):
    """Base of everything striate raises on purpose; `layer` names the layer once tracing knows it.

    `hint` ends the sentence: what would help.
    """

    layer: str = ""
    hint: str = ""

    def within(self, path: str, kind: str) -> StriateError:
        """The same error, remembering the innermost layer (`features.3`, `Conv2d`) it happened in."""
        if not self.layer:
            self.layer = f"{path}, {kind}" if path else kind
        return self

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text} (in {self.layer}){self.hint}" if self.layer else f"{text}{self.hint}"


class ShapeError(StriateError, ValueError):
    """Sizes or ranks that do not fit together."""


class DtypeError(StriateError, TypeError):
    """A dtype or a type of argument that is not accepted; nothing is converted silently."""


class ConfigError(StriateError, ValueError):
    """An argument outside its range, or arguments that contradict each other."""


class LimitError(StriateError, ValueError):
    """A size beyond what can be allocated or addressed, found before anything was allocated."""


class FormatError(StriateError, ValueError):
    """A file that is not what it says it is."""


class NonFiniteError(StriateError, ArithmeticError):
    """A loss that is NaN or infinite; no state was changed."""


class UnknownName(StriateError, LookupError):
    """A name that is in no registry; the message offers the nearest ones."""


class MissingExtra(StriateError, ImportError):
    """An optional dependency is asked for but not installed; the message names the command."""


def unknown_name(who: str, kind: str, name: object, known: Iterable[str]) -> UnknownName:
    """An UnknownName that offers the nearest known names."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"there are {', '.join(names)}"
    return UnknownName(f"{who}: no {kind} named {name!r}; {hint}")


def missing_extra(who: str, module: str, extra: str) -> MissingExtra:
    """A MissingExtra with the command that installs `extra`."""
    return MissingExtra(f"{who}: needs {module}, which is not installed; pip install 'striate[{extra}]'")
