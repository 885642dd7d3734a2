"""Target nodes that a sweep asked for and MLflow does not know: never begun, or blocked by a failure.

MLflow has runs of nodes that began; a method whose priors failed has none at all, and a table made of runs
alone would drop it silently. The resolved grid, kept with the parent run, says what there should be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from dwp_sweep.config.variants import SEPARATOR, VARIANT
from dwp_sweep.tracking.read.rows import NodeRow

_AXES = ("train_size", "split", "seed")


def missing_targets(rows: Sequence[NodeRow], settings: Mapping[str, Any]) -> list[NodeRow]:
    """A row of state ``missing`` for every (method or variant, size, split, seed) of the grid without a run.

    Args:
        rows: What MLflow has.
        settings: The resolved search space. One that searches says nothing about which nodes there are.
    """
    if "search" in settings or not settings:
        return []
    present = {(name, *_place(row.labels)) for row in rows if row.stage == "target" for name in _names(row)}
    found = []
    for labels in _asked(settings):
        name = str(labels.get(VARIANT, labels["method"]))
        if (name, *_place(labels)) not in present:
            found.append(NodeRow("", "target", "missing", labels))
    return found


def _asked(settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    fixed, grid = settings.get("fixed") or {}, settings.get("grid") or {}
    axes = [_values(grid.get(name, fixed.get(name)), name) for name in _AXES]
    for method in _methods(grid, fixed):
        if str(method.get("method", "")):
            for values in product(*axes):
                yield method | dict(zip(_AXES, values, strict=True))


def _methods(grid: Mapping[str, Any], fixed: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    plain = _values(grid.get("method", fixed.get("method")), "method")
    variants = grid.get(VARIANT)
    if not isinstance(variants, Mapping):
        yield from ({"method": name} for name in plain if name)
        return
    for name, given in variants.items():
        own = given.get("method") if isinstance(given, Mapping) else None
        yield from ({"method": method, VARIANT: name} for method in ([own] if own else plain) if method)


def _values(value: Any, name: str) -> list[Any]:
    if value is None:
        # Of the axes, a split and a seed have a default; sizes and methods stand somewhere.
        return [0] if name in ("split", "seed") else []
    return list(value) if isinstance(value, list | tuple) else [value]


def _place(labels: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(int(labels.get(name) or 0) for name in _AXES)


def _names(row: NodeRow) -> Iterable[str]:
    variant = row.labels.get(VARIANT)
    return str(variant).split(SEPARATOR) if variant else [str(row.labels.get("method", ""))]
