"""Paths in values that machines exchange: below the mirror on a machine, below the URL in the bucket."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def replaced(values: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    """Values with ``new`` instead of ``old`` at the start of every path, at any depth."""
    return {name: _replaced(value, old, new) for name, value in values.items()}


def places_in(values: Any, root: str) -> Iterator[str]:
    """Paths below ``root`` that stand in values at any depth, relative to it."""
    if isinstance(values, str):
        if values.startswith(f"{root}/"):
            yield values[len(root) + 1 :]
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from places_in(value, root)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from places_in(value, root)


def _replaced(value: Any, old: str, new: str) -> Any:
    if isinstance(value, str) and (value == old or value.startswith(f"{old}/")):
        return new + value[len(old) :]
    if isinstance(value, Mapping):
        return replaced(value, old, new)
    if isinstance(value, list | tuple):
        return type(value)(_replaced(item, old, new) for item in value)
    return value
