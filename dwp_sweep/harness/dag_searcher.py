"""Tune's searcher over the DAG: hands out the nodes whose inputs are published.

Tune asks `suggest` for work: a node, None while nothing is ready, FINISHED at the end. What a trial
achieved is read from the store, not from Tune's result: a trial can be stopped, aborted or reported
twice, the store cannot. Knows nothing of what the stages compute.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ray.tune.search import Searcher

from dwp_sweep.config.node import Node, write_node
from dwp_sweep.harness.board import Board
from dwp_sweep.harness.slots import Admission, Shape
from dwp_sweep.passwords import without_secrets
from dwp_sweep.store.record import Record
from dwp_sweep.store.store import Store

if TYPE_CHECKING:
    from dwp_sweep.harness.search_plan import SearchPlan

NODE_FILE = "node.json"


class DagSearcher(Searcher):
    """Schedules a board's nodes through Tune.

    Args:
        board: State of the nodes.
        store: Where the truth is.
        admission: How many trials Tune may have.
        shapes: Stage -> resources of its trials.
        max_lost: How often a node whose worker was lost is tried again.
        search: Brings further nodes when there is room; None: the board's nodes are all there are.
    """

    def __init__(
        self,
        board: Board,
        store: Store,
        admission: Admission,
        shapes: Mapping[str, Shape],
        max_lost: int = 2,
        search: SearchPlan | None = None,
    ) -> None:
        super().__init__(metric=None, mode=None)
        self.board = board
        self._store = store
        self._admission = admission
        self._shapes = shapes
        self._max_lost = max_lost
        self._search = search

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """A node for a trial, None while there is none, FINISHED at the end."""
        self.board.watch()
        node = self._next_or_new()
        while node is not None and self._was_built_elsewhere(node):
            node = self._next_or_new()
        if node is None:
            return str(Searcher.FINISHED) if self._is_finished() else None
        self._hand_out(node, trial_id)
        return {"node": node.key, "stage": node.stage}

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Pass an epoch on to the board."""
        if "epoch" in result:
            prefix = "metrics/"  # Tune flattens what the worker reported
            metrics = {
                name.removeprefix(prefix): value for name, value in result.items() if name.startswith(prefix)
            }
            self.board.progressed(trial_id, int(result["epoch"]), int(result["n_epochs"]), metrics)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Settle a trial's node; an error is settled by the callback, which knows the reason."""
        if not error:
            self.close(trial_id, is_stopped=bool((result or {}).get("stopped")))

    def close(self, trial_id: str, is_stopped: bool = False, lost: str = "", give_up: bool = False) -> None:
        """A trial has ended: read from the store what became of its node. A second call does nothing.

        Args:
            trial_id: The trial.
            is_stopped: The node left at its checkpoint because the run is draining.
            lost: Why the worker was lost, if it was.
            give_up: A lost node is not tried again.
        """
        work = self.board.work.get(trial_id)
        if work is None:
            return
        self._admission.release(trial_id)
        node = work.node
        record = self._store.record(node.stage, node.key)
        if self._store.is_published(node.stage, node.key):
            self._done(node)
        elif record is not None and record.status == "failed":
            self.board.failed(node, first_line(record.error))
        elif record is not None and record.status == "pruned":
            self.board.pruned(node, first_line(record.error))
        elif is_stopped or self.board.is_draining or (self.board.spent and work.started_s is None):
            self.board.stopped(node)
        else:
            self._lost(node, lost or "its trial ended without a result", give_up)
        if self._search is not None:
            self._search.update()

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Tune's limiter steps aside: admission is by resource shape, here."""
        return True

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the store is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the store is the truth."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing to restore from: Tune pickles its searcher for `Tuner.restore`, which is never used."""
        return {}

    def _is_finished(self) -> bool:
        if not self.board.is_finished:
            return False
        is_stopping = self.board.is_draining or bool(self.board.spent)
        return self._search is None or is_stopping or self._search.is_finished

    def _next_or_new(self) -> Node | None:
        """A ready node; where none is and there is room, one that the search brings."""
        node = self._next()
        while node is None and self._search is not None and self._has_room() and self._search.start_next():
            node = self._next()
        return node

    def _has_room(self) -> bool:
        shape = self._shapes["target"]
        if self._search is not None:
            self._search.n_slots = self._admission.n_slots(shape)  # clusters grow and shrink
        # A cluster that has to grow first has no room, and grows only for what is asked for.
        return not self.board.work or self._admission.has_room(shape)

    def _next(self) -> Node | None:
        """The most urgent ready node whose resources are free: all nodes of a stage ask for the same."""
        for node in self.board.heads():
            if self._admission.admits(self._shapes[node.stage]):
                return node
        return None

    def _hand_out(self, node: Node, trial_id: str) -> None:
        self._store.clear_failure(node.stage, node.key)
        write_node(node, self._store.work_dir(node.stage, node.key) / NODE_FILE)
        self._admission.take(trial_id, self._shapes[node.stage])
        self.board.hand_out(node, trial_id)

    def _was_built_elsewhere(self, node: Node) -> bool:
        if not self._store.is_published(node.stage, node.key):
            return False
        self.board.note(f"{node.title} was built by another run")
        self._done(node)
        return True

    def _done(self, node: Node) -> None:
        record = self._store.record(node.stage, node.key)
        self.board.done(node, record.wall_s if record else 0.0, record.metrics if record else {})

    def _lost(self, node: Node, reason: str, give_up: bool) -> None:
        self.board.n_lost[node.key] += 1
        if not give_up and self.board.n_lost[node.key] <= self._max_lost:
            self.board.again(node, reason)
            return
        self._store.write_failure(_failure(node, reason))
        self.board.failed(node, first_line(reason))


def first_line(text: str | None) -> str:
    """The line of a message that a display shows."""
    lines = (text or "").strip().splitlines()
    return lines[0] if lines else "failed without a message"


def _failure(node: Node, reason: str) -> Record:
    return Record(
        key=node.key,
        stage=node.stage,
        status="failed",
        config=dict(node.config),
        inputs={role: [key for _, key in pairs] for role, pairs in node.inputs.items()},
        labels=dict(node.labels),
        started_ms=time.time_ns() // 1_000_000,
        error=without_secrets(reason),
    )
