"""The public functions: compose config, harness, tracking and report into whole answers.

Top of the package, beside the command line, which adds nothing but printing. Computes nothing itself.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dwp_sweep.config.space import load_space
from dwp_sweep.config.sweep import Sweep, build_sweep
from dwp_sweep.errors import DwpSweepError, InputError, Problem
from dwp_sweep.harness.costs import PlanCost
from dwp_sweep.harness.costs import plan_cost as cost_of_plan
from dwp_sweep.harness.plan import Plan, make_plan
from dwp_sweep.harness.status import SweepStatus, sweep_status
from dwp_sweep.store.store import Store
from dwp_sweep.store.sweep_record import recorded_resources, sweep_path
from dwp_sweep.tracking.answers import Best, best_config
from dwp_sweep.tracking.client import resolve_uri
from dwp_sweep.tracking.conditions import best_configs
from dwp_sweep.tracking.load import download_outputs, load_model, load_prior
from dwp_sweep.tracking.pareto import Front, pareto_front
from dwp_sweep.tracking.results import results, results_of_store

if TYPE_CHECKING:
    import pandas as pd

    from dwp_sweep.harness.events import Outcome
    from dwp_sweep.harness.progress import Progress
    from dwp_sweep.report.search_figures import SearchFigures
    from dwp_sweep.report.search_report import SearchReport
    from dwp_sweep.tracking.client import Tracking

__all__ = [
    "SweepRun",
    "best_config",
    "best_configs",
    "load_model",
    "load_prior",
    "pareto_front",
    "plan_cost",
    "plan_sweep",
    "results",
    "retrain_best",
    "run_sweep",
    "search_figures",
    "search_report",
    "status",
]

DEFAULT_STORAGE = "./dwp_runs"
PARENT_STATUS = {0: "FINISHED", 1: "FAILED", 3: "KILLED", 130: "KILLED"}
"""Status of the sweep's parent run in MLflow by exit code."""
Say = Callable[[str], None]
Checking = Callable[[str, int, int], None]
"""Receives (what, done, total) while scans are checked."""


@dataclass(frozen=True)
class SweepRun:
    """How a run of a sweep ended.

    Attributes:
        sweep: The sweep that was asked for.
        outcome: Counts, failed and blocked nodes, wall time and exit code.
        tracking: Where MLflow holds the sweep; ``online`` tells whether it could be reached.
        results: One row a node that has a record, from the store (complete when MLflow is down, too).
        best: The best configuration by the validation metric; None when MLflow cannot tell.
        search: What a search has tried and how much each parameter mattered; None where nothing was
            searched for. Its figures lie in ``<storage>/sweeps/<name>/figures``.
        front: The Pareto front of a search with several objectives; None when MLflow cannot tell.
    """

    sweep: Sweep
    outcome: Outcome
    tracking: Tracking
    results: pd.DataFrame
    best: Best | None
    search: SearchReport | None = None
    front: Front | None = None

    @property
    def exit_code(self) -> int:
        """0 all done; 1 some node failed or was blocked; 3 stopped by the budget; 130 interrupted."""
        return self.outcome.exit_code

    def _repr_html_(self) -> str:
        """What a notebook shows: how it ended and the answer."""
        from html import escape

        from dwp_sweep.harness.progress import outcome_text

        answers = (self.front or self.best, self.search)
        end = f"{self.sweep.name}: {outcome_text(self.outcome)}"
        return f"<div>{escape(end)}</div>" + "".join(one._repr_html_() for one in answers if one is not None)


def run_sweep(
    space: str | Path | Mapping[str, Any],
    storage: str | Path = DEFAULT_STORAGE,
    tracking_uri: str | None = None,
    smoke: bool = False,
    overrides: Sequence[str] = (),
    address: str | None = None,
    retry_failed: bool = True,
    *,
    max_concurrent: int | None = None,
    progress: Progress | None = None,
    say: Say | None = None,
    checking: Checking | None = None,
) -> SweepRun:
    """Run a sweep, or go on where an earlier run of it stopped.

    Args:
        space: A search-space file, or its content as a mapping.
        storage: Folder of the content-addressed store; on a cluster a shared one.
        tracking_uri: MLflow's; default ``MLFLOW_TRACKING_URI``, else SQLite under ``storage``.
        smoke: Shrink the sweep by its ``smoke`` section.
        overrides: ``key=value`` in dotted form, as after ``--set``.
        address: Of an existing Ray cluster; default ``RAY_ADDRESS``, else a local Ray.
        retry_failed: Try nodes again that failed earlier.
        max_concurrent: Largest number of nodes at once; default: as the resources allow.
        progress: Shows the run; default: a live table on a terminal, one line per event elsewhere.
        say: Receives remarks for people (what is being prepared, MLflow out of reach).
        checking: Receives (what, done, total) after each scan that is checked, up to done = total;
            default: ``say`` names each data set once.

    Raises:
        InputError: With every problem of the search space and of the data; nothing was started.
    """
    say = say or _silent
    store = Store(Path(storage))
    sweep = _sweep(space, store, smoke, overrides, tracking_uri, say, checking)
    return _run(sweep, store, tracking_uri, address, retry_failed, max_concurrent, progress, say)


def retrain_best(
    sweep: str,
    storage: str | Path = DEFAULT_STORAGE,
    tracking_uri: str | None = None,
    where: Mapping[str, Any] | None = None,
    metric: str = "val_dice",
    seed: int | None = None,
    all_images: bool = False,
    address: str | None = None,
    *,
    progress: Progress | None = None,
    say: Say | None = None,
) -> SweepRun:
    """Train the best configuration of a sweep again, from the very same upstream nodes.

    Of the best configuration's runs the one with the best validation score is taken (``where`` may name a
    split). A fresh training, never a cached one: with the same seed it reproduces that run on a CPU. It
    belongs to the sweep ``<sweep>-retrain``, its run has the tag ``dwp.retrained_from``.

    Args:
        sweep: Name of the sweep.
        storage: Folder that holds its nodes.
        tracking_uri: As for `run_sweep`.
        where: As for `best_config`.
        metric: As for `best_config`.
        seed: Of the network's start, order and noise; None: that of the run.
        all_images: Train on all images that do not test. Those of validation are among them and go on
            choosing the epoch: validation scores then say nothing about other scans, test scores do.
        address: As for `run_sweep`.
        progress: As for `run_sweep`.
        say: As for `run_sweep`.

    Raises:
        InputError: As `best_config`; its nodes are not on this storage; a negative seed.
    """
    from dwp_sweep.config.retrain import retrain_sweep
    from dwp_sweep.tracking.best_run import best_run

    store, uri = Store(Path(storage)), resolve_uri(tracking_uri, Path(storage))
    row = best_run(best_config(sweep, metric, where, uri), uri)
    again = retrain_sweep(sweep, row.key, row.inputs, store, row.run_id, seed, all_images)
    (say or _silent)(f"training again: {again.nodes[again.targets[0]].title} (run {row.run_id})")
    return _run(again, store, tracking_uri, address, True, None, progress, say or _silent)


def status(sweep: str, storage: str | Path = DEFAULT_STORAGE) -> SweepStatus:
    """How a sweep stands: done, running, waiting, failed, hours used, time left. Needs no MLflow.

    Raises:
        InputError: No such sweep on this storage.
    """
    return sweep_status(sweep, Store(Path(storage)))


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

    store = Store(Path(storage))
    folder = sweep_path(store, sweep)
    # Optuna takes a second to import: not for what lies there finished.
    found = _studied(sweep, store, None) if (folder / "optuna.db").is_file() else None
    return found or kept_report(sweep, folder, resolve_uri(tracking_uri, Path(storage)))


def search_figures(
    sweep: str, storage: str | Path = DEFAULT_STORAGE, tracking_uri: str | None = None
) -> SearchFigures:
    """The figures of a search by name, matplotlib figures that a notebook shows: see `search_report`.

    ``slice``, ``parallel``, ``learning_curves``, ``importance`` and ``pareto``, those that can be drawn.
    """
    return search_report(sweep, storage, tracking_uri).figures()


def plan_cost(
    plan: Plan,
    storage: str | Path = DEFAULT_STORAGE,
    n_slots: int | None = None,
    tracking_uri: str | None = None,
) -> PlanCost:
    """What a plan costs by stage and resource, how long it takes, and what its budget would cut.

    Args:
        plan: From `plan_sweep`.
        storage: Holds the past runs that the estimate comes from.
        n_slots: Nodes at once; None: as the resources of this machine allow.
        tracking_uri: MLflow that knows durations which the storage lacks; None: as in `run_sweep`.
    """
    return cost_of_plan(plan, Store(Path(storage)), n_slots, tracking_uri)


def _run(
    sweep: Sweep,
    store: Store,
    tracking_uri: str | None,
    address: str | None,
    retry_failed: bool,
    max_concurrent: int | None,
    progress: Progress | None,
    say: Say,
) -> SweepRun:
    from dwp_sweep.harness.run import run_sweep as run_nodes
    from dwp_sweep.tracking.client import close_tracking, open_tracking, reopen

    plan = make_plan(sweep, store, retry_failed)
    say("opening MLflow ...")
    tracking = open_tracking(tracking_uri, store.root, sweep.name, dict(sweep.settings))
    if not tracking.online:
        say(str(tracking.problem))
    _send_missing(tracking, sweep, store, say)
    _tell_facts(tracking, sweep, store)
    try:
        outcome = run_nodes(
            sweep,
            store,
            tracking,
            address=address,
            retry_failed=retry_failed,
            max_concurrent=max_concurrent,
            progress=progress,
            plan=plan,
        )
    except BaseException:
        close_tracking(tracking, "FAILED")  # e.g. no such Ray cluster: no run must stay RUNNING for ever
        raise
    tracking = reopen(tracking)
    _send_missing(tracking, sweep, store, say)
    _tell_facts(tracking, sweep, store)
    search = _keep_search(tracking, sweep, store, say)
    close_tracking(tracking, PARENT_STATUS.get(outcome.exit_code, "FAILED"))
    table = results_of_store(sweep.nodes.values(), store)
    return SweepRun(sweep, outcome, tracking, table, _best(tracking, sweep), search, _front(tracking, sweep))


def _tell_facts(tracking: Tracking, sweep: Sweep, store: Store) -> None:
    """What answers from elsewhere need to know: the objectives, and the machine's share of a target."""
    from dwp_sweep.tracking.parent import log_facts

    if sweep.search is not None:
        names = [one.metric for one in sweep.search.objectives]
        log_facts(tracking, names, recorded_resources(store, sweep.name))


def _keep_search(tracking: Tracking, sweep: Sweep, store: Store, say: Say) -> SearchReport | None:
    """Write a search's figures: they must never fail a sweep at its last line."""
    if sweep.search is None:
        return None
    try:
        found = _studied(sweep.name, store, sweep.search.searcher.storage)
        if found is not None:
            found.keep(store.sweep_dir(sweep.name), tracking)
        return found
    except Exception as error:  # whatever drawing raises: what was built is safe
        say(f"the figures of the search could not be drawn: {error}")
        return None


def _studied(sweep: str, store: Store, url: str | None) -> SearchReport | None:
    from dwp_sweep.harness.importance import importances  # imports optuna: for searches only
    from dwp_sweep.harness.search_trials import read_trials
    from dwp_sweep.report.search_report import SearchReport

    found = read_trials(sweep, store, url)
    return SearchReport(found, importances(sweep, store, url)) if found is not None else None


def _send_missing(tracking: Tracking, sweep: Sweep, store: Store, say: Say) -> None:
    """Bring MLflow level with the store: what it missed, what another sweep had built, runs left open."""
    from dwp_sweep.tracking.sync import sync_records

    if not tracking.online:
        return
    report = sync_records(tracking, sweep.nodes.values(), store)
    if report.problem:
        say(report.problem)


def plan_sweep(
    space: str | Path | Mapping[str, Any],
    storage: str | Path = DEFAULT_STORAGE,
    smoke: bool = False,
    overrides: Sequence[str] = (),
    retry_failed: bool = True,
    *,
    tracking_uri: str | None = None,
    say: Say | None = None,
    checking: Checking | None = None,
) -> Plan:
    """What `run_sweep` with the same arguments would build, find done, or leave; starts nothing.

    Raises:
        InputError: With every problem of the search space and of the data.
    """
    store = Store(Path(storage))
    sweep = _sweep(space, store, smoke, overrides, tracking_uri, say or _silent, checking)
    return make_plan(sweep, store, retry_failed=retry_failed)


def _sweep(
    space: str | Path | Mapping[str, Any],
    store: Store,
    smoke: bool,
    overrides: Sequence[str],
    tracking_uri: str | None,
    say: Say,
    checking: Checking | None,
) -> Sweep:
    def fetch(text: str, key: str) -> Path:
        return _fetch_run(text, key, store.root, tracking_uri)

    sweep = build_sweep(load_space(space, overrides, smoke=smoke), store.root, checking or _once(say), fetch)
    for warning in sweep.warnings:
        say(f"warning: {warning}")
    return sweep


def _once(say: Say) -> Checking:
    spoken: set[str] = set()

    def progress(what: str, done: int, total: int) -> None:
        if what not in spoken:
            say(f"{what} ({total} subjects) ...")
            spoken.add(what)

    return progress


def _fetch_run(text: str, key: str, storage: Path, tracking_uri: str | None) -> Path:
    """The local folder of ``runs:/<run id>[/<path>]``, fetched once: finished runs never change."""
    run_id, _, path = text.removeprefix("runs:/").partition("/")
    folder = storage / "brought" / run_id
    try:
        if not folder.is_dir():
            beside = folder.with_name(f".{run_id}.{uuid.uuid4().hex[:8]}")
            download_outputs(run_id, beside, resolve_uri(tracking_uri, storage))
            beside.replace(folder)
    except InputError as error:
        raise InputError(
            Problem(key, f"{text}: {problem.what}", problem.fix) for problem in error.problems
        ) from None
    return folder / path if path else folder


def _best(tracking: Tracking, sweep: Sweep) -> Best | None:
    """The best configuration, where MLflow can tell: a sweep that ends must never fail at its last line."""
    if not tracking.online:
        return None
    try:
        return best_config(sweep.name, tracking_uri=tracking.uri)
    except DwpSweepError:
        return None


def _front(tracking: Tracking, sweep: Sweep) -> Front | None:
    if not tracking.online or sweep.search is None or len(sweep.search.objectives) < 2:
        return None
    try:
        names = [one.metric for one in sweep.search.objectives]
        return pareto_front(sweep.name, names, tracking_uri=tracking.uri)
    except DwpSweepError:
        return None


def _silent(_: str) -> None:
    return None
