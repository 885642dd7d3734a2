"""Which node an executor computes next, and what became of it: leases, search and store in one place.

All executors share it: each asks `next_node` for work, and says with `close` that a trial
has ended. What a trial achieved is read from the store, not from the executor: a trial can be stopped,
aborted or reported twice, the store cannot.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from dwp_sweep.config.node import Node, node_values
from dwp_sweep.harness.dag.failures import WORDS, FailureKind, Place, kind_of
from dwp_sweep.harness.dag.in_hand import Work
from dwp_sweep.harness.dag.ledger import Ledger
from dwp_sweep.harness.dag.resources import Admission, Resources
from dwp_sweep.harness.dag.unsent import UNSENT_SINCE
from dwp_sweep.harness.stalls import StallRule
from dwp_sweep.harness.trial import TrialContext
from dwp_sweep.passwords import without_secrets
from dwp_sweep.stages.contract import SCANS, SCANS_READ, SCANS_SCORED
from dwp_sweep.stages.workload import OBJECTIVE_STAGE
from dwp_sweep.store.lease import Leases
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import Record, first_line

if TYPE_CHECKING:
    from dwp_sweep.harness.search.search_plan import SearchPlan

_LOOK_EVERY_S = 1.0
NOWHERE = Place()


class Executor(Protocol):
    """Where nodes are computed: `TuneExecutor` or `InProcessExecutor`.

    Attributes:
        max_concurrent: Upper bound on nodes at once; None: as the machines allow.
    """

    max_concurrent: int | None

    def open(self) -> AbstractContextManager[None]:
        """Its machines, for the time of the context; everything below is called inside."""

    def machines(self) -> Sequence[Resources]:
        """What the machines that are alive have."""

    def fitting(self, resources: Resources) -> Collection[str]:
        """Names of the machines that have so much; none where machines have no names."""

    def grows(self) -> bool:
        """Whether larger machines may come."""

    def is_lost(self) -> bool:
        """Whether its machines are gone for good, so that no node in hand will ever end."""

    def require_seen(self, dispatch: Dispatch) -> None:
        """Make sure that every machine sees what the nodes read.

        Raises:
            InputError: One does not.
        """

    def drain(self, dispatch: Dispatch, context: TrialContext, experiment: str) -> None:
        """Compute nodes until `Dispatch` has none left; ``experiment`` is a unique name."""


class Dispatch:
    """Hands out a board's nodes and settles them.

    Args:
        ledger: State of the nodes.
        store: Where the truth is.
        admission: How many trials the executor may have.
        resources_by_stage: Stage -> resources of its trials.
        search: Brings further nodes when there is room; None: the board's nodes are all there are.
        leases: Keep other runs from building what this one builds; None: no other run works on the storage.
        stalls: Says which of the running nodes have stalled; None: none ever does.
        fitting: Resources -> Ray's names of the machines that have them; None: machines have no names.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        admission: Admission,
        resources_by_stage: Mapping[str, Resources],
        search: SearchPlan | None = None,
        leases: Leases | None = None,
        fitting: Callable[[Resources], Collection[str]] | None = None,
        stalls: StallRule | None = None,
    ) -> None:
        self.ledger, self.store, self.search = ledger, store, search
        self.resources_by_stage = resources_by_stage
        self._admission, self._leases, self._fitting = admission, leases, fitting
        self._stalls = stalls
        self._looked_s = float("-inf")
        if search is not None:
            search.resources = resources_by_stage[OBJECTIVE_STAGE]

    @property
    def is_finished(self) -> bool:
        """Whether nothing is in hand and nothing more will be handed out."""
        if not self.ledger.is_finished:
            return False
        return self.search is None or self.ledger.is_stopping or self.search.is_finished

    def next_node(self, trial_id: str) -> Node | None:
        """A node for a trial, which has it then; None while there is none, and when `is_finished`."""
        self.ledger.watch()
        self._look_at_others()
        try:
            node = self._next_or_new()
            while node is not None and not self._is_ours_to_build(node):
                node = self._next_or_new()
            if node is not None:
                self.store.clear_failure(node.stage, node.key)
                self.store.hand_over(node.stage, node.key, node_values(node))
                self._admission.take(trial_id, self.resources_by_stage[node.stage])
                self.ledger.hand_out(node, trial_id)
            return node
        except OSError as error:
            self.ledger.start_no_more(f"the storage cannot be written ({error})", is_broken=True)
            return None

    def avoided(self, stage: str) -> tuple[str, ...]:
        """Machines that get no node of a stage, by Ray's names: too much has failed there."""
        if self._fitting is None or not self.ledger.failures.has_bad_places:
            return ()
        return self.ledger.failures.avoided(self._fitting(self.resources_by_stage[stage]))

    def stalled(self) -> Mapping[str, str]:
        """Trial -> why it has stalled, in words; the executor ends these and closes them."""
        return self._stalls.stalled() if self._stalls is not None else {}

    def reported(self, trial_id: str, epoch: int, n_epochs: int, metrics: Mapping[str, float]) -> None:
        """Pass an epoch, or the scans read before the first one, on to the ledger."""
        metrics = dict(metrics)
        unsent_since_ms = int(metrics.pop(UNSENT_SINCE, 0))
        work = self.ledger.in_hand.work.get(trial_id)
        if work is not None and self.ledger.unsent.reported(work.node, unsent_since_ms):
            self.ledger.note("MLflow does not answer: nodes go on, and their epochs are sent once it does")
        if epoch:
            self.ledger.progressed(trial_id, epoch, n_epochs, metrics)
            if self.search is not None and (work := self.ledger.in_hand.work.get(trial_id)) is not None:
                self.search.reported(work.node.key, epoch, metrics)
        elif SCANS in metrics:
            doing, n_done = ("scoring", SCANS_SCORED) if SCANS_SCORED in metrics else ("reading", SCANS_READ)
            self.ledger.reads(trial_id, int(metrics[n_done]), int(metrics[SCANS]), doing)

    def close(
        self,
        trial_id: str,
        is_stopped: bool = False,
        lost: str = "",
        is_unsent: bool = False,
        kind: FailureKind = "lost",
        place: Place = NOWHERE,
    ) -> None:
        """A trial has ended: read from the store what became of its node. A second call does nothing.

        Args:
            trial_id: The trial.
            is_stopped: The node left at its checkpoint because the run is draining.
            lost: Why the worker was lost, if it was.
            is_unsent: MLflow lacks the end of the node.
            kind: What ended a lost one.
            place: Where it ran.
        """
        work = self.ledger.in_hand.work.get(trial_id)
        if work is None:
            return
        self._admission.release(trial_id)
        node = work.node
        self.ledger.unsent.closed(node, is_unsent)
        record = self.store.record(node.stage, node.key)
        if self.store.is_published(node.stage, node.key):
            self.ledger.failures.succeeded(node.stage, place)
            self._published(node)
        elif record is not None and record.status == "failed":
            message, place = first_line(record.error), place._replace(host=record.host or place.host)
            if not self._tried_again(work, message, kind_of(record.failure), place):
                self._failed(node, message)
        elif record is not None and record.status == "pruned":
            self.ledger.pruned(node, first_line(record.error))
        elif is_stopped or self.ledger.is_draining or (self.ledger.spent and work.started_s is None):
            self.ledger.stopped(node)
        else:
            self._lost(work, lost or "its trial ended without a result", kind, place)
        if self._leases is not None:
            self._leases.release(node.stage, node.key)
        if self.search is not None:
            self.search.update()

    def _next_or_new(self) -> Node | None:
        """A ready node; where none is and there is room, one that the search brings."""
        node = self._next()
        while node is None and self.search is not None and self._has_room() and self.search.start_next():
            node = self._next()
        return node

    def _has_room(self) -> bool:
        resources = self.resources_by_stage[OBJECTIVE_STAGE]
        if self.search is not None:
            self.search.n_slots = self._admission.n_slots(resources)  # clusters grow and shrink
        # A cluster that has to grow first has no room, and grows only for nodes that are handed out.
        return not self.ledger.in_hand.work or self._admission.has_room(resources)

    def _next(self) -> Node | None:
        """The most urgent ready node whose resources are free: all nodes of a stage ask for the same."""
        return self.ledger.board.next(lambda stage: self._admission.admits(self.resources_by_stage[stage]))

    def _is_ours_to_build(self, node: Node) -> bool:
        """Whether a ready node is missing and no other run builds it; else the ledger notes who does."""
        holder = None
        if self._leases is not None and not self.store.is_published(node.stage, node.key):
            holder = self._leases.take(node.stage, node.key)
        if holder is not None:
            self.ledger.left_to(node, f"another run on {holder.host} (sweep {holder.sweep})")
            return False
        # Looked up under the lease: whoever had it before may have published the node just now.
        if self.store.is_published(node.stage, node.key):
            self._published(node, by_other=True)
            return False
        return True

    def _look_at_others(self) -> None:
        """Take up nodes that another run has ended, or given back, or died over."""
        # Each look is some requests where the storage is a bucket, and the executor waits for them.
        every_s = max(_LOOK_EVERY_S, 5 * self.store.files.look_every_s)
        if self._leases is None or time.monotonic() - self._looked_s < every_s:
            return
        self._looked_s = time.monotonic()
        for node in self.ledger.leased_by_others():
            with contextlib.suppress(OSError):  # a storage that stutters: the next look comes soon
                self._look_at(node, self._leases)

    def _look_at(self, node: Node, leases: Leases) -> None:
        record = self.store.record(node.stage, node.key)
        if self.store.is_published(node.stage, node.key):
            self._published(node, by_other=True)
        elif leases.other(node.stage, node.key) is not None:
            return
        elif record is not None and record.status == "failed":  # it was cleared when that run began it
            self.ledger.failed(node, first_line(record.error))
        else:
            self.ledger.retry(node, "the run that was building it has ended without it")

    def _published(self, node: Node, by_other: bool = False) -> None:
        record = self.store.record(node.stage, node.key)
        wall_s, metrics = (record.wall_s, record.metrics) if record else (0.0, {})
        self.ledger.published(node, wall_s, metrics, by_other)
        if self._leases is not None:
            self._leases.release(node.stage, node.key)

    def _tried_again(self, work: Work, reason: str, kind: FailureKind, place: Place) -> bool:
        """Count a failed attempt; whether its node goes back to those that may start."""
        failures = self.ledger.failures
        if failures.attempt_failed(kind, place) and self.avoided(work.node.stage):
            n = failures.config.per_host
            what = f"{place.host}: {n} attempts in a row ended there ({WORDS[kind]})"
            self.ledger.note(f"{what}; it gets no further node while there is another machine")
        if not failures.may_retry(work.node.key, kind, work.epoch):
            return False
        self.ledger.retry(work.node, f"{first_line(reason)}; it goes on from its checkpoint")
        return True

    def _failed(self, node: Node, message: str) -> None:
        self.ledger.failed(node, message)
        if (reason := self.ledger.failures.failed(node.stage)) and not self.ledger.is_draining:
            self.ledger.start_no_more(reason, is_broken=True)

    def _lost(self, work: Work, reason: str, kind: FailureKind, place: Place) -> None:
        if self._tried_again(work, reason, kind, place):
            return
        node = work.node
        with contextlib.suppress(OSError):  # a full disk: the next run tries it without a record
            self.store.write_failure(
                Record(
                    key=node.key,
                    stage=node.stage,
                    status="failed",
                    config=dict(node.config),
                    inputs={role: [key for _, key in pairs] for role, pairs in node.inputs.items()},
                    labels=dict(node.labels),
                    started_ms=time.time_ns() // 1_000_000,
                    host=place.host,
                    error=without_secrets(reason),
                    failure=kind,
                )
            )
        self._failed(node, first_line(reason))
