"""The account of one run: its board, what is in hand, messages, and why nothing more starts.

The searcher tells it what happens; it moves the board, learns durations and tells the displays. Knows
nothing of Ray and touches no file.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from dwp_sweep.config.node import Node
from dwp_sweep.harness.cost.durations import Durations, node_left_s, time_left_s
from dwp_sweep.harness.dag.board import Board
from dwp_sweep.harness.dag.node_state import LEFT_FAILED, NodeState
from dwp_sweep.harness.dag.plan import Plan
from dwp_sweep.harness.dag.work import Clock, InHand, Work
from dwp_sweep.stages.workload import OBJECTIVE_STAGE

EventKind = Literal[
    "started",
    "reading",
    "epoch",
    "done",
    "failed",
    "blocked",
    "retry",
    "stopped",
    "pruned",
    "leased_by_other",
    "published_by_other",
    "note",
]


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: What happened; ``reading``: scans are prepared, ``retry``: the node is tried once more,
            ``stopped``: it left at its checkpoint, ``pruned``: a search gave it up, ``leased_by_other``:
            another run is building it, ``published_by_other``: another run has published it.
        node: To which node; None for a ``note``.
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
    """

    exit_code: int
    counts: Mapping[str, int]
    failed: tuple[tuple[Node, str], ...] = ()
    blocked: tuple[Node, ...] = ()
    wall_s: float = 0.0
    spent: str = ""


@dataclass(frozen=True)
class SearchCounts:
    """How far a search is.

    Attributes:
        n_to_ask: Configurations that it has not asked for yet: of their nodes nothing is known.
        n_impossible: Configurations that make no experiment: they failed without any node.
        n_studies: Its studies; 0 where nothing is searched for.
        n_repeats: Target nodes of one configuration.
    """

    n_to_ask: int = 0
    n_impossible: int = 0
    n_studies: int = 0
    n_repeats: int = 1


class Ledger:
    """Bookkeeping of one run.

    Args:
        plan: What is to be built.
        durations: Of nodes; learns from every node that ends.
        listener: Told everything that happens.
        held: Keys of nodes that are never handed out in this run.
        clock: Seconds since some moment; None: the machine's.

    Attributes:
        board: State of every node.
        in_hand: What trials work on, and the time they have used.
        durations: Of nodes.
        messages: Key -> one line, of failed nodes.
        builders: Key -> who builds it, for nodes that another run builds now.
        search: How far the search is.
        spent: Why nothing more starts although running nodes go on to their end; empty: it does.
        is_broken: Whether it is no budget that is spent, but something outside that failed.
        is_draining: Whether running nodes leave at their checkpoints.
        n_lost: Key -> how often its worker was lost.
    """

    def __init__(
        self,
        plan: Plan,
        durations: Durations,
        listener: Listener,
        held: Collection[str] = (),
        clock: Clock | None = None,
    ) -> None:
        clock = clock or _now
        self.durations = durations
        self.board = Board(plan.sweep.nodes, plan.states, durations.seconds, held)
        self.in_hand = InHand(clock)
        self.messages = {node.key: LEFT_FAILED for node in self.board.in_state("failed")}
        self.builders: dict[str, str] = {}
        self.search = SearchCounts()
        self.spent = ""
        self.is_draining = self.is_broken = False
        self._clock, self._started_s = clock, clock()
        self.n_lost: Counter[str] = Counter()
        self._listener = listener
        self._watch: Callable[[], None] = lambda: None

    @property
    def work(self) -> Mapping[str, Work]:
        """Trial -> the node in its hands."""
        return self.in_hand.work

    @property
    def wall_s(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._started_s

    @property
    def is_finished(self) -> bool:
        """Whether nothing is in hand, here or in another run, and nothing will be handed out any more."""
        return not self.work and not self.board.heads() and not self.leased_by_others()

    def leased_by_others(self) -> list[Node]:
        """Nodes that another run builds, and that this one waits for; none while stopping."""
        return [] if self.board.is_closed else [self.board.nodes[key] for key in list(self.builders)]

    def add(self, states: Mapping[str, NodeState], nodes: Mapping[str, Node]) -> None:
        """Take in nodes that a search has asked for; see `Board.add`."""
        for node in self.board.add(states, nodes):
            if states[node.key] == "failed":
                self.messages[node.key] = LEFT_FAILED

    def drop(self, node: Node) -> None:
        """Take back a node that nobody works on: a search has given its configuration up."""
        self.board.drop(node)
        if self.board.states[node.key] == "unneeded":
            self.builders.pop(node.key, None)

    def hand_out(self, node: Node, trial_id: str) -> None:
        """A trial takes a ready node."""
        self.board.take(node)
        self.in_hand.take(node, trial_id)

    def started(self, trial_id: str) -> None:
        """A trial begins to work (again, after a lost worker)."""
        node = self.in_hand.begin(trial_id)
        if node is not None:
            self.board.move(node, "running")
            self._tell("started", node)

    def progressed(self, trial_id: str, epoch: int, n_epochs: int, metrics: Mapping[str, float]) -> None:
        """A trial has done another epoch."""
        node = self.in_hand.progressed(trial_id, epoch, n_epochs, metrics)
        if node is not None:
            self._listener(Event("epoch", node, metrics=metrics, epoch=epoch, n_epochs=n_epochs))

    def reads(self, trial_id: str, n_read: int, n_scans: int) -> None:
        """A trial waits for its scans to be prepared."""
        work = self.work.get(trial_id)
        if work is not None:
            work.reading = (n_read, n_scans)
            self._tell("reading", work.node, work.activity)

    def done(self, node: Node, wall_s: float, metrics: Mapping[str, float]) -> None:
        """A node is published: its children may become ready."""
        self._settle(node)
        self._publish(node, "done", wall_s)
        self._listener(Event("done", node, wall_s=wall_s, metrics=metrics))

    def left_to(self, node: Node, builder: str) -> None:
        """Another run builds a ready node: it waits in no slot for it.

        Args:
            node: The node.
            builder: Who builds it, in words.
        """
        self._settle(node, "leased_by_other")
        self.builders[node.key] = builder
        self._tell("leased_by_other", node, f"built by {builder}")

    def published_by_other(self, node: Node, wall_s: float, metrics: Mapping[str, float]) -> None:
        """Another run has published a node: its children may become ready."""
        self._settle(node)
        self._publish(node, "cached", wall_s)
        self._listener(
            Event("published_by_other", node, wall_s=wall_s, metrics=metrics, text="built by another run")
        )

    def pruned(self, node: Node, reason: str) -> None:
        """A node was given up by a search."""
        self._settle(node, "pruned")
        self._tell("pruned", node, reason)

    def failed(self, node: Node, message: str) -> None:
        """A node failed for good: its descendants, and only they, are blocked."""
        self._settle(node)
        self.messages[node.key] = message
        blocked = self.board.fail(node)
        self._tell("failed", node, message)
        for child, parent in blocked:
            self._tell("blocked", child, f"needs {parent.title}")

    def retry(self, node: Node, reason: str) -> None:
        """A node goes back to those that may start."""
        self._settle(node, "ready")
        self._tell("retry", node, reason)

    def lost(self, node: Node) -> int:
        """A node's worker was lost; returns how often by now."""
        self.n_lost[node.key] += 1
        return self.n_lost[node.key]

    def stopped(self, node: Node) -> None:
        """A node left at its checkpoint because the run is draining."""
        has_begun = any(work.epoch for work in self.work.values() if work.node.key == node.key)
        self._settle(node, "ready")
        if has_begun:  # a queued node had nothing to leave
            self._tell("stopped", node)

    def drain(self) -> None:
        """Hand out nothing more; running nodes leave at their checkpoints."""
        self.is_draining = True
        self.board.close()

    def start_no_more(self, reason: str) -> None:
        """Hand out nothing more; running nodes go on to their end.

        Args:
            reason: What is spent, in words; the first one stands.
        """
        if not self.spent:
            self.spent = reason
            self.board.close()
            self.note(f"{reason}: nothing more starts, running nodes go on to their end")

    def give_up(self, reason: str) -> None:
        """Hand out nothing more: something outside is broken. The run does not end well.

        Args:
            reason: What is broken, in words; the first one stands.
        """
        self.is_broken = True
        self.start_no_more(reason)

    def note(self, text: str) -> None:
        """Tell something that concerns no node."""
        self._listener(Event("note", text=text))

    def count_search(self, counts: SearchCounts) -> None:
        """A search says how far it is."""
        self.search = counts

    def watch_by(self, watch: Callable[[], None]) -> None:
        """Have `watch` called whenever work is handed out or a step of the run ends; it may stop the run."""
        self._watch = watch

    def watch(self) -> None:
        """Work is handed out, or a step of the run has ended."""
        self._watch()

    def time_left_s(self, n_slots: int) -> float | None:
        """Expected seconds to the end; None before anything is measured."""
        to_start = self.board.in_state("ready", "waiting", "leased_by_other", "queued")
        return time_left_s(to_start, self.in_hand.progress(), self.durations, n_slots, self._unasked_s())

    def work_left_s(self, work: Work) -> float | None:
        """Expected seconds to the end of a node in hand; None before anything is measured."""
        return node_left_s(work.progress(self._clock()), self.durations)

    def _unasked_s(self) -> float:
        """Expected seconds of what a search has yet to ask for, as if nothing of it were given up."""
        n_nodes = self.search.n_to_ask * self.search.n_repeats
        nodes = list(self.board.nodes.values())
        objective = next((node for node in nodes if node.stage == OBJECTIVE_STAGE), None)
        return n_nodes * self.durations.seconds(objective) if n_nodes and objective is not None else 0.0

    def _publish(self, node: Node, state: NodeState, wall_s: float) -> None:
        self.durations.observe(node, wall_s)
        self.board.learned()
        self.board.publish(node, state)

    def _settle(self, node: Node, state: NodeState | None = None) -> None:
        """Nobody has the node in hand any more."""
        self.in_hand.release(node)
        self.builders.pop(node.key, None)
        if state is not None:
            self.board.move(node, state)

    def _tell(self, kind: EventKind, node: Node, text: str = "") -> None:
        self._listener(Event(kind, node, text=text))


def _now() -> float:
    return time.monotonic()
