"""The account of one run: its board, what is in hand, messages, why nothing more starts; and its events.

Executors and the search report what happens; the ledger moves the board, learns durations and passes events
on to the displays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from dwp_sweep.config.node import Node
from dwp_sweep.harness.cost.durations import Durations
from dwp_sweep.harness.dag.board import Board
from dwp_sweep.harness.dag.failures import FailureAccount, HostFailures
from dwp_sweep.harness.dag.in_hand import InHand
from dwp_sweep.harness.dag.node_state import LEFT_FAILED, NodeState
from dwp_sweep.harness.dag.plan import Plan
from dwp_sweep.harness.dag.unsent import Unsent

EventKind = Literal[
    "started", "reading", "epoch", "done", "failed", "blocked", "retry", "stopped", "pruned",
    "leased_by_other", "published_by_other", "note", "stalled", "trial",
]  # fmt: skip


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: What happened; ``reading``: scans are prepared, ``retry``: the node is tried once more,
            ``stopped``: it left at its checkpoint, ``pruned``: a search gave it up, ``leased_by_other``:
            another run is building it, ``published_by_other``: another run has published it, ``stalled``: it
            stands still, ``trial``: a configuration of a search has ended.
        node: The node; None for a ``note`` and a ``trial``.
        text: Message of a failure, reason, how far the reading is, or the note itself; one line.
        wall_s: Seconds of work, for ``done``.
        metrics: Last metrics, for ``done`` and ``epoch``.
        epoch: Epochs done, for ``epoch``.
        n_epochs: Largest number of epochs, for ``epoch``.
    """

    kind: EventKind
    node: Node | None = None
    text: str = ""
    wall_s: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    epoch: int = 0
    n_epochs: int = 0


AtEnd = Literal["finish", "checkpoint"]
_AT_END: Mapping[AtEnd, str] = {
    "finish": "go on to their end",
    "checkpoint": "leave at their checkpoints",
}

Listener = Callable[[Event], None]


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        exit_code: 0 all done, 1 some node failed or was blocked, 3 stopped by the budget, 130 interrupted.
        counts: State -> number of nodes: ``done`` (built now), ``cached``, ``failed``, ``blocked``,
            ``waiting`` (left over by an interruption or the budget; configurations not asked for
            count as one each), ``pruned`` (given up by a search).
        failed: Failed nodes with their one-line messages.
        blocked: Nodes that descend from a failed one.
        wall_s: Seconds of the run.
        spent: Which budget ended it, in words; empty: none.
        reason: What else ended it before all was tried, in words: failures, the storage; empty: nothing.
        by_host: Where attempts failed, those that were tried again included.
    """

    exit_code: int
    counts: Mapping[str, int]
    failed: tuple[tuple[Node, str], ...] = ()
    blocked: tuple[Node, ...] = ()
    wall_s: float = 0.0
    spent: str = ""
    reason: str = ""
    by_host: tuple[HostFailures, ...] = ()


@dataclass(frozen=True)
class SearchCounts:
    """How far a search is.

    Attributes:
        n_to_ask: Configurations that it has not asked for yet: their nodes are unknown.
        n_impossible: Configurations that make no experiment: they failed without any node.
        n_studies: Its studies; 0 where nothing is searched for.
        n_repeats: Target nodes of one configuration.
        n_by_state: ``open``, ``complete``, ``pruned``, ``failed`` -> number of configurations.
        best: The best configuration of each study so far, in words.
        n_left_open: Configurations whose shared inputs failed: they wait for the next run.
    """

    n_to_ask: int = 0
    n_impossible: int = 0
    n_studies: int = 0
    n_repeats: int = 1
    n_by_state: Mapping[str, int] = field(default_factory=dict)
    best: tuple[str, ...] = ()
    n_left_open: int = 0


class Ledger:
    """Bookkeeping of one run.

    Args:
        plan: What is to be built.
        durations: Of nodes; learns from every node that ends.
        listener: Receives every event.
        held: Keys of nodes that are never handed out in this run.
        failures: What is made of failures; None: the defaults.

    Attributes:
        board: State of every node.
        in_hand: What trials work on, and the time they have used.
        durations: Of nodes.
        messages: Key -> one line, of failed nodes.
        failures: What failed where.
        builders: Key -> who builds it, for nodes that another run builds now.
        search: How far the search is; the search sets it.
        unsent: What MLflow lacks while it is away.
        watch: Executors call it whenever they ask for work or a step of them ends; the run sets it and may
            stop by it.
        spent: Why nothing more starts although running nodes go on to their end; empty: more starts.
        is_broken: Whether the reason is no spent budget: failures, or something outside the run.
        is_draining: Whether running nodes leave at their checkpoints.
        says_draining: Whether the listener was told so.
    """

    def __init__(
        self,
        plan: Plan,
        durations: Durations,
        listener: Listener,
        held: Collection[str] = (),
        failures: FailureAccount | None = None,
    ) -> None:
        self._started_s = time.monotonic()
        self.durations = durations
        self.board = Board(plan.sweep.nodes, plan.states, durations.seconds, held)
        self.in_hand = InHand(lambda: self.wall_s)
        self.messages = {node.key: LEFT_FAILED for node in self.board.in_state("failed")}
        self.failures = failures or FailureAccount()
        self.builders: dict[str, str] = {}
        self.search = SearchCounts()
        self.unsent = Unsent()
        self.watch: Callable[[], None] = lambda: None
        self.spent = ""
        self.is_draining = self.is_broken = self.says_draining = False
        self._listener = listener

    @property
    def wall_s(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._started_s

    @property
    def is_stopping(self) -> bool:
        """Whether nothing more starts, for whatever reason."""
        return self.is_draining or bool(self.spent)

    @property
    def is_finished(self) -> bool:
        """Whether no node is in hand, here or in another run, and none will be handed out any more."""
        return not self.in_hand.work and not self.board.heads() and not self.leased_by_others()

    def leased_by_others(self) -> list[Node]:
        """Nodes that another run builds, and that this one waits for; none while stopping."""
        return [] if self.board.is_closed else [self.board.nodes[key] for key in list(self.builders)]

    def add(self, states: Mapping[str, NodeState], nodes: Mapping[str, Node]) -> None:
        """Take in nodes that a search has asked for; see `Board.add`."""
        new = self.board.add(states, nodes)
        self.messages |= {node.key: LEFT_FAILED for node in new if states[node.key] == "failed"}

    def drop(self, node: Node) -> None:
        """Take back a node that is in no hands: a search has given its configuration up."""
        self.board.drop(node)
        if self.board.states[node.key] == "unneeded":
            self.builders.pop(node.key, None)

    def hand_out(self, node: Node, trial_id: str) -> None:
        """A trial takes a ready node."""
        self.board.take(node)
        self.in_hand.take(node, trial_id)

    def started(self, trial_id: str) -> None:
        """A trial begins its node, or begins it once more after its worker was lost."""
        node = self.in_hand.begin(trial_id)
        if node is not None:
            self.board.move(node, "running")
            self._listener(Event("started", node))

    def progressed(self, trial_id: str, epoch: int, n_epochs: int, metrics: Mapping[str, float]) -> None:
        """A trial has done another epoch."""
        node = self.in_hand.progressed(trial_id, epoch, n_epochs, metrics)
        if node is not None:
            self._listener(Event("epoch", node, metrics=metrics, epoch=epoch, n_epochs=n_epochs))

    def reads(self, trial_id: str, n_done: int, n_scans: int, doing: str = "reading") -> None:
        """A trial waits for its scans to be prepared, or scores them."""
        work = self.in_hand.reads(trial_id, n_done, n_scans, doing)
        if work is not None:
            self._listener(Event("reading", work.node, work.activity))

    def published(
        self, node: Node, wall_s: float, metrics: Mapping[str, float], by_other: bool = False
    ) -> None:
        """This run, or another one, has published a node: its children may become ready."""
        self._settle(node)
        self.durations.observe(node, wall_s)
        self.board.learned()
        self.board.publish(node, "cached" if by_other else "done")
        if by_other:
            self._listener(Event("published_by_other", node, "built by another run", wall_s, metrics))
        else:
            self._listener(Event("done", node, wall_s=wall_s, metrics=metrics))

    def left_to(self, node: Node, builder: str) -> None:
        """Another run builds a ready node: it takes no slot here while this run waits for it.

        Args:
            node: The node.
            builder: Who builds it, in words.
        """
        self._settle(node, "leased_by_other")
        self.builders[node.key] = builder
        self._listener(Event("leased_by_other", node, f"built by {builder}"))

    def pruned(self, node: Node, reason: str) -> None:
        """A node was given up by a search."""
        self._settle(node, "pruned")
        self._listener(Event("pruned", node, reason))

    def failed(self, node: Node, message: str) -> None:
        """A node failed for good: its descendants, and only they, are blocked."""
        self._settle(node)
        self.messages[node.key] = message
        blocked = self.board.fail(node)
        self._listener(Event("failed", node, message))
        for child, parent in blocked:
            self._listener(Event("blocked", child, f"needs {parent.title}"))

    def stalled(self, node: Node, reason: str) -> None:
        """A node stands still; who calls it decides what becomes of the node."""
        self._listener(Event("stalled", node, reason))

    def retry(self, node: Node, reason: str) -> None:
        """A node goes back to those that may start."""
        self._settle(node, "ready")
        self._listener(Event("retry", node, reason))

    def stopped(self, node: Node) -> None:
        """A node left at its checkpoint because the run is draining."""
        has_begun = any(work.epoch for work in self.in_hand.work.values() if work.node.key == node.key)
        self._settle(node, "ready")
        if has_begun:  # a queued node has no checkpoint
            self._listener(Event("stopped", node))

    def trial_ended(self, text: str) -> None:
        """Report how a configuration of a search ended."""
        self._listener(Event("trial", text=text))

    def note(self, text: str) -> None:
        """Report something that concerns no node."""
        self._listener(Event("note", text=text))

    def drain(self) -> None:
        """Hand out nothing more; running nodes leave at their checkpoints."""
        self.is_draining = True
        self.board.close()

    def start_no_more(self, reason: str, is_broken: bool = False, at_end: AtEnd = "finish") -> None:
        """Hand out nothing more.

        Args:
            reason: What is spent or broken, in words; the first reason stands.
            is_broken: Something is broken, in the run or outside: it ends with a failure.
            at_end: Whether running nodes go on to their end or leave at their checkpoints.
        """
        self.is_broken = self.is_broken or is_broken
        if not self.spent:
            self.spent = reason
            self.board.close()
            self.is_draining = self.says_draining = self.is_draining or at_end == "checkpoint"
            self.note(f"{reason}: nothing more starts, running nodes {_AT_END[at_end]}")

    def _settle(self, node: Node, state: NodeState | None = None) -> None:
        """A node leaves all hands."""
        self.in_hand.release(node)
        self.builders.pop(node.key, None)
        if state is not None:
            self.board.move(node, state)
