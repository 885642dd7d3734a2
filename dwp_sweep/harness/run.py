"""One sweep as one run: plan, hand out nodes until nothing is left, say how it ended.

The top of the harness, in the order of what happens: `run_sweep` prepares a run, `_Run` builds what is
missing through an `Executor` (on Ray, or in this process), `_outcome` says how it ended. What is cached is
not touched; with nothing to build no executor is opened, so running the same command again is cheap.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dwp_sweep.config.node import Node, entries_of, pipeline_order
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import CorruptArtifactError, InputError, Problem
from dwp_sweep.harness.cost.durations import Durations, PastRuns
from dwp_sweep.harness.dag.budget import beyond_trials, forbids_start, without_effect
from dwp_sweep.harness.dag.failures import FailureAccount
from dwp_sweep.harness.dag.ledger import Event, Ledger, Listener, Outcome
from dwp_sweep.harness.dag.node_state import OPEN
from dwp_sweep.harness.dag.plan import Plan, make_plan
from dwp_sweep.harness.dag.resources import Admission, Resources, impossible, resources_of, slots
from dwp_sweep.harness.dispatch import Dispatch, Executor
from dwp_sweep.harness.in_process import InProcessExecutor
from dwp_sweep.harness.notifier import Notifier
from dwp_sweep.harness.options import RunOptions
from dwp_sweep.harness.stalls import StallRule
from dwp_sweep.harness.stopping import Interrupt, Patience, Watch
from dwp_sweep.harness.taking_over import at_work
from dwp_sweep.harness.trial import TrialContext
from dwp_sweep.harness.view.progress import Progress, default_progress
from dwp_sweep.stages.contract import Stage
from dwp_sweep.stages.workload import workload_of
from dwp_sweep.store.heartbeat import (
    hold_name,
    now_name,
    stop_name,
    wait_for_gc,
)
from dwp_sweep.store.lease import Leases, RunWatch
from dwp_sweep.store.protocol import Mark, Store
from dwp_sweep.store.sweep_record import record_nodes, record_resources
from dwp_sweep.tracking.client import shown_uri

if TYPE_CHECKING:
    from dwp_sweep.harness.search.search_plan import SearchPlan
    from dwp_sweep.tracking.write.parent import Tracking


def run_sweep(
    sweep: Sweep,
    store: Store,
    tracking: Tracking | None = None,
    options: RunOptions | None = None,
    *,
    progress: Progress | None = None,
    stages: Mapping[str, Stage] | None = None,
    plan: Plan | None = None,
    notifier: Notifier | None = None,
    watch: RunWatch | None = None,
) -> Outcome:
    """Build everything of a sweep that is missing.

    Args:
        sweep: Targets and all that they need.
        store: The storage; on a cluster one that all machines see.
        tracking: Where nodes log to; None: they do not log.
        options: How it is run; None: the defaults.
        progress: Shows the run; None: the terminal, or lines where there is none.
        stages: Stages by name, importable in the workers; None: those of the package.
        plan: The sweep's plan where the caller has just made it.
        notifier: Tells people of failures and stalls; None: nobody is told.
        watch: Knows which runs are dead; None: a new one, which knows it later.

    Returns:
        How it ended, with the exit code of the command.

    Raises:
        InputError: A stage asks for resources that no machine has, and none that has them came in time; a
            machine does not see the storage or the data; another process goes on removing things from the
            storage; another driver runs the same search; one process cannot run it.
    """
    options = options or RunOptions()
    options.require_possible(sweep)
    progress = progress or default_progress()
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
    run: _Run | None = None
    # Record first what is needed and that a run is alive: `gc` then keeps what the plan finds.
    record_nodes(store, sweep.name, entries_of(sweep.nodes.values(), sweep.targets))
    watch = watch or RunWatch(store)
    leases = Leases(store, sweep.name, name, watch)
    live_facts = lambda: run.live_facts() if run is not None else {}  # noqa: E731
    working = at_work(sweep, store, name, live_facts, watch, options.wait_for_driver)
    with working as has_waited, contextlib.closing(leases):
        wait_for_gc(store)
        plan = None if has_waited else plan
        if plan is not None:
            cached = (plan.sweep.nodes[key] for key, state in plan.states.items() if state == "cached")
            with store.snapshot():
                if not all(store.is_published(node.stage, node.key) for node in cached):
                    plan = None
        plan = plan or make_plan(sweep, store, options.retry_failed)
        # A search counts its configurations itself: which of them come is not known before it asks.
        held = beyond_trials(plan, None if sweep.search is not None else sweep.budget.trials)
        past = PastRuns.from_store(store, pipeline_order(sweep.nodes.values()))
        failures = FailureAccount(sweep.failures, sweep.search is not None)
        ledger = Ledger(plan, Durations([past.of]), _listener(progress, notifier), held, failures)
        search = _open_search(sweep, store, ledger, options.retry_failed)
        run = _Run(sweep, store, name, options, ledger, search, leases, progress, tracking, stages, notifier)
        return run.to_its_end(plan)


def _listener(progress: Progress, notifier: Notifier | None) -> Listener:
    if notifier is None:
        return progress.event

    def told(event: Event) -> None:
        progress.event(event)
        notifier.event(event)

    return told


def _open_search(sweep: Sweep, store: Store, ledger: Ledger, retry_failed: bool) -> SearchPlan | None:
    if sweep.search is None:
        return None
    from dwp_sweep.harness.search.search_plan import SearchPlan  # imports optuna: for searches only

    return SearchPlan(sweep, store, ledger, retry_failed)


@dataclass
class _Run:
    """What the steps of one run share."""

    sweep: Sweep
    store: Store
    name: str
    options: RunOptions
    ledger: Ledger
    search: SearchPlan | None
    leases: Leases
    progress: Progress
    tracking: Tracking | None
    stages: Mapping[str, Stage] | None
    notifier: Notifier | None = None
    n_slots: int = 0
    hold_file: Mark = field(init=False)

    def __post_init__(self) -> None:
        self.hold_file = self.store.mark(hold_name(self.sweep.name, self.name))

    def live_facts(self) -> Mapping[str, Any]:
        """What other terminals read of it."""
        ledger = self.ledger
        return {
            "n_slots": self.n_slots,
            "in_hand": ledger.in_hand.entries(),
            "mlflow": ledger.unsent.text(),
            "failures": ledger.failures.entries(),
        }

    def to_its_end(self, plan: Plan) -> Outcome:
        """Show the run, build what is missing, and say how it ended."""
        if self.search is not None:  # with the configurations of earlier runs
            nodes = self.sweep.nodes.values()
            record_nodes(self.store, self.sweep.name, entries_of(nodes, self.sweep.targets))
        where = {"MLflow": shown_uri(self.tracking.uri)} if self.tracking is not None else {}
        self.progress.open(self.sweep.name, self.ledger, where | {"storage": self.store.place})
        outcome: Outcome | None = None
        try:
            for note in plan.notes:
                self.ledger.note(note)
            stop, now = (self.store.mark(of(self.sweep.name, self.name)) for of in (stop_name, now_name))
            with Interrupt(stop, now, self.ledger.drain) as interrupt, self._catching_up():
                if self.ledger.board.heads() or (self.search is not None and self.search.has_more):
                    self.start(plan, interrupt)
                spent_by_search = self.search.spent if self.search is not None else ""
                outcome = _outcome(self.ledger, interrupt.is_requested, spent_by_search)
        finally:
            self.hold_file.unlink(missing_ok=True)
            self.progress.close(outcome)
        return outcome

    def _catching_up(self) -> contextlib.AbstractContextManager[object]:
        if self.tracking is None:
            return contextlib.nullcontext()
        from dwp_sweep.tracking.write.catch_up import CatchUp  # imports mlflow: where it is used only

        return CatchUp(self.tracking, self.store.place, self.ledger.unsent)

    def start(self, plan: Plan, interrupt: Interrupt) -> None:
        """Build what is missing, if the budget lets anything start."""
        if reason := forbids_start(self.sweep.budget):
            self.ledger.start_no_more(reason)
            return
        self._set_aside(plan.damaged)
        executor: Executor = InProcessExecutor()
        if not self.options.here:
            from dwp_sweep.harness.tune.executor import TuneExecutor  # imports ray: where it is used only

            executor = TuneExecutor(self.options.address, self.options.max_concurrent)
        in_vain: Sequence[Problem] = ()
        try:
            with executor.open():
                resources_by_stage = self._resources_by_stage(executor)
                dispatch = Dispatch(
                    self.ledger,
                    self.store,
                    Admission(executor.machines, executor.max_concurrent),
                    resources_by_stage,
                    self.search,
                    self.leases,
                    executor.fitting,
                    StallRule(self.ledger.in_hand, self.sweep.failures, self.sweep.resources),
                )
                executor.require_seen(dispatch)
                watch = Watch(
                    ledger=self.ledger,
                    limits=self.sweep.budget,
                    resources_by_stage=resources_by_stage,
                    interrupt=interrupt,
                    hold_file=self.hold_file,
                    patience=Patience(resources_by_stage, executor.machines, self.options.wait_s),
                    is_lost=executor.is_lost,
                    notifier=self.notifier,
                )
                self.ledger.watch = watch
                if not interrupt.is_requested:
                    context = self._trial_context(resources_by_stage)
                    executor.drain(dispatch, context, f"{self.sweep.name}-{self.name}")
                in_vain = watch.in_vain
        except KeyboardInterrupt:
            interrupt.is_requested = True  # the second signal: end at once, the workers die with Ray
        if in_vain:
            raise InputError(in_vain)

    def _set_aside(self, damaged: Iterable[Node]) -> None:
        for node in damaged:
            if self.leases.take(node.stage, node.key) is not None:
                continue  # another run has set it aside and builds it
            try:
                self.store.verify(node.stage, node.key)  # another run may have rebuilt it since the plan
            except CorruptArtifactError:
                with contextlib.suppress(FileNotFoundError):
                    self.store.set_aside(node.stage, node.key)

    def _resources_by_stage(self, executor: Executor) -> Mapping[str, Resources]:
        """What a trial of each stage asks for; the display shows it, other terminals read it."""
        present = executor.machines()
        to_build = {node.stage for node in self.ledger.board.in_state(*OPEN)}
        # Which stages a search needs is not known before it asks.
        to_build |= set(self.sweep.resources) if self.search is not None else set()
        has_gpu = any(machine.gpu for machine in present)
        resources_by_stage = {
            stage: resources_of(stage, self.sweep.resources, has_gpu) for stage in sorted(to_build)
        }
        problems = impossible(resources_by_stage, present)
        if problems and not executor.grows():
            raise InputError(problems)
        for problem in problems:
            self.ledger.note(f"waits until the cluster grows: {problem}")
        if note := without_effect(self.sweep.budget, resources_by_stage):
            self.ledger.note(note)
        n_slots = max((slots(resources, present) for resources in resources_by_stage.values()), default=1)
        self.n_slots = max(1, min(n_slots, executor.max_concurrent or n_slots))
        self.progress.slots(self.n_slots)
        amounts = {stage: (resources.cpu, resources.gpu) for stage, resources in resources_by_stage.items()}
        record_resources(self.store, self.sweep.name, amounts)
        return resources_by_stage

    def _trial_context(self, resources_by_stage: Mapping[str, Resources]) -> TrialContext:
        return TrialContext(
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
            take_any_gpu=frozenset(
                stage
                for stage, resources in resources_by_stage.items()
                if not resources.gpu and self._gpu_is_automatic(stage)
            ),
        )

    def _gpu_is_automatic(self, stage: str) -> bool:
        config = self.sweep.resources.get(stage)
        return (config is None or config.gpu is None) and workload_of(stage).gpu > 0


def _outcome(ledger: Ledger, is_interrupted: bool, spent_by_search: str = "") -> Outcome:
    states = ledger.board.counts()
    counts = {name: states.get(name, 0) for name in ("done", "cached", "pruned", "failed", "blocked")}
    counts["failed"] += ledger.search.n_impossible
    counts["waiting"] = sum(states.get(name, 0) for name in OPEN) + ledger.search.n_to_ask
    reason = ledger.spent if ledger.is_broken else ""
    spent = ledger.spent or spent_by_search or ("budget.trials" if ledger.board.held else "")
    spent = "" if ledger.is_broken else spent
    by_host = tuple(ledger.failures.by_host())
    exit_code = int(bool(counts["failed"] or counts["blocked"] or counts["waiting"]))
    if counts["waiting"] and (is_interrupted or spent):
        exit_code = 130 if is_interrupted else 3
    return Outcome(
        exit_code=exit_code,
        counts=counts,
        failed=tuple((node, ledger.messages[node.key]) for node in ledger.board.in_state("failed")),
        blocked=tuple(ledger.board.in_state("blocked")),
        wall_s=ledger.wall_s,
        spent=spent,
        reason=reason,
        by_host=by_host,
    )
