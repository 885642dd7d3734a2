"""Look at a storage and keep it in order: its sweeps, why nodes differ, what may go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dwp_sweep.api.planning import DEFAULT_STORAGE
from dwp_sweep.harness.view.explain import (
    Explanation,
    FieldDifference,
    KnownNodes,
    differences,
    explain_node,
)
from dwp_sweep.harness.view.sweeps import SweepList, list_sweeps
from dwp_sweep.store.gc import Survey, collect, survey
from dwp_sweep.store.heartbeat import forbid_while_live
from dwp_sweep.store.open_store import open_store
from dwp_sweep.store.sweep_record import NodeEntry
from dwp_sweep.tracking.client import resolve_uri

_N_RUN_ID = 32
"""Hex digits of an MLflow run id; a node's key has twenty."""


@dataclass(frozen=True)
class NodeComparison:
    """Two nodes and the fields in which they differ, those of their inputs included."""

    first: NodeEntry
    second: NodeEntry
    differences: tuple[FieldDifference, ...]

    def __repr__(self) -> str:
        """One line."""
        titles = f"{self.first.title!r}, {self.second.title!r}"
        return f"NodeComparison({titles}, {len(self.differences)} differences)"


@dataclass(frozen=True)
class Cleaning:
    """What lies on a storage, what may go, and how much went.

    Attributes:
        survey: Disk use and garbage.
        n_bytes_freed: Bytes; 0 where nothing was removed.
    """

    survey: Survey
    n_bytes_freed: int

    def __repr__(self) -> str:
        """One line."""
        n = len(self.survey.garbage)
        return f"Cleaning({n} to remove, {self.survey.n_bytes_garbage} bytes; freed {self.n_bytes_freed})"


def sweeps(storage: str | Path = DEFAULT_STORAGE) -> SweepList:
    """How every sweep of a storage stands: state, progress, best score, age, size. Needs no MLflow."""
    return list_sweeps(open_store(storage))


def explain(
    node: str,
    other: str | None = None,
    *,
    storage: str | Path = DEFAULT_STORAGE,
    tracking_uri: str | None = None,
) -> Explanation | NodeComparison:
    """Why a node is, or is not, taken from the storage; with another one in which settings they differ.

    Args:
        node: The beginning of a node's key, ``best:SWEEP``, or an MLflow run id.
        other: Likewise.
        storage: As for `run_sweep`.
        tracking_uri: As for `run_sweep`; asked for ``best:SWEEP`` and run ids alone.

    Raises:
        InputError: Nothing or several nodes answer to a name.
    """
    known = KnownNodes(open_store(storage))
    first = known.find(_key_of(node, storage, tracking_uri))
    if other is None:
        return explain_node(first, known)
    second = known.find(_key_of(other, storage, tracking_uri))
    return NodeComparison(first, second, differences(first, second, known))


def gc(
    storage: str | Path = DEFAULT_STORAGE, *, forget: tuple[str, ...] = (), dry_run: bool = False
) -> Cleaning:
    """Remove what no recorded sweep refers to; asks nobody.

    Args:
        storage: As for `run_sweep`.
        forget: Sweeps to treat as gone.
        dry_run: Remove nothing.

    Raises:
        InputError: An unknown sweep, or a run that works on this storage.
    """
    store = open_store(storage)
    found = survey(store, forget)
    if dry_run or not found.garbage:
        return Cleaning(found, 0)
    forbid_while_live(store)
    return Cleaning(found, collect(store, found))


def _key_of(name: str, storage: str | Path, tracking_uri: str | None) -> str:
    """The key of a node that is named by ``best:SWEEP`` or a run id; else the name itself."""
    from dwp_sweep.prediction.trained import BEST, meaning_of_best, row_of

    if name.startswith(BEST):
        uri = resolve_uri(tracking_uri, storage)
        return meaning_of_best(name.removeprefix(BEST), open_store(storage), uri)[0].key
    if len(name) == _N_RUN_ID:
        return row_of(name, open_store(storage), resolve_uri(tracking_uri, storage)).key
    return name
