"""The state of every node during a run: what is ready, who works on what, what has ended and how.

Plain bookkeeping over a `Plan`; the searcher asks it what to hand out, the displays read it. Knows
nothing of Ray and touches no file.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Literal

from dwp_sweep.config.node import Node, pipeline_order
from dwp_sweep.harness.cost.durations import Estimate
from dwp_sweep.harness.dag.events import Event, Listener
from dwp_sweep.harness.dag.plan import Plan
from dwp_sweep.harness.dag.ready_queue import ReadyQueue
from dwp_sweep.harness.dag.work import Work
from dwp_sweep.stages.workload import OBJECTIVE_STAGE

__all__ = ["Board", "NodeState", "Work"]

NodeState = Literal[
    "cached",
    "unneeded",
    "waiting",
    "ready",
    "elsewhere",
    "queued",
    "running",
    "done",
    "pruned",
    "failed",
    "blocked",
]
"""``elsewhere``: another run builds it now; ``queued``: handed to Tune, not started yet; ``pruned``: given
up by a search; ``cached``: published before this run, or by another one meanwhile."""


class Board:
    """Bookkeeping of one run.

    Args:
        plan: What is to be built.
        estimate: Expected durations; learns from every node that ends.
        listener: Told everything that happens.
        held: Keys of nodes that are never handed out in this run.

    Attributes:
        watch: Called whenever work is handed out or a step of the run ends; may stop the run.
        builders: Key -> who builds it, for nodes that another run builds now.
        used_s: Stage -> seconds of trials that have ended in this run, failed and lost ones too.
        spent: Why nothing more starts although running nodes go on to their end; empty: it does.
        is_broken: Whether it is no budget that is spent, but something outside that failed.
        n_to_ask: Configurations that a search has not asked for yet: of their nodes nothing is known.
        n_impossible: Configurations of a search that make no experiment: they failed without any node.
        n_studies: Studies of the search; 0 where nothing is searched for.
        n_repeats: Target nodes of one configuration.
    """

    def __init__(
        self, plan: Plan, estimate: Estimate, listener: Listener, held: Collection[str] = ()
    ) -> None:
        self.nodes = dict(plan.sweep.nodes)
        self.stages = pipeline_order(self.nodes.values())
        self.states: dict[str, NodeState] = dict(plan.states)
        self.estimate = estimate
        self.messages: dict[str, str] = {}
        self.n_lost: Counter[str] = Counter()
        self.work: dict[str, Work] = {}
        self.builders: dict[str, str] = {}
        self.is_draining = self.is_broken = False
        self.spent = ""
        self.n_to_ask = self.n_studies = self.n_impossible = 0
        self.n_repeats = 1
        self.used_s: defaultdict[str, float] = defaultdict(float)
        self.held = frozenset(held)
        self.watch: Callable[[], None] = lambda: None
        self.started_s = time.monotonic()
        self._tell = listener
        self._children = _children(self.nodes)
        self._linked = set(self.nodes)
        self._queue = ReadyQueue(self.nodes.values(), estimate, lambda key: self.states[key] == "ready")
        for node in self.nodes.values():
            if self.states[node.key] == "ready":
                self._enqueue(node)
            if self.states[node.key] == "failed":
                self.messages[node.key] = "failed in an earlier run and is not tried again"

    @property
    def is_finished(self) -> bool:
        """Whether nothing is in hand, here or elsewhere, and nothing will be handed out any more."""
        return not self.work and not self.heads() and not self.elsewhere()

    def elsewhere(self) -> list[Node]:
        """Nodes that another run builds, and that this one waits for; none while stopping."""
        return [] if self.is_draining or self.spent else [self.nodes[key] for key in list(self.builders)]

    def ready(self) -> list[Node]:
        """All nodes that may start, the one with the longest way to go first; none while stopping."""
        if self.is_draining or self.spent:
            return []
        return [self.nodes[key] for key in self._queue.all()]

    def heads(self) -> list[Node]:
        """The most urgent node of each stage that may start, the most urgent of them first.

        The cost does not grow with the number of nodes that wait, as that of `ready` does.
        """
        if self.is_draining or self.spent:
            return []
        return [self.nodes[key] for key in self._queue.heads()]

    def add(self, nodes: Mapping[str, NodeState], known: Mapping[str, Node]) -> None:
        """Take in nodes that a search has asked for; those that are there already keep their state.

        Args:
            nodes: Key -> ``cached``, ``ready``, ``waiting``, ``pruned``, ``failed`` or ``blocked``, parents
                before children.
            known: The nodes by key.
        """
        new = [known[key] for key in nodes if self.states.get(key, "unneeded") == "unneeded"]
        self._queue.add(new)
        for node in new:
            self.nodes[node.key] = node
            self._link(node)
            self.states[node.key] = nodes[node.key]
            if nodes[node.key] == "ready":
                self._enqueue(node)
        if any(node.stage not in self.stages for node in new):
            self.stages = pipeline_order(self.nodes.values())

    def drop(self, node: Node) -> None:
        """Take back a node that nobody works on: a search has given its configuration up."""
        if self.states[node.key] in ("ready", "waiting", "elsewhere"):
            self.states[node.key] = "unneeded"
            self.builders.pop(node.key, None)

    def hand_out(self, node: Node, trial_id: str) -> None:
        """A trial takes a ready node."""
        if self.states[node.key] != "ready":
            raise ValueError(f"{node.title} is {self.states[node.key]}, not ready: it cannot be handed out")
        self.states[node.key] = "queued"
        self.work[trial_id] = Work(node, trial_id)

    def started(self, trial_id: str) -> None:
        """A trial begins to work (again, after a lost worker)."""
        work = self.work.get(trial_id)
        if work is None:
            return
        self._count_time(work)
        self.states[work.node.key] = "running"
        self.work[trial_id] = Work(work.node, trial_id, started_s=time.monotonic())
        self._tell(Event("started", work.node))

    def progressed(self, trial_id: str, epoch: int, n_epochs: int, metrics: Mapping[str, float]) -> None:
        """A trial has done another epoch."""
        work = self.work.get(trial_id)
        if work is None:
            return
        work.progressed(epoch, n_epochs, metrics)
        self._tell(Event("epoch", work.node, metrics=metrics, epoch=epoch, n_epochs=n_epochs))

    def reads(self, trial_id: str, n_read: int, n_scans: int) -> None:
        """A trial waits for its scans to be prepared."""
        work = self.work.get(trial_id)
        if work is None:
            return
        work.reading = (n_read, n_scans)
        self._tell(Event("reading", work.node, text=work.activity))

    def done(self, node: Node, wall_s: float, metrics: Mapping[str, float]) -> None:
        """A node is published: its children may become ready."""
        self._settle(node, "done")
        self._published(node, wall_s)
        self._tell(Event("done", node, wall_s=wall_s, metrics=metrics))

    def left_to(self, node: Node, builder: str) -> None:
        """Another run builds a ready node: it waits in no slot for it.

        Args:
            node: The node.
            builder: Who builds it, in words.
        """
        self._settle(node, "elsewhere")
        self.builders[node.key] = builder
        self._tell(Event("elsewhere", node, text=f"built by {builder}"))

    def found(self, node: Node, wall_s: float, metrics: Mapping[str, float]) -> None:
        """Another run has published a node: its children may become ready."""
        self._settle(node, "cached")
        self._published(node, wall_s)
        self._tell(Event("found", node, wall_s=wall_s, metrics=metrics, text="built by another run"))

    def pruned(self, node: Node, reason: str) -> None:
        """A node was given up by a search."""
        self._settle(node, "pruned")
        self._tell(Event("pruned", node, text=reason))

    def failed(self, node: Node, message: str) -> None:
        """A node failed for good: its descendants, and only they, are blocked."""
        self._settle(node, "failed")
        self.messages[node.key] = message
        blocked = self._block_below(node)
        self._tell(Event("failed", node, text=message))
        for child, parent in blocked:
            self._tell(Event("blocked", child, text=f"needs {parent.title}"))

    def again(self, node: Node, reason: str) -> None:
        """A node goes back to those that may start."""
        self._settle(node, "ready")
        self._enqueue(node)
        self._tell(Event("again", node, text=reason))

    def stopped(self, node: Node) -> None:
        """A node left at its checkpoint because the run is draining."""
        has_begun = any(work.epoch for work in self.work.values() if work.node.key == node.key)
        self._settle(node, "ready")
        self._enqueue(node)
        if has_begun:  # a queued node had nothing to leave
            self._tell(Event("stopped", node))

    def drain(self) -> None:
        """Hand out nothing more; running nodes leave at their checkpoints."""
        self.is_draining = True

    def start_no_more(self, reason: str) -> None:
        """Hand out nothing more; running nodes go on to their end.

        Args:
            reason: What is spent, in words; the first one stands.
        """
        if not self.spent:
            self.spent = reason
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
        self._tell(Event("note", text=text))

    def seconds_used(self) -> dict[str, float]:
        """Stage -> seconds of trials in this run, up to now for those that are running."""
        used, now = dict(self.used_s), time.monotonic()
        for work in list(self.work.values()):
            if work.started_s is not None:
                used[work.node.stage] = used.get(work.node.stage, 0.0) + now - work.started_s
        return used

    def in_state(self, state: NodeState) -> list[Node]:
        """Nodes in a state, in the sweep's order."""
        return [self.nodes[key] for key, present in list(self.states.items()) if present == state]

    def counts(self) -> dict[str, int]:
        """Number of nodes by state."""
        return dict(Counter(self.states.values()))

    def time_left_s(self, n_slots: int) -> float | None:
        """Expected seconds to the end; None before anything is measured."""
        running = [work for work in list(self.work.values()) if work.started_s is not None]
        known = [left for left in map(self.work_left_s, running) if left is not None]
        if not self.estimate.is_measured and (not known or len(known) < len(running)):
            return None
        open_keys = [
            key
            for key, state in list(self.states.items())
            if state in ("ready", "waiting", "elsewhere", "queued")
        ]
        to_come = sum(self.estimate.seconds(self.nodes[key]) for key in open_keys) + self._unasked_s()
        return max([(to_come + sum(known)) / max(n_slots, 1), *known])

    def _unasked_s(self) -> float:
        """Expected seconds of what a search has yet to ask for, as if nothing of it were given up."""
        n_nodes = self.n_to_ask * self.n_repeats
        target = next((node for node in list(self.nodes.values()) if node.stage == OBJECTIVE_STAGE), None)
        return n_nodes * self.estimate.seconds(target) if n_nodes and target is not None else 0.0

    def work_left_s(self, work: Work) -> float | None:
        """Expected seconds to the end of a node in hand; None before anything is measured."""
        return work.left_s(self.estimate)

    def _link(self, node: Node) -> None:
        if node.key not in self._linked:
            self._linked.add(node.key)
            for key in dict.fromkeys(key for _, key in node.parents):
                self._children[key].append(node)

    def _enqueue(self, node: Node) -> None:
        """Put a node among those that may start; doubles do no harm, since its state decides."""
        if node.key not in self.held:
            self._queue.push(node)

    def _published(self, node: Node, wall_s: float) -> None:
        self.estimate.observe(node, wall_s)
        self._queue.learned()
        for child in self._children[node.key]:
            if self.states[child.key] == "waiting" and self._has_all_inputs(child):
                self.states[child.key] = "ready"
                self._enqueue(child)

    def _settle(self, node: Node, state: NodeState) -> None:
        self.states[node.key] = state
        self.builders.pop(node.key, None)
        for trial_id in [trial_id for trial_id, work in self.work.items() if work.node.key == node.key]:
            self._count_time(self.work.pop(trial_id))

    def _count_time(self, work: Work) -> None:
        if work.started_s is not None:
            self.used_s[work.node.stage] += time.monotonic() - work.started_s

    def _has_all_inputs(self, node: Node) -> bool:
        return all(self.states[key] in ("done", "cached") for _, key in node.parents)

    def _block_below(self, node: Node) -> list[tuple[Node, Node]]:
        """Block the waiting descendants of a node; each with the parent that it lacks."""
        blocked, parents = [], [node]
        for parent in parents:
            for child in self._children[parent.key]:
                if self.states[child.key] == "waiting":
                    self.states[child.key] = "blocked"
                    blocked.append((child, parent))
                    parents.append(child)
        return blocked


def _children(nodes: Mapping[str, Node]) -> defaultdict[str, list[Node]]:
    children: defaultdict[str, list[Node]] = defaultdict(list)
    for node in nodes.values():
        for key in dict.fromkeys(key for _, key in node.parents):
            children[key].append(node)
    return children
