"""What a search has tried, and its figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dwp_sweep.api.telling import DEFAULT_STORAGE
from dwp_sweep.store.open_store import open_store
from dwp_sweep.store.store import Store
from dwp_sweep.store.sweep_record import sweep_path
from dwp_sweep.tracking.client import resolve_uri

if TYPE_CHECKING:
    from dwp_sweep.report.search_figures import SearchFigures
    from dwp_sweep.report.search_report import SearchReport


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
    from dwp_sweep.report.search_report import kept_report

    store = open_store(storage)
    folder = sweep_path(store, sweep)
    # Optuna takes a second to import: not for what lies there finished.
    found = studied(sweep, store, None) if (folder / "optuna.db").is_file() else None
    return found or kept_report(sweep, folder, resolve_uri(tracking_uri, storage))


def search_figures(
    sweep: str, storage: str | Path = DEFAULT_STORAGE, tracking_uri: str | None = None
) -> SearchFigures:
    """The figures of a search by name, matplotlib figures that a notebook shows: see `search_report`.

    ``slice``, ``parallel``, ``learning_curves``, ``importance`` and ``pareto``, those that can be drawn.
    """
    return search_report(sweep, storage, tracking_uri).figures()


def studied(sweep: str, store: Store, url: str | None) -> SearchReport | None:
    """What the studies of a sweep hold now; None where there are none."""
    from dwp_sweep.harness.importance import importances  # imports optuna: for searches only
    from dwp_sweep.harness.search_trials import read_trials
    from dwp_sweep.report.search_report import SearchReport

    found = read_trials(sweep, store, url)
    return SearchReport(found, importances(sweep, store, url)) if found is not None else None
