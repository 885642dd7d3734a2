"""Nodes of a run as the storage keeps them: what the sweep consists of, and what is in hand now.

Between the board (which knows) and the store (which lets other terminals know). Decides nothing.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from typing import Any

from dwp_sweep.config.node import Node
from dwp_sweep.harness.dag.board import Board
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.sweep_record import NodeEntry, append_nodes


def entries_of(nodes: Iterable[Node], targets: Collection[str]) -> list[NodeEntry]:
    """Nodes as entries of a sweep's record.

    Args:
        nodes: Parents before children.
        targets: Keys of those that the sweep asks for.
    """
    wanted = frozenset(targets)
    return [
        NodeEntry(node.key, node.stage, node.title, node.config, node.inputs, node.labels, node.key in wanted)
        for node in nodes
    ]


def keep_new_nodes(store: Store, sweep: str, nodes: Iterable[Node], targets: Collection[str]) -> None:
    """Add nodes to a sweep's record that a search has just asked for."""
    append_nodes(store, sweep, entries_of(nodes, targets))


def in_hand(board: Board) -> list[dict[str, Any]]:
    """The nodes that run now: key, epochs done and at most, scans read and all, Unix time of the start."""
    now_ms, now_s = time.time_ns() // 1_000_000, time.monotonic()
    return [
        {
            "key": work.node.key,
            "epoch": work.epoch,
            "n_epochs": work.n_epochs,
            "reading": work.reading,
            "started_ms": now_ms - round(1000 * (now_s - work.started_s)),
        }
        for work in list(board.work.values())
        if work.started_s is not None
    ]
