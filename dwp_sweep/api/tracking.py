"""A sweep's own data in MLflow and in its folder, beside the runs of its nodes.

For users: `sync` sends what MLflow missed, `search_report` and `search_figures` read a search. For a run:
what it writes to its parent run in MLflow and to the sweep's folder, before it starts and when it ends.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from dwp_sweep.api.planning import DEFAULT_STORAGE, Say
from dwp_sweep.config.node import nodes_of
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.store.heartbeat import live_runs
from dwp_sweep.store.open_store import open_store
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.sweep_record import (
    recorded_nodes,
    recorded_resources,
    recorded_settings,
    require_sweep,
    sweep_path,
)
from dwp_sweep.tracking.client import resolve_uri

if TYPE_CHECKING:
    from pandas import DataFrame

    from dwp_sweep.report.search.report import SearchFigures, SearchReport
    from dwp_sweep.tracking.write.parent import Tracking
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
    return sync_records(tracking, nodes, store, _in_hand(store))


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
    report = _studied(sweep, store, None) if (folder / "optuna.db").is_file() else None
    return report or kept_report(sweep, folder, resolve_uri(tracking_uri, storage))


def search_figures(
    sweep: str, storage: str | Path = DEFAULT_STORAGE, tracking_uri: str | None = None
) -> SearchFigures:
    """The figures of a search by name, matplotlib figures that a notebook shows: see `search_report`.

    ``slice``, ``parallel``, ``learning_curves``, ``importance`` and ``pareto``, those that can be drawn.
    """
    return search_report(sweep, storage, tracking_uri).figures()


def bring_level(tracking: Tracking, sweep: Sweep, store: Store, say: Say) -> None:
    """Send MLflow what it lacks: what it missed, what another sweep had built, ends of runs left open.

    Of a search also what answers from MLflow alone need: objectives, and the machine's share of a target.
    """
    from dwp_sweep.tracking.write.parent import log_facts
    from dwp_sweep.tracking.write.sync import sync_records

    if tracking.online:
        report = sync_records(tracking, sweep.nodes.values(), store, _in_hand(store))
        if report.problem:
            say(report.problem)
    if sweep.search is not None:
        names = [objective.metric for objective in sweep.search.objectives]
        log_facts(tracking, names, recorded_resources(store, sweep.name))


def keep_search(tracking: Tracking, sweep: Sweep, store: Store, say: Say) -> SearchReport | None:
    """Write a search's figures: they must never fail a sweep at its last line."""
    if sweep.search is None:
        return None
    try:
        report = _studied(sweep.name, store, sweep.search.searcher.storage)
        if report is not None:
            report.keep(store.sweep_dir(sweep.name), tracking)
        return report
    except Exception as error:  # whatever drawing raises: what was built is safe
        say(f"the figures of the search could not be drawn: {error}")
        return None


def keep_tables(tracking: Tracking, results: DataFrame) -> None:
    """Show the sweep's tables as the description of its parent run. Never raises."""
    from dwp_sweep.report.answers.paper_table import paper_table
    from dwp_sweep.tracking.write.parent import describe_parent

    describe_parent(tracking, paper_table(results).markdown())


def keep_report(tracking: Tracking, store: Store, say: Say) -> None:
    """Keep the report's page, figures and tables with the parent run. Never raises."""
    from dwp_sweep.report.page.write import write_report
    from dwp_sweep.tracking.write.parent import log_report

    if not tracking.online:
        return
    say("writing the report ...")
    try:
        with tempfile.TemporaryDirectory() as folder:
            write_report(tracking.sweep_name, Path(folder), tracking.uri, store)
            problem = log_report(tracking, Path(folder))
    except Exception as error:  # a picture that cannot be drawn must not take a finished sweep's exit code
        problem = f"{type(error).__name__}: {error}"
    if problem:
        command = f"dwp-sweep report {tracking.sweep_name} --out DIR"
        say(f"the report is not in MLflow ({problem}); {command} makes it")


def _in_hand(store: Store) -> frozenset[str]:
    """Keys of the nodes that live runs are at: their workers send what they measure themselves."""
    return frozenset(str(work["key"]) for run in live_runs(store) for work in run.in_hand)


def _studied(sweep: str, store: Store, url: str | None) -> SearchReport | None:
    """What the studies of a sweep hold now; None where there are none."""
    from dwp_sweep.harness.search.importance import importances  # imports optuna: for searches only
    from dwp_sweep.harness.search.trials import read_trials
    from dwp_sweep.report.search.report import SearchReport

    trials = read_trials(sweep, store, url)
    return SearchReport(trials, importances(sweep, store, url)) if trials is not None else None
