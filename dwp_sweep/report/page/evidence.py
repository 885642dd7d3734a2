"""All that a report is made of, read once: nodes, the parent run, per-subject scores, curves and files.

First step of a report page. Everything comes from MLflow, so a remote client is enough; a storage that has
the nodes is read instead of downloading. MLflow has runs of nodes that began; a method whose priors failed
has none at all, and tables made of runs alone would drop it silently. The resolved grid, kept with the parent
run, says what there should be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from dwp_sweep.config.variants import SEPARATOR, VARIANT
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.report.answers.runs import Repeat, Target, chosen_runs, columns_of, runs_of, targets_of
from dwp_sweep.report.paired.differences import ReadScores
from dwp_sweep.tracking.read.files import NodeFiles, ScoreReader
from dwp_sweep.tracking.read.reader import frame_of_rows
from dwp_sweep.tracking.read.rows import NodeRow, row_of_run
from dwp_sweep.tracking.read.runs import Curve, HistoryReader, Parent, open_reader, read_parent, sweep_runs

if TYPE_CHECKING:
    from pathlib import Path

    from dwp_sweep.store.protocol import Store


_AXES = ("train_size", "split", "seed")


class Files(Protocol):
    """Where a report finds files of nodes (`dwp_sweep.tracking.read.files.NodeFiles`)."""

    def path(self, row: NodeRow, name: str) -> Path | None:
        """A node's file; None where it has none."""

    def folder(self, row: NodeRow, names: tuple[str, ...]) -> Path | None:
        """A folder with all of some files; None where one is missing."""


class Curves(Protocol):
    """Where a report finds metrics by epoch (`dwp_sweep.tracking.read.runs.HistoryReader`)."""

    def curve(self, run_id: str, names: Sequence[str]) -> Curve:
        """The first of some metrics that a run has."""


@dataclass(frozen=True)
class Evidence:
    """A sweep as a report sees it.

    Attributes:
        sweep: Its name.
        rows: Every node that has a run, then the targets that should be there and have none.
        frame: The same as a table (`tracking.results`).
        targets: The target nodes.
        columns: Method or variant -> label, in the order of all tables.
        sizes: Training sizes, rising.
        repeats: Every (split, seed).
        parent: What was asked for and with what it ran.
        uri: Where it was read, passwords hidden.
        scores: Per-subject scores of a target.
        files: Files of nodes.
        curves: Metrics by epoch.
    """

    sweep: str
    rows: tuple[NodeRow, ...]
    frame: pd.DataFrame
    targets: tuple[Target, ...]
    columns: Mapping[str, str]
    sizes: tuple[int, ...]
    repeats: tuple[Repeat, ...]
    parent: Parent
    uri: str
    scores: ReadScores
    files: Files
    curves: Curves

    def of(self, name: str, size: int) -> list[Target]:
        """All runs of a method or variant at one training size, oldest first."""
        return runs_of(self.targets, name, size)

    def chosen(self, name: str, size: int) -> Mapping[Repeat, Target]:
        """The runs that stand for a cell, by (split, seed): the best configuration by validation."""
        return chosen_runs(self.of(name, size))[0]

    def row(self, target: Target) -> NodeRow | None:
        """The node behind a target; None for one that has no run."""
        rows = (row for row in self.rows if row.run_id == target.run_id and row.key == target.key)
        return next(rows, None) if target.run_id or target.key else None


def gather(sweep: str, tracking_uri: str | None, store: Store | None = None) -> Evidence:
    """Read a sweep.

    Args:
        sweep: Its name.
        tracking_uri: As for `tracking.results`.
        store: Asked for files before MLflow; None asks MLflow alone.

    Raises:
        InputError: No such sweep, no MLflow there, or no target in it.
    """
    client, uri = open_reader(tracking_uri)
    runs = [row_of_run(run) for run in sweep_runs(client, uri, sweep)]
    parent = read_parent(sweep, uri)
    return evidence_of(
        sweep, runs, parent, uri, ScoreReader(store, uri).read, NodeFiles(store, uri), HistoryReader(uri)
    )


def evidence_of(
    sweep: str,
    runs: Sequence[NodeRow],
    parent: Parent,
    uri: str,
    scores: ReadScores,
    files: Files,
    curves: Curves,
) -> Evidence:
    """Evidence from rows that are at hand.

    Raises:
        InputError: The sweep has no target.
    """
    from dwp_sweep.tracking.client import shown_uri

    missing = missing_targets(runs, parent.settings)
    rows = (*runs, *missing)
    frame = _with_configurations(frame_of_rows(rows))
    targets = targets_of(frame)
    if not targets:
        raise InputError(
            Problem(sweep, "no target network has begun, so there is nothing to report", "run it first")
        )
    return Evidence(
        sweep=sweep,
        rows=rows,
        frame=frame,
        targets=tuple(targets),
        columns=columns_of(targets),
        sizes=tuple(sorted({target.train_size for target in targets})),
        repeats=tuple(sorted({target.repeat for target in targets})),
        parent=parent,
        uri=shown_uri(uri),
        scores=scores,
        files=files,
        curves=curves,
    )


def missing_targets(rows: Sequence[NodeRow], settings: Mapping[str, Any]) -> list[NodeRow]:
    """A row of state ``missing`` for every (method or variant, size, split, seed) of the grid without a run.

    Args:
        rows: What MLflow has.
        settings: The resolved search space. One that searches says nothing about which nodes there are.
    """
    if "search" in settings or not settings:
        return []
    present = {(name, *_place(row.labels)) for row in rows if row.stage == "target" for name in _names(row)}
    missing = []
    for labels in _asked(settings):
        name = str(labels.get(VARIANT, labels["method"]))
        if (name, *_place(labels)) not in present:
            missing.append(NodeRow("", "target", "missing", labels))
    return missing


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


def _with_configurations(frame: pd.DataFrame) -> pd.DataFrame:
    """What was never begun has no settings to tell it by: it counts with its cell's first configuration."""
    is_missing = (frame["stage"] == "target") & (frame["state"] == "missing")
    known = frame[(frame["stage"] == "target") & ~is_missing]
    first: dict[tuple[object, ...], str] = {}
    for row in known.to_dict("records"):
        first.setdefault((row["method"], row["variant"], row["train_size"]), str(row["configuration"]))
    for index in frame.index[is_missing]:
        cell = (frame.at[index, "method"], frame.at[index, "variant"], frame.at[index, "train_size"])
        frame.at[index, "configuration"] = first.get(cell, "missing")
    return frame
