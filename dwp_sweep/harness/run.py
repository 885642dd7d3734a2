"""One sweep as one Ray Tune run: plan, start Ray, hand out nodes until nothing is left, say how it ended.

The top of the harness. What is cached is not touched; with nothing to build Ray is not even started, so
running the same command again is cheap and always right.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import InputError
from dwp_sweep.harness.board import Board
from dwp_sweep.harness.estimate import Estimate
from dwp_sweep.harness.events import Outcome
from dwp_sweep.harness.interrupt import Interrupt
from dwp_sweep.harness.plan import Plan, make_plan
from dwp_sweep.harness.progress import Progress, default_progress
from dwp_sweep.harness.ray_session import RememberedMachines, machines, ray_session
from dwp_sweep.harness.slots import Admission, Shape, impossible, shape_of, slots
from dwp_sweep.stages.contract import Stage
from dwp_sweep.store.store import Store
from dwp_sweep.tracking.client import shown_uri

if TYPE_CHECKING:
    from dwp_sweep.tracking.client import Tracking

_OPEN = ("ready", "waiting", "queued", "running")


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
) -> Outcome:
    """Build everything of a sweep that is missing.

    Args:
        sweep: Targets and all that they need.
        store: The storage; on a cluster a folder that all machines share.
        tracking: Where nodes log to; None: nowhere.
        address: Of an existing Ray cluster; None: see `ray_session`.
        retry_failed: Whether nodes that failed in an earlier run are tried again.
        max_concurrent: Upper bound on nodes at once.
        progress: Shows the run; None: the terminal, or lines where there is none.
        stages: Stages by name, importable in the workers; None: those of the package.
        plan: The sweep's plan where the caller has just made it.

    Returns:
        How it ended, with the exit code of the command.

    Raises:
        InputError: A stage asks for resources that no machine of the local Ray has.
    """
    plan = plan or make_plan(sweep, store, retry_failed)
    progress = progress or default_progress()
    board = Board(plan, Estimate.from_store(sweep.nodes.values(), store), progress.event)
    run = _Run(sweep, store, tracking, board, progress, address, max_concurrent, stages)
    progress.open(sweep.name, board, run.where())
    outcome: Outcome | None = None
    try:
        for note in plan.notes:
            board.note(note)
        with Interrupt(run.stop_file, board.drain) as interrupt:
            if plan.to_build:
                _set_aside(plan, store)
                run.build(interrupt)
            outcome = _outcome(board, interrupt.is_requested)
    finally:
        progress.close(outcome)
    return outcome


def _set_aside(plan: Plan, store: Store) -> None:
    for node in plan.damaged:
        with contextlib.suppress(FileNotFoundError):  # another run of the same sweep has just done it
            store.set_aside(node.stage, node.key)


@dataclass(frozen=True)
class _Run:
    sweep: Sweep
    store: Store
    tracking: Tracking | None
    board: Board
    progress: Progress
    address: str | None
    max_concurrent: int | None
    stages: Mapping[str, Stage] | None
    name: str = field(default_factory=lambda: f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}")

    @property
    def stop_file(self) -> Path:
        return self.store.sweep_dir(self.sweep.name) / f"stop-{self.name}"

    def where(self) -> dict[str, str]:
        where = {"MLflow": shown_uri(self.tracking.uri)} if self.tracking is not None else {}
        return where | {"storage": str(self.store.root)}

    def build(self, interrupt: Interrupt) -> None:
        try:
            with ray_session(self.address) as is_local:
                shapes = self._shapes(is_local)
                if not interrupt.is_requested:
                    self._tune(shapes)
        except KeyboardInterrupt:
            interrupt.is_requested = True  # the second Ctrl-C: end at once, the workers die with Ray

    def _shapes(self, is_local: bool) -> Mapping[str, Shape]:
        present = machines()
        has_gpu = any(machine.gpu for machine in present)
        to_build = {self.board.nodes[key].stage for key, state in self.board.states.items() if state in _OPEN}
        shapes = {stage: shape_of(stage, self.sweep.resources, has_gpu) for stage in sorted(to_build)}
        problems = impossible(shapes, present)
        if problems and is_local:
            raise InputError(problems)
        for problem in problems:
            self.board.note(f"waits until the cluster grows: {problem}")
        n_slots = max((slots(shape, present) for shape in shapes.values()), default=1)
        self.progress.slots(max(1, min(n_slots, self.max_concurrent or n_slots)))
        return shapes

    def _tune(self, shapes: Mapping[str, Shape]) -> None:
        from dwp_sweep.harness.trainable import TrialContext  # imports ray.tune
        from dwp_sweep.harness.tuning import tune_board

        context = TrialContext(
            root=str(self.store.root),
            stop_file=str(self.stop_file),
            folder=str(Path.cwd()),
            shapes=shapes,
            tracking=self.tracking,
            stages=self.stages,
        )
        admission = Admission(RememberedMachines(), self.max_concurrent)
        experiment = f"{self.sweep.name}-{self.name}"
        tune_board(self.board, self.store, context, admission, experiment, self.sweep.max_failures)


def _outcome(board: Board, is_interrupted: bool) -> Outcome:
    states = board.counts()
    counts = {name: states.get(name, 0) for name in ("done", "cached", "failed", "blocked")}
    counts["waiting"] = sum(states.get(name, 0) for name in _OPEN)
    is_incomplete = bool(counts["failed"] or counts["blocked"] or counts["waiting"])
    return Outcome(
        exit_code=130 if is_interrupted and counts["waiting"] else int(is_incomplete),
        counts=counts,
        failed=tuple((node, board.messages[node.key]) for node in board.in_state("failed")),
        blocked=tuple(board.in_state("blocked")),
        wall_s=time.monotonic() - board.started_s,
    )
