"""How long until everything is built: one rule for the displays of a run and for `status`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dwp_sweep.config.node import Node
from dwp_sweep.harness.cost.durations import Durations


@dataclass(frozen=True)
class RunningNode:
    """How far a running node is.

    Attributes:
        node: The node.
        ran_s: Seconds since its start.
        n_epochs_left: To its last epoch.
        epoch_s: Seconds of an epoch; None while unknown.
    """

    node: Node
    ran_s: float
    n_epochs_left: int = 0
    epoch_s: float | None = None


def node_left_s(running: RunningNode, durations: Durations) -> float | None:
    """Expected seconds to the end of a running node; None before anything is measured."""
    by_epochs = None if running.epoch_s is None else running.epoch_s * max(running.n_epochs_left, 0)
    expected_s = durations.seconds(running.node)
    if not durations.is_measured:
        return by_epochs
    by_kind = max(expected_s - running.ran_s, 0.0)
    # Early stopping ends most nodes before their last epoch: the smaller guess is the better one.
    return by_kind if by_epochs is None else min(by_epochs, max(by_kind, 1.0))


def time_left_s(
    to_start: Iterable[Node],
    running: Iterable[RunningNode],
    durations: Durations,
    n_slots: int,
    unasked_s: float = 0.0,
) -> float | None:
    """Expected seconds to the end of everything; None before anything is measured.

    The work shared out to the slots, but not less than the running node that takes longest.

    Args:
        to_start: Nodes that have not begun.
        running: Those that have.
        durations: Of nodes.
        n_slots: Nodes at once.
        unasked_s: Seconds of nodes that a search has yet to ask for.
    """
    lefts = [node_left_s(one, durations) for one in running]
    known = [left for left in lefts if left is not None]
    to_come_s = sum(map(durations.seconds, to_start)) + unasked_s
    if not durations.is_measured and (not known or len(known) < len(lefts)):
        return None
    return max([(to_come_s + sum(known)) / max(n_slots, 1), *known])
