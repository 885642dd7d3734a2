"""One sweep as one Ray Tune run: plan, start Ray, hand out nodes until nothing is left, say how it ended.

The top of the harness. What is cached is not touched; with nothing to build Ray is not even started, so
running the same command again is cheap and always right.
"""

from __future__ import annotations

import contextlib
import functools
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dwp_sweep.config.node import entries_of, pipeline_order
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import CorruptArtifactError, InputError, Problem
from dwp_sweep.harness.cancel import Interrupt
from dwp_sweep.harness.cluster.autoscaling import DEFAULT_WAIT_S, Patience
from dwp_sweep.harness.cluster.ray_session import (
    RememberedMachines,
    cluster_grows,
    machines,
    other_machines,
    ray_session,
)
from dwp_sweep.harness.cluster.visibility import data_paths, require_seen
from dwp_sweep.harness.cost.durations import Estimate, PastRuns
from dwp_sweep.harness.dag.budget import beyond_trials, exhausted, forbids_start, spent_by, without_effect
from dwp_sweep.harness.dag.events import Outcome
from dwp_sweep.harness.dag.ledger import Ledger
from dwp_sweep.harness.dag.node_state import OPEN
from dwp_sweep.harness.dag.plan import Plan, make_plan
from dwp_sweep.harness.dag.slots import Admission, Resources, impossible, resources_of, slots
from dwp_sweep.harness.view.progress import Progress, default_progress
from dwp_sweep.stages.contract import Stage
from dwp_sweep.store.gc import wait_for_tidying
from dwp_sweep.store.heartbeat import Heartbeat, hold_file, hold_name, live_runs, stop_file, stop_name
from dwp_sweep.store.lease import Leases
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.s3.bucket import address, is_url
from dwp_sweep.store.shared_files import Mark
from dwp_sweep.store.sweep_record import record_nodes, record_resources
from dwp_sweep.tracking.client import shown_uri

if TYPE_CHECKING:
    from dwp_sweep.harness.search.search_plan import SearchPlan
    from dwp_sweep.tracking.client import Tracking

_WATCH_EVERY_S = 0.5


def run_sweep(
    sweep: Sweep,
    store: Store,
    tracking: Tracking | None = None,
    *,
    address: str | None = None,
    retry_failed: bool = True,
    max_concurrent: int | None = None,
    progress: Progress | None = None,
    stages: Mapping[str, Stage] | None = None,
    plan: Plan | None = None,
    wait_s: float = DEFAULT_WAIT_S,
) -> Outcome:
    """Build everything of a sweep that is missing.

    Args:
        sweep: Targets and all that they need.
        store: The storage; on a cluster one that all machines see.
        tracking: Where nodes log to; None: nowhere.
        address: Of an existing Ray cluster; None: see `ray_session`.
        retry_failed: Whether nodes that failed in an earlier run are tried again.
        max_concurrent: Upper bound on nodes at once.
        progress: Shows the run; None: the terminal, or lines where there is none.
        stages: Stages by name, importable in the workers; None: those of the package.
        plan: The sweep's plan where the caller has just made it.
        wait_s: How long a cluster that grows may take to bring a machine, while nothing else can run.

    Returns:
        How it ended, with the exit code of the command.

    Raises:
        InputError: A stage asks for resources that no machine has, and none that has them came in time; a
            machine does not see the storage or the data; somebody goes on removing things from the storage;
            another driver runs the same search.
    """
    progress = progress or default_progress()
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
    facts = _Facts()
    # First say what is needed and that somebody is here: only then is what the plan finds there to stay.
    record_nodes(store, sweep.name, entries_of(sweep.nodes.values(), sweep.targets))
    leases = Leases(store, sweep.name, name)
    with Heartbeat(store, sweep.name, name, facts), contextlib.closing(leases):
        wait_for_tidying(store)
        if plan is None or not _holds(plan, store):
            plan = make_plan(sweep, store, retry_failed)
        ledger = _ledger(sweep, store, plan, progress)
        search = _open_search(sweep, store, ledger, retry_failed, name)
        run = _Run(sweep, store, tracking, ledger, progress, address, max_concurrent, stages, search, name,
                   leases)  # fmt: skip
        run.patience.limit_s = wait_s
        facts.run = run
        return _run_to_its_end(run, plan)


def _holds(plan: Plan, store: Store) -> bool:
    """Whether what a plan found on the storage is there yet."""
    cached = (plan.sweep.nodes[key] for key, state in plan.states.items() if state == "cached")
    with store.snapshot():
        return all(store.is_published(node.stage, node.key) for node in cached)


def _ledger(sweep: Sweep, store: Store, plan: Plan, progress: Progress) -> Ledger:
    # A search counts its configurations itself: which of them come is not known before it asks.
    held = beyond_trials(plan, None if sweep.search is not None else sweep.budget.trials)
    past = PastRuns.from_store(store, pipeline_order(sweep.nodes.values()))
    return Ledger(plan, Estimate(past.seconds), progress.event, held)


def _run_to_its_end(run: _Run, plan: Plan) -> Outcome:
    ledger, search = run.ledger, run.search
    if search is not None:  # with what earlier runs have asked for
        record_nodes(run.store, run.sweep.name, entries_of(run.sweep.nodes.values(), run.sweep.targets))
    run.progress.open(run.sweep.name, ledger, run.where())
    outcome: Outcome | None = None
    try:
        for note in plan.notes:
            ledger.note(note)
        with Interrupt(run.stop_file, ledger.drain) as interrupt:
            if ledger.board.heads() or (search is not None and search.has_more):
                run.start(plan, interrupt)
            outcome = _outcome(ledger, interrupt.is_requested, search.spent if search is not None else "")
    finally:
        run.hold_file.unlink(missing_ok=True)
        run.progress.close(outcome)
    return outcome


def _open_search(
    sweep: Sweep, store: Store, ledger: Ledger, retry_failed: bool, name: str
) -> SearchPlan | None:
    if sweep.search is None:
        return None
    # Nodes can be shared out between drivers; who decides what is tried next, and what is given up, is one.
    if others := [run for run in live_runs(store, sweep.name) if run.run != name]:
        what = f"process {others[0].pid} on {others[0].host} runs this search already"
        fix = f"look with dwp-sweep status {sweep.name}; run it again when that one has ended"
        raise InputError(Problem(sweep.name, what, fix))
    from dwp_sweep.harness.search.search_plan import SearchPlan  # imports optuna: for searches only

    return SearchPlan(sweep, store, ledger, retry_failed)


def _set_aside(plan: Plan, store: Store, leases: Leases) -> None:
    for node in plan.damaged:
        if leases.take(node.stage, node.key) is not None:
            continue  # another run has set it aside and builds it
        try:
            store.verify(node.stage, node.key)  # another run may have built it again since it was planned
        except CorruptArtifactError:
            with contextlib.suppress(FileNotFoundError):
                store.set_aside(node.stage, node.key)


@dataclass(frozen=True)
class _Run:
    sweep: Sweep
    store: Store
    tracking: Tracking | None
    ledger: Ledger
    progress: Progress
    address: str | None
    max_concurrent: int | None
    stages: Mapping[str, Stage] | None
    search: SearchPlan | None
    name: str
    leases: Leases
    n_slots: list[int] = field(default_factory=list)
    patience: Patience = field(default_factory=lambda: Patience({}, RememberedMachines()))
    in_vain: list[Problem] = field(default_factory=list)

    @functools.cached_property
    def stop_file(self) -> Mark:
        return stop_file(self.store, self.sweep.name, self.name)

    @functools.cached_property
    def hold_file(self) -> Mark:
        return hold_file(self.store, self.sweep.name, self.name)

    def start(self, plan: Plan, interrupt: Interrupt) -> None:
        if reason := forbids_start(self.sweep.budget):
            self.ledger.start_no_more(reason)
            return
        _set_aside(plan, self.store, self.leases)
        self.build(interrupt)

    def where(self) -> dict[str, str]:
        where = {"MLflow": shown_uri(self.tracking.uri)} if self.tracking is not None else {}
        return where | {"storage": self.store.place}

    def build(self, interrupt: Interrupt) -> None:
        try:
            with ray_session(self.address) as is_local:
                shapes = self.patience.shapes = self._shapes(is_local)
                self._require_seen(shapes)
                self.ledger.watch_by(_Watch(self, interrupt, shapes))
                if not interrupt.is_requested:
                    self._tune(shapes)
        except KeyboardInterrupt:
            interrupt.is_requested = True  # the second Ctrl-C: end at once, the workers die with Ray
        if self.in_vain:
            raise InputError(self.in_vain)

    def _require_seen(self, shapes: Mapping[str, Resources]) -> None:
        if others := other_machines():
            to_build = self.ledger.board.in_state(*OPEN)
            data, root = data_paths(to_build), self.store.root
            if is_url(self.store.place):  # what lies in this machine's mirror is handed over with the nodes
                data = tuple(one for one in data if not Path(one.path).is_relative_to(root))
            folder = None if is_url(self.store.place) else root
            require_seen(folder, data, shapes, others, self.ledger.note)

    def _shapes(self, is_local: bool) -> Mapping[str, Resources]:
        present = machines()
        has_gpu = any(machine.gpu for machine in present)
        to_build = {node.stage for node in self.ledger.board.in_state(*OPEN)}
        # Which stages a search needs is not known before it asks.
        to_build |= set(self.sweep.resources) if self.search is not None else set()
        shapes = {stage: resources_of(stage, self.sweep.resources, has_gpu) for stage in sorted(to_build)}
        problems = impossible(shapes, present)
        if problems and (is_local or not cluster_grows()):
            raise InputError(problems)
        for problem in problems:
            self.ledger.note(f"waits until the cluster grows: {problem}")
        if note := without_effect(self.sweep.budget, shapes):
            self.ledger.note(note)
        n_slots = max((slots(shape, present) for shape in shapes.values()), default=1)
        self.n_slots[:] = [max(1, min(n_slots, self.max_concurrent or n_slots))]
        self.progress.slots(self.n_slots[0])
        record_resources(
            self.store, self.sweep.name, {stage: (shape.cpu, shape.gpu) for stage, shape in shapes.items()}
        )
        return shapes

    def _tune(self, shapes: Mapping[str, Resources]) -> None:
        from dwp_sweep.harness.tune.trainable import TrialContext  # imports ray.tune
        from dwp_sweep.harness.tune.tuner import tune_board

        context = TrialContext(
            root=self.store.place,
            stop_file=stop_name(self.sweep.name, self.name),
            hold_file=hold_name(self.sweep.name, self.name),
            folder=str(Path.cwd()),
            shapes=shapes,
            tracking=self.tracking,
            stages=self.stages,
            every_epoch=self.search is not None and self.search.search.scheduler.kind != "none",
            run=self.name,
            environment=address() if is_url(self.store.place) else {},
        )
        admission = Admission(RememberedMachines(), self.max_concurrent)
        experiment = f"{self.sweep.name}-{self.name}"
        failures = self.sweep.max_failures
        tune_board(
            self.ledger, self.store, context, admission, experiment, failures, self.search, self.leases
        )


@dataclass
class _Facts:
    """What other terminals read of a run; nothing before it has a ledger."""

    run: _Run | None = None

    def __call__(self) -> dict[str, Any]:
        if self.run is None:
            return {}
        return {"n_slots": sum(self.run.n_slots), "in_hand": self.run.ledger.in_hand.entries()}


@dataclass
class _Watch:
    """Looks at every step whether somebody else asked the run to stop, and whether the money is spent."""

    run: _Run
    interrupt: Interrupt
    shapes: Mapping[str, Resources]
    looked_s: float = float("-inf")

    def __call__(self) -> None:
        if time.monotonic() - self.looked_s < _WATCH_EVERY_S:
            return
        self.looked_s = time.monotonic()
        if not self.interrupt.is_requested and self.run.stop_file.exists():
            self.interrupt.request()
        if not self.run.ledger.spent and (problems := self.run.patience.over(self.run.ledger)):
            self.run.in_vain[:] = problems
            self.run.ledger.start_no_more("no machine came that is large enough")
        if not self.run.ledger.spent:
            reason = exhausted(self.run.sweep.budget, spent_by(self.run.ledger, self.shapes))
            if reason:
                self.run.hold_file.touch()  # what Tune has in hand but has not begun does not begin
                self.run.ledger.start_no_more(reason)


def _outcome(ledger: Ledger, is_interrupted: bool, spent_by_search: str = "") -> Outcome:
    states = ledger.board.counts()
    counts = {name: states.get(name, 0) for name in ("done", "cached", "pruned", "failed", "blocked")}
    counts["failed"] += ledger.search.n_impossible
    counts["waiting"] = sum(states.get(name, 0) for name in OPEN) + ledger.search.n_to_ask
    spent = ledger.spent or spent_by_search or ("budget.trials" if ledger.board.held else "")
    spent = "" if ledger.is_broken else spent
    return Outcome(
        exit_code=_exit_code(counts, is_interrupted, bool(spent)),
        counts=counts,
        failed=tuple((node, ledger.messages[node.key]) for node in ledger.board.in_state("failed")),
        blocked=tuple(ledger.board.in_state("blocked")),
        wall_s=time.monotonic() - ledger.started_s,
        spent=spent,
    )


def _exit_code(counts: Mapping[str, int], is_interrupted: bool, is_spent: bool) -> int:
    if counts["waiting"] and is_interrupted:
        return 130
    if counts["waiting"] and is_spent:
        return 3
    return int(bool(counts["failed"] or counts["blocked"] or counts["waiting"]))
