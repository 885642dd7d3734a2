"""What a run leaves with its parent run in MLflow and in the sweep's folder, beside the nodes' own."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from dwp_sweep.api.searches import studied
from dwp_sweep.api.telling import Say
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.store.live_run import live_runs
from dwp_sweep.store.store import Store
from dwp_sweep.store.sweep_record import recorded_resources

if TYPE_CHECKING:
    from pandas import DataFrame

    from dwp_sweep.report.search_report import SearchReport
    from dwp_sweep.tracking.client import Tracking


def send_missing(tracking: Tracking, sweep: Sweep, store: Store, say: Say) -> None:
    """Bring MLflow level with the store: what it missed, what another sweep had built, runs left open."""
    from dwp_sweep.tracking.sync import sync_records

    if not tracking.online:
        return
    report = sync_records(tracking, sweep.nodes.values(), store, in_hand(store))
    if report.problem:
        say(report.problem)


def in_hand(store: Store) -> frozenset[str]:
    """Keys of the nodes that live runs are at: their workers send what they measure themselves."""
    return frozenset(str(work["key"]) for run in live_runs(store) for work in run.in_hand)


def tell_facts(tracking: Tracking, sweep: Sweep, store: Store) -> None:
    """What answers from elsewhere need to know: the objectives, and the machine's share of a target."""
    from dwp_sweep.tracking.parent import log_facts

    if sweep.search is not None:
        names = [one.metric for one in sweep.search.objectives]
        log_facts(tracking, names, recorded_resources(store, sweep.name))


def keep_search(tracking: Tracking, sweep: Sweep, store: Store, say: Say) -> SearchReport | None:
    """Write a search's figures: they must never fail a sweep at its last line."""
    if sweep.search is None:
        return None
    try:
        found = studied(sweep.name, store, sweep.search.searcher.storage)
        if found is not None:
            found.keep(store.sweep_dir(sweep.name), tracking)
        return found
    except Exception as error:  # whatever drawing raises: what was built is safe
        say(f"the figures of the search could not be drawn: {error}")
        return None


def keep_tables(tracking: Tracking, results: DataFrame) -> None:
    """Show the sweep's tables as the description of its parent run. Never raises."""
    from dwp_sweep.report.table import paper_table
    from dwp_sweep.tracking.parent_report import describe_parent

    describe_parent(tracking, paper_table(results).markdown())


def keep_report(tracking: Tracking, store: Store, say: Say) -> None:
    """Keep the report's page, figures and tables with the parent run. Never raises."""
    from dwp_sweep.report.page.write import write_report
    from dwp_sweep.tracking.parent_report import log_report

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
