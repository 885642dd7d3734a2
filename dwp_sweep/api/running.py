"""Run a sweep, or train its best configuration again."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dwp_sweep.api.planning import DEFAULT_STORAGE, Checking, Say, read_sweep, silent
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import DwpSweepError
from dwp_sweep.harness.dag.plan import make_plan
from dwp_sweep.harness.notifier import Notifier, Notify
from dwp_sweep.harness.options import RunOptions
from dwp_sweep.harness.stopping import DEFAULT_WAIT_S
from dwp_sweep.harness.taking_over import wait_for_driver as wait_for_other
from dwp_sweep.harness.view.status import SweepStatus, sweep_status
from dwp_sweep.stop_signals import finish_first, on_stop
from dwp_sweep.store.heartbeat import keys_in_hand
from dwp_sweep.store.lease import RunWatch
from dwp_sweep.store.open_store import open_store
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.sweep_record import record_settings, recorded_resources
from dwp_sweep.tracking.client import resolve_uri
from dwp_sweep.tracking.read.best import Best, best_config
from dwp_sweep.tracking.read.pareto import Front, pareto_front
from dwp_sweep.tracking.read.reader import results_of_store

if TYPE_CHECKING:
    import pandas as pd

    from dwp_sweep.harness.dag.ledger import Outcome
    from dwp_sweep.harness.view.progress import Progress
    from dwp_sweep.report.search.report import SearchReport
    from dwp_sweep.tracking.write.parent import Tracking

PARENT_STATUS = {0: "FINISHED", 1: "FAILED", 3: "KILLED", 130: "KILLED"}
"""Status of the sweep's parent run in MLflow by exit code."""


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

        from dwp_sweep.harness.view.text import outcome_text

        answers = (self.front or self.best, self.search)
        end = f"{self.sweep.name}: {outcome_text(self.outcome)}"
        return f"<div>{escape(end)}</div>" + "".join(
            answer._repr_html_() for answer in answers if answer is not None
        )


@on_stop()
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
    wait_s: float = DEFAULT_WAIT_S,
    here: bool = False,
    wait_for_driver: bool = False,
    notify: Notify | None = None,
    progress: Progress | None = None,
    say: Say | None = None,
    checking: Checking | None = None,
) -> SweepRun:
    """Run a sweep, or go on where an earlier run of it stopped.

    Args:
        space: A search-space file, or its content as a mapping.
        storage: Folder of the content-addressed store, on a cluster a shared one; or ``s3://BUCKET/PREFIX``.
        tracking_uri: MLflow's; default ``MLFLOW_TRACKING_URI``, else SQLite under ``storage``; on S3 there
            is no default.
        smoke: Shrink the sweep by its ``smoke`` section.
        overrides: ``key=value`` in dotted form, as after ``--set``.
        address: Of an existing Ray cluster; default ``RAY_ADDRESS``, else a local Ray.
        retry_failed: Try nodes again that failed earlier.
        max_concurrent: Largest number of nodes at once; default: as the resources allow.
        wait_s: How long a cluster that grows may take to bring a machine, while nothing else can run.
        here: Compute all nodes in this process, one after the other, without Ray: for a debugger, a notebook,
            a first test on a laptop. The results are the same. A search must give nothing up early
            (``scheduler.kind: none``).
        wait_for_driver: Of a search that another driver runs: wait until that one has ended or is dead, and
            take over. Without it such a search is refused; drivers of a grid share it.
        notify: Who is told of the end, of failures and of stalls; None: nobody.
        progress: Shows the run; default: a live table on a terminal, one line per event elsewhere.
        say: Receives remarks for people (what is being prepared, MLflow out of reach).
        checking: Receives (what, done, total) after each scan that is checked, up to done = total;
            default: ``say`` names each data set once.

    Raises:
        InputError: With every problem of the search space and of the data; nothing was started.
    """
    say = say or silent
    options = RunOptions(address, retry_failed, max_concurrent, wait_s, here, wait_for_driver)
    options.require_executor()
    store = open_store(storage, writes=True)
    resolve_uri(tracking_uri, store.place)  # reports what is missing before minutes are spent on scans
    sweep = read_sweep(space, store, smoke, overrides, tracking_uri, say, checking)
    options.require_possible(sweep)
    notifier = Notifier(notify or Notify(), sweep.name)
    with notifier.until_the_end():
        run = _run(sweep, store, tracking_uri, say, progress, options, notifier)
        notifier.ended(_end_text(run), exit_code=run.exit_code, counts=dict(run.outcome.counts))
    return run


@on_stop()
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
        storage: Holds its nodes.
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
    from dwp_sweep.tracking.read.best import best_run

    options = RunOptions(address)
    options.require_executor()
    store, uri = open_store(storage, writes=True), resolve_uri(tracking_uri, storage)
    row = best_run(best_config(sweep, metric, where, uri, storage), uri)
    retraining = retrain_sweep(sweep, row.key, row.inputs, store, row.run_id, seed, all_images)
    (say or silent)(f"training again: {retraining.nodes[retraining.targets[0]].title} (run {row.run_id})")
    return _run(retraining, store, tracking_uri, say or silent, progress, options)


def status(sweep: str, storage: str | Path = DEFAULT_STORAGE) -> SweepStatus:
    """How a sweep stands: done, running, waiting, failed, hours used, time left. Needs no MLflow.

    Raises:
        InputError: No such sweep on this storage.
    """
    return sweep_status(sweep, open_store(storage))


def keep_report(tracking: Tracking, store: Store, say: Say) -> None:
    """Keep the report's page, figures and tables with the parent run. Never raises."""
    from dwp_sweep.report.page.write import write_report
    from dwp_sweep.tracking.write.parent import log_report

    if not tracking.online:
        return
    if not tracking.privacy.shows_scans:
        say(f"the report shows scans: dwp-sweep report {tracking.sweep_name} --out DIR makes it here alone")
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


def _run(
    sweep: Sweep,
    store: Store,
    tracking_uri: str | None,
    say: Say,
    progress: Progress | None,
    options: RunOptions,
    notifier: Notifier | None = None,
) -> SweepRun:
    """Plan, update MLflow, build what is missing, update MLflow, keep the answers."""
    from dwp_sweep.harness.run import run_sweep as run_nodes
    from dwp_sweep.report.answers.paper_table import paper_table
    from dwp_sweep.tracking.write.parent import describe_parent, reopen

    watch = RunWatch(store)
    if options.wait_for_driver:
        wait_for_other(sweep, store, watch, say)
    plan = make_plan(sweep, store, options.retry_failed)
    record_settings(store, sweep.name, sweep.settings)
    say("opening MLflow ...")
    with _parent_run(sweep, store, tracking_uri) as parent:
        if not parent.tracking.online:
            say(str(parent.tracking.problem))
        _bring_level(parent.tracking, sweep, store, say)
        outcome = run_nodes(
            sweep, store, parent.tracking, options,
            progress=progress, plan=plan, notifier=notifier, watch=watch,
        )  # fmt: skip
        with finish_first():
            tracking = parent.tracking = reopen(parent.tracking)
        _bring_level(tracking, sweep, store, say)
        search = _keep_search(tracking, sweep, store, say)
        table = results_of_store(sweep.nodes.values(), store)
        if outcome.counts.get("done"):
            describe_parent(tracking, paper_table(table).markdown())
            keep_report(tracking, store, say)
        parent.status = PARENT_STATUS.get(outcome.exit_code, "FAILED")
    best: Best | None = None
    front: Front | None = None
    if tracking.online:
        objectives = [objective.metric for objective in sweep.search.objectives] if sweep.search else []
        # A sweep that ends must never fail at its last line because MLflow has no answer.
        with contextlib.suppress(DwpSweepError):
            best = best_config(sweep.name, tracking_uri=tracking.uri, storage=tracking.storage)
        if len(objectives) > 1:
            with contextlib.suppress(DwpSweepError):
                front = pareto_front(
                    sweep.name, objectives, tracking_uri=tracking.uri, storage=tracking.storage
                )
    return SweepRun(sweep, outcome, tracking, table, best, search, front)


def _end_text(run: SweepRun) -> str:
    from dwp_sweep.harness.view.text import outcome_text

    best = run.best and run.best.metrics.get(run.best.metric)
    score = f"; best {run.best.metric} {best.mean:.4g}" if run.best and best else ""
    return outcome_text(run.outcome) + score


@dataclass
class _ParentRun:
    """The sweep's run in MLflow, and the status that it gets at its end."""

    tracking: Tracking
    status: str = "FAILED"


@contextlib.contextmanager
def _parent_run(sweep: Sweep, store: Store, tracking_uri: str | None) -> Iterator[_ParentRun]:
    """Open the sweep's run and end it whatever happens: no run must stay RUNNING for ever."""
    from dwp_sweep.tracking.write.parent import close_tracking, open_tracking

    parent: _ParentRun | None = None
    try:
        with finish_first():
            settings = dict(sweep.settings)
            parent = _ParentRun(open_tracking(tracking_uri, store.place, sweep.name, settings))
        yield parent
    except KeyboardInterrupt:
        if parent is not None:
            parent.status = "KILLED"
        raise
    finally:
        if parent is not None:
            with finish_first():
                close_tracking(parent.tracking, parent.status)


def _bring_level(tracking: Tracking, sweep: Sweep, store: Store, say: Say) -> None:
    """Send MLflow what it lacks: what it missed, what another sweep had built, ends of runs left open.

    Of a search also what answers from MLflow alone need: objectives, and the machine's share of a target.
    """
    from dwp_sweep.tracking.write.parent import log_facts
    from dwp_sweep.tracking.write.sync import sync_records

    if tracking.online:
        report = sync_records(tracking, sweep.nodes.values(), store, keys_in_hand(store))
        if report.problem:
            say(report.problem)
    if sweep.search is not None:
        names = [objective.metric for objective in sweep.search.objectives]
        log_facts(tracking, names, recorded_resources(store, sweep.name))


def _keep_search(tracking: Tracking, sweep: Sweep, store: Store, say: Say) -> SearchReport | None:
    """Write a search's figures: they must never fail a sweep at its last line."""
    if sweep.search is None:
        return None
    from dwp_sweep.api.tracking import read_search

    try:
        report = read_search(sweep.name, store, sweep.search.searcher.storage)
        if report is not None:
            report.keep(store.sweep_dir(sweep.name), tracking)
        return report
    except Exception as error:  # whatever drawing raises: what was built is safe
        say(f"the figures of the search could not be drawn: {error}")
        return None
