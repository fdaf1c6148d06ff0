"""Figures drawn by matplotlib (the extra `plot`), which is imported here only; each is a file that is there whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from striate.atomic import replacing
from striate.errors import ConfigError, missing_extra

DPI = 150
KINDS = (".png", ".svg")


def figure(who: str, inches: tuple[float, float]) -> Any:
    """A figure of its own, without pyplot: no window, no state shared with the user's plots. Raises: MissingExtra."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing_extra(f"{who}: drawing the pictures", "matplotlib", "plot") from error
    return Figure(figsize=inches, dpi=DPI, layout="constrained")


def save_figure(drawn: Any, path: Path) -> Path:
    """Writes a .png or .svg; the same figure gives the same bytes."""
    import matplotlib

    if path.suffix.lower() not in KINDS:
        raise ConfigError(f"picture: needs a file that ends in {' or '.join(KINDS)}, got {path}")
    svg = path.suffix.lower() == ".svg"
    with replacing(path) as temporary, matplotlib.rc_context({"svg.hashsalt": "striate"}):
        drawn.savefig(temporary, format=path.suffix[1:].lower(), metadata={"Date": None} if svg else None)
    return path
