"""Plan a sweep and its cost; the default storage and the receivers of remarks, which all functions share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dwp_sweep.atomic_write import place_beside
from dwp_sweep.config.space import load_space
from dwp_sweep.config.sweep import Sweep, build_sweep
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.harness.cost.plan_cost import PlanCost
from dwp_sweep.harness.cost.plan_cost import plan_cost as cost_of_plan
from dwp_sweep.harness.dag.plan import Plan, make_plan
from dwp_sweep.harness.stalls import require_reachable
from dwp_sweep.stages.harvest import BANK_FILES
from dwp_sweep.stages.prior import PRIOR_FILES
from dwp_sweep.stages.source import NET_FILES
from dwp_sweep.store.open_store import open_store
from dwp_sweep.store.protocol import RECORD, Store
from dwp_sweep.tracking.client import resolve_uri
from dwp_sweep.tracking.read.files import download_outputs

_IMPORTED = (RECORD, *NET_FILES, *BANK_FILES, *PRIOR_FILES)
"""All that an imported output consists of: a run's figures, scores and examples are not fetched."""
DEFAULT_STORAGE = "./dwp_runs"
Say = Callable[[str], None]
"""Receives remarks for people."""
Checking = Callable[[str, int, int], None]
"""Receives (what, done, total) while scans are checked or predicted."""


def silent(_: str) -> None:
    """Drop a remark."""


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
    store = open_store(storage)
    sweep = read_sweep(space, store, smoke, overrides, tracking_uri, say or silent, checking)
    return make_plan(sweep, store, retry_failed=retry_failed)


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
    return cost_of_plan(plan, open_store(storage), n_slots, tracking_uri)


def read_sweep(
    space: str | Path | Mapping[str, Any],
    store: Store,
    smoke: bool,
    overrides: Sequence[str],
    tracking_uri: str | None,
    say: Say,
    checking: Checking | None,
) -> Sweep:
    """The sweep of a search space; ``say`` receives its warnings.

    Raises:
        InputError: With every problem of the search space and of the data.
    """

    def fetch(text: str, key: str) -> Path:
        return _fetch_run(text, key, store, tracking_uri)

    sweep = build_sweep(load_space(space, overrides, smoke=smoke), store.root, checking or _once(say), fetch)
    require_reachable(sweep.resources, store)
    for warning in sweep.warnings:
        say(f"warning: {warning}")
    return sweep


def _once(say: Say) -> Checking:
    reported: set[str] = set()

    def progress(what: str, done: int, total: int) -> None:
        if what not in reported:
            say(f"{what} ({total} subjects) ...")
            reported.add(what)

    return progress


def _fetch_run(text: str, key: str, store: Store, tracking_uri: str | None) -> Path:
    """The local folder of ``runs:/<run id>[/<path>]``, fetched once: finished runs never change."""
    run_id, _, path = text.removeprefix("runs:/").partition("/")
    if not re.fullmatch(r"[\w-]+", run_id) or ".." in Path(path).parts or path.startswith("/"):
        fix = "give runs:/RUN_ID, or runs:/RUN_ID/FOLDER of the run's artifacts"
        raise InputError(Problem(key, f"{text} names no folder of a run", fix))
    folder = store.root / "brought" / run_id
    try:
        if not folder.is_dir():
            with place_beside(folder) as beside:
                download_outputs(run_id, beside, resolve_uri(tracking_uri, store.place), _IMPORTED)
                beside.replace(folder)
    except InputError as error:
        raise InputError(
            Problem(key, f"{text}: {problem.what}", problem.fix) for problem in error.problems
        ) from None
    return folder / path if path else folder
