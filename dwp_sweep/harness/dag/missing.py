"""What of a newly asked target is not there yet: the nodes that the board lacks, each with its state.

Between a search and the board, which is a plan for nodes that nobody knew when the run began. Reads the
store; sets damaged folders aside.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import dataclass

from dwp_sweep.config.node import Node
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import CorruptArtifactError
from dwp_sweep.harness.dag.board import Board, NodeState
from dwp_sweep.harness.dag.pruning import was_pruned
from dwp_sweep.store.protocol import Store


@dataclass(frozen=True)
class Missing:
    """Looks up what a target needs.

    Attributes:
        sweep: Whose nodes hold the target and all that it needs.
        store: The storage.
        board: What it knows is not looked at again.
        targets: Keys of target nodes of the search: only these are ever pruned.
        retry_failed: Whether nodes that failed in an earlier run are tried again.
    """

    sweep: Sweep
    store: Store
    board: Board
    targets: Collection[str]
    retry_failed: bool

    def __call__(self, target: Node) -> dict[str, NodeState]:
        """Key -> state of the target and its ancestors that the board lacks, parents before children.

        What a published node was made from is not needed and left out.
        """
        wanted: dict[str, bool] = {}
        waiting = [target.key]
        while waiting:
            node = self.sweep.nodes[waiting.pop()]
            if node.key in wanted or self.board.states.get(node.key, "unneeded") != "unneeded":
                continue
            wanted[node.key] = self._is_sound(node)
            if not wanted[node.key]:
                waiting += [key for _, key in node.parents]
        states: dict[str, NodeState] = {}
        for key in sorted(wanted, key=self._depth):
            states[key] = "cached" if wanted[key] else self._state(self.sweep.nodes[key], states)
        return states

    def _depth(self, key: str) -> int:
        return 1 + max((self._depth(parent) for _, parent in self.sweep.nodes[key].parents), default=0)

    def _state(self, node: Node, new: dict[str, NodeState]) -> NodeState:
        record = self.store.record(node.stage, node.key)
        if node.key in self.targets and was_pruned(record, f"{self.sweep.name}/"):
            return "pruned"
        if record is not None and record.status == "failed" and not self.retry_failed:
            self.board.messages[node.key] = "failed in an earlier run and is not tried again"
            return "failed"
        parents = {new.get(key) or self.board.states[key] for _, key in node.parents}
        if parents & {"failed", "blocked"}:
            return "blocked"
        return "ready" if parents <= {"done", "cached"} else "waiting"

    def _is_sound(self, node: Node) -> bool:
        if not self.store.is_published(node.stage, node.key):
            return False
        try:
            self.store.verify(node.stage, node.key)
        except CorruptArtifactError as error:
            self.board.note(f"{node.title} is damaged and will be built again: {error}")
            with contextlib.suppress(FileNotFoundError):  # another run has just done it
                self.store.set_aside(node.stage, node.key)
            return False
        return True
