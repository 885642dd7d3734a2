"""One sweep as one run: plan, hand out nodes until nothing is left, say how it ended.

The top of the harness. Where nodes are computed is an `Executor`'s matter: on Ray, or in this process. What
is cached is not touched; with nothing to build no executor is opened, so running the same command again is
cheap and always right.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dwp_sweep.config.node import Node, entries_of, pipeline_order
from dwp_sweep.config.sections import BudgetConfig
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import CorruptArtifactError, InputError, Problem
from dwp_sweep.harness.cancel import Interrupt
from dwp_sweep.harness.cluster.autoscaling import DEFAULT_WAIT_S, Patience
from dwp_sweep.harness.cost.durations import Durations
from dwp_sweep.harness.cost.past_runs import PastRuns
from dwp_sweep.harness.dag.budget import beyond_trials, exhausted, forbids_start, spent_by, without_effect
from dwp_sweep.harness.dag.ledger import Ledger, Outcome
from dwp_sweep.harness.dag.node_state import OPEN
from dwp_sweep.harness.dag.plan import Plan, make_plan
from dwp_sweep.harness.dag.slots import Admission, Resources, impossible, resources_of, slots
from dwp_sweep.harness.dispatch import Dispatch
from dwp_sweep.harness.here import HereExecutor, require_no_cluster, require_no_early_stopping
from dwp_sweep.harness.trial import TrialContext
from dwp_sweep.harness.tune.executor import TuneExecutor
from dwp_sweep.harness.view.progress import Progress, default_progress
from dwp_sweep.stages.contract import Stage
from dwp_sweep.store.gc_lock import wait_for_gc
from dwp_sweep.store.heartbeat import Heartbeat, hold_file, hold_name, live_runs, stop_file, stop_name
from dwp_sweep.store.lease import Leases
from dwp_sweep.store.protocol import Mark, Store
from dwp_sweep.store.sweep_record import record_nodes, record_resources
from dwp_sweep.tracking.client import shown_uri

if TYPE_CHECKING:
    from dwp_sweep.harness.search.search_plan import SearchPlan
    from dwp_sweep.tracking.write.parent import Tracking

_WATCH_EVERY_S = 0.5


class Executor(Protocol):
    """Where nodes are computed: `TuneExecutor` or `HereExecutor`.

    Attributes:
        max_concurrent: Upper bound on nodes at once; None: as the machines allow.
    """

    max_concurrent: int | None

    def open(self) -> AbstractContextManager[None]:
        """Its machines, for the time of the context; everything below is called inside."""

    def machines(self) -> Sequence[Resources]:
        """What the machines that are alive have."""

    def grows(self) -> bool:
        """Whether larger machines may come."""

    def require_seen(
        self,
        nodes: Collection[Node],
        resources_by_stage: Mapping[str, Resources],
        store: Store,
        tell: Callable[[str], None],
    ) -> None:
        """Make sure that every machine sees what the nodes read.

        Raises:
            InputError: One does not.
        """

    def drain(self, dispatch: Dispatch, context: TrialContext, experiment: str) -> None:
        """Compute nodes until `Dispatch` has none left; ``experiment`` is a unique name."""


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
    here: bool = False,
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
        here: Compute all nodes in this process, one after the other, without Ray.

    Returns:
        How it ended, with the exit code of the command.

    Raises:
        InputError: A stage asks for resources that no machine has, and none that has them came in time; a
            machine does not see the storage or the data; somebody goes on removing things from the storage;
            another driver runs the same search; what is asked for cannot be done in one process.
    """
    if here:
        require_no_cluster(address)
        require_no_early_stopping(sweep)
    executor: Executor = HereExecutor() if here else TuneExecutor(address, max_concurrent)
    progress = progress or default_progress()
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
    facts = _LiveFacts()
    # First say what is needed and that somebody is here: only then is what the plan finds there to stay.
    record_nodes(store, sweep.name, entries_of(sweep.nodes.values(), sweep.targets))
    leases = Leases(store, sweep.name, name)
    with Heartbeat(store, sweep.name, name, facts), contextlib.closing(leases):
        wait_for_gc(store)
        if plan is None or not _holds(plan, store):
            plan = make_plan(sweep, store, retry_failed)
        ledger = facts.ledger = _ledger(sweep, store, plan, progress)
        search = _open_search(sweep, store, ledger, retry_failed, name)
        run = _Run(
            sweep, store, name, ledger, search, leases, executor, progress, facts, tracking, stages, wait_s
        )
        return run.to_its_end(plan)


def _holds(plan: Plan, store: Store) -> bool:
    """Whether what a plan found on the storage is there yet."""
    cached = (plan.sweep.nodes[key] for key, state in plan.states.items() if state == "cached")
    with store.snapshot():
        return all(store.is_published(node.stage, node.key) for node in cached)


def _ledger(sweep: Sweep, store: Store, plan: Plan, progress: Progress) -> Ledger:
    # A search counts its configurations itself: which of them come is not known before it asks.
    held = beyond_trials(plan, None if sweep.search is not None else sweep.budget.trials)
    past = PastRuns.from_store(store, pipeline_order(sweep.nodes.values()))
    return Ledger(plan, Durations([past.of]), progress.event, held)


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


@dataclass
class _LiveFacts:
    """What other terminals read of a run; nothing before it has a ledger."""

    ledger: Ledger | None = None
    n_slots: int = 0

    def __call__(self) -> dict[str, Any]:
        return (
            {} if self.ledger is None else {"n_slots": self.n_slots, "in_hand": self.ledger.in_hand.entries()}
        )


@dataclass(frozen=True)
class _Run:
    """What the steps of one run share; what changes is the ledger, the search and the facts."""

    sweep: Sweep
    store: Store
    name: str
    ledger: Ledger
    search: SearchPlan | None
    leases: Leases
    executor: Executor
    progress: Progress
    facts: _LiveFacts
    tracking: Tracking | None
    stages: Mapping[str, Stage] | None
    wait_s: float

    def to_its_end(self, plan: Plan) -> Outcome:
        """Show the run, build what is missing, and say how it ended."""
        if self.search is not None:  # with what earlier runs have asked for
            nodes = self.sweep.nodes.values()
            record_nodes(self.store, self.sweep.name, entries_of(nodes, self.sweep.targets))
        where = {"MLflow": shown_uri(self.tracking.uri)} if self.tracking is not None else {}
        self.progress.open(self.sweep.name, self.ledger, where | {"storage": self.store.place})
        outcome: Outcome | None = None
        try:
            for note in plan.notes:
                self.ledger.note(note)
            with Interrupt(stop_file(self.store, self.sweep.name, self.name), self.ledger.drain) as interrupt:
                if self.ledger.board.heads() or (self.search is not None and self.search.has_more):
                    self.start(plan, interrupt)
                spent_by_search = self.search.spent if self.search is not None else ""
                outcome = _outcome(self.ledger, interrupt.is_requested, spent_by_search)
        finally:
            hold_file(self.store, self.sweep.name, self.name).unlink(missing_ok=True)
            self.progress.close(outcome)
        return outcome

    def start(self, plan: Plan, interrupt: Interrupt) -> None:
        """Build what is missing, if the budget lets anything start."""
        if reason := forbids_start(self.sweep.budget):
            self.ledger.start_no_more(reason)
            return
        _set_aside(plan, self.store, self.leases)
        in_vain: Sequence[Problem] = ()
        try:
            with self.executor.open():
                resources_by_stage = self._resources_by_stage()
                to_build = self.ledger.board.in_state(*OPEN)
                self.executor.require_seen(to_build, resources_by_stage, self.store, self.ledger.note)
                watch = _Watch(
                    ledger=self.ledger,
                    limits=self.sweep.budget,
                    resources_by_stage=resources_by_stage,
                    interrupt=interrupt,
                    hold_file=hold_file(self.store, self.sweep.name, self.name),
                    patience=Patience(resources_by_stage, self.executor.machines, self.wait_s),
                )
                self.ledger.watch_by(watch)
                if not interrupt.is_requested:
                    self._drain(resources_by_stage)
                in_vain = watch.in_vain
        except KeyboardInterrupt:
            interrupt.is_requested = True  # the second Ctrl-C: end at once, the workers die with Ray
        if in_vain:
            raise InputError(in_vain)

    def _resources_by_stage(self) -> Mapping[str, Resources]:
        """What a trial of each stage asks for; told to the display and kept for other terminals."""
        present = self.executor.machines()
        to_build = {node.stage for node in self.ledger.board.in_state(*OPEN)}
        # Which stages a search needs is not known before it asks.
        to_build |= set(self.sweep.resources) if self.search is not None else set()
        has_gpu = any(machine.gpu for machine in present)
        resources_by_stage = {
            stage: resources_of(stage, self.sweep.resources, has_gpu) for stage in sorted(to_build)
        }
        problems = impossible(resources_by_stage, present)
        if problems and not self.executor.grows():
            raise InputError(problems)
        for problem in problems:
            self.ledger.note(f"waits until the cluster grows: {problem}")
        if note := without_effect(self.sweep.budget, resources_by_stage):
            self.ledger.note(note)
        n_slots = max((slots(resources, present) for resources in resources_by_stage.values()), default=1)
        self.facts.n_slots = max(1, min(n_slots, self.executor.max_concurrent or n_slots))
        self.progress.slots(self.facts.n_slots)
        amounts = {stage: (resources.cpu, resources.gpu) for stage, resources in resources_by_stage.items()}
        record_resources(self.store, self.sweep.name, amounts)
        return resources_by_stage

    def _drain(self, resources_by_stage: Mapping[str, Resources]) -> None:
        admission = Admission(self.executor.machines, self.executor.max_concurrent)
        max_lost = self.sweep.max_failures
        dispatch = Dispatch(
            self.ledger, self.store, admission, resources_by_stage, max_lost, self.search, self.leases
        )
        context = TrialContext(
            root=self.store.place,
            stop_file=stop_name(self.sweep.name, self.name),
            hold_file=hold_name(self.sweep.name, self.name),
            folder=str(Path.cwd()),
            resources_by_stage=resources_by_stage,
            tracking=self.tracking,
            stages=self.stages,
            every_epoch=self.search is not None and self.search.search.scheduler.kind != "none",
            run=self.name,
            environment=self.store.environment(),
        )
        self.executor.drain(dispatch, context, f"{self.sweep.name}-{self.name}")


@dataclass
class _Watch:
    """Looks at every step whether somebody else asked the run to stop, and whether the money is spent."""

    ledger: Ledger
    limits: BudgetConfig
    resources_by_stage: Mapping[str, Resources]
    interrupt: Interrupt
    hold_file: Mark
    patience: Patience
    in_vain: Sequence[Problem] = ()
    looked_s: float = float("-inf")

    def __call__(self) -> None:
        if time.monotonic() - self.looked_s < _WATCH_EVERY_S:
            return
        self.looked_s = time.monotonic()
        if not self.interrupt.is_requested and self.interrupt.stop_file.exists():
            self.interrupt.request()
        if not self.ledger.spent and (problems := self.patience.over(self.ledger)):
            self.in_vain = problems
            self.ledger.start_no_more("no machine came that is large enough")
        if not self.ledger.spent:
            reason = exhausted(self.limits, spent_by(self.ledger, self.resources_by_stage))
            if reason:
                self.hold_file.touch()  # what Tune has in hand but has not begun does not begin
                self.ledger.start_no_more(reason)


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
        wall_s=ledger.wall_s,
        spent=spent,
    )


def _exit_code(counts: Mapping[str, int], is_interrupted: bool, is_spent: bool) -> int:
    if counts["waiting"] and is_interrupted:
        return 130
    if counts["waiting"] and is_spent:
        return 3
    return int(bool(counts["failed"] or counts["blocked"] or counts["waiting"]))
