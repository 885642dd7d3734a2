"""Where a command writes, under the name that the user knows: what an error of the file system is about.

Filled by the options while a command line is read, asked by `exits` when a folder cannot be written.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

_KEY = "dwp_sweep.places"

PathCallback = Callable[[click.Context, click.Parameter, Any], Any]


def place(name: str) -> PathCallback:
    """A callback of a path option or argument: remembers its value as ``name``, e.g. ``--storage``."""

    def remember(ctx: click.Context, _: click.Parameter, value: Any) -> Any:
        if isinstance(value, Path):
            ctx.meta.setdefault(_KEY, {})[name] = value
        return value

    return remember


def place_of(ctx: click.Context, path: str | Path) -> str | None:
    """The name and value of the place that a path belongs to, e.g. ``--storage /data``; None: to none."""
    wanted = Path(path).absolute()
    for name, value in ctx.meta.get(_KEY, {}).items():
        given = value.absolute()
        # An error may name a folder above, which could not be made on the way.
        if wanted.is_relative_to(given) or given.is_relative_to(wanted):
            return f"{name} {value}"
    return None
