"""What users ask of a sweep beside its scores: `sync` sends MLflow what it missed; figures of a search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dwp_sweep.api.planning import DEFAULT_STORAGE
from dwp_sweep.config.node import nodes_of
from dwp_sweep.store.heartbeat import keys_in_hand
from dwp_sweep.store.open_store import open_store
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.sweep_record import (
    recorded_nodes,
    recorded_settings,
    require_sweep,
    sweep_path,
)
from dwp_sweep.tracking.client import resolve_uri

if TYPE_CHECKING:
    from dwp_sweep.report.search.report import SearchFigures, SearchReport
    from dwp_sweep.tracking.write.sync import SyncReport


def sync(sweep: str, storage: str | Path = DEFAULT_STORAGE, tracking_uri: str | None = None) -> SyncReport:
    """Send MLflow what it missed of a sweep: runs, metrics and files of nodes that have ended.

    The next run of the sweep does the same; this needs neither the search space nor the data. Nodes that a
    run has in hand are left to it. What MLflow has already is not sent again.

    Args:
        sweep: Its name.
        storage: As for `run_sweep`.
        tracking_uri: MLflow's; None: ``MLFLOW_TRACKING_URI``, else the database under the storage.

    Returns:
        What was sent; its ``problem`` says why something is still missing.

    Raises:
        InputError: No such sweep on this storage.
    """
    from dwp_sweep.tracking.write.parent import open_tracking
    from dwp_sweep.tracking.write.sync import sync_records

    store = open_store(storage)
    require_sweep(sweep, store)
    nodes = nodes_of(recorded_nodes(store, sweep))
    tracking = open_tracking(tracking_uri, store.place, sweep, recorded_settings(store, sweep))
    return sync_records(tracking, nodes, store, keys_in_hand(store))


def search_report(
    sweep: str, storage: str | Path = DEFAULT_STORAGE, tracking_uri: str | None = None
) -> SearchReport:
    """What a search has tried so far and how much each parameter mattered.

    Where the storage holds the search's own database the answer is of this moment, also while it runs;
    else it is what its last run left in the sweep's folder or with its parent run in MLflow.

    Args:
        sweep: Name of the sweep.
        storage: Folder of the sweep; need not be there.
        tracking_uri: As for `run_sweep`.

    Raises:
        InputError: No search of this name was found.
    """
    from dwp_sweep.report.search.report import kept_report

    store = open_store(storage)
    folder = sweep_path(store, sweep)
    # Optuna takes a second to import: only for studies that are there.
    report = read_search(sweep, store, None) if (folder / "optuna.db").is_file() else None
    return report or kept_report(sweep, folder, resolve_uri(tracking_uri, storage))


def search_figures(
    sweep: str, storage: str | Path = DEFAULT_STORAGE, tracking_uri: str | None = None
) -> SearchFigures:
    """The figures of a search by name, matplotlib figures that a notebook shows: see `search_report`.

    ``slice``, ``parallel``, ``learning_curves``, ``importance`` and ``pareto``, those that can be drawn.
    """
    return search_report(sweep, storage, tracking_uri).figures()


def read_search(sweep: str, store: Store, url: str | None) -> SearchReport | None:
    """What the studies of a sweep hold now; None where there are none."""
    from dwp_sweep.harness.search.importance import importances  # imports optuna: for searches only
    from dwp_sweep.harness.search.study_database import read_trials
    from dwp_sweep.report.search.report import SearchReport

    trials = read_trials(sweep, store, url)
    return SearchReport(trials, importances(sweep, store, url)) if trials is not None else None
