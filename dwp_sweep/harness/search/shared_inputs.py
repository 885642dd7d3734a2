"""Whether a node that failed says something about a configuration, or about all configurations of a study.

A source network that every configuration needs may fail: that is no result of the values that were tried.
Which configurations need a node is found by resolving some random ones in a sweep that is thrown away.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dwp_sweep.config.node import Node
from dwp_sweep.config.search.definition import SearchCondition
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import InputError
from dwp_sweep.harness.dag.node_state import NodeState
from dwp_sweep.harness.search.samplers import drawn
from dwp_sweep.harness.search.study import StudyTrial
from dwp_sweep.harness.search.study_database import target_nodes

_N_PROBES = 8


def failed_input(node: Node, nodes: Mapping[str, Node], states: Mapping[str, NodeState]) -> Node | None:
    """The nearest ancestor that failed, of a node that is blocked; None where none has."""
    waiting = [key for _, key in node.parents]
    for key in waiting:
        if states.get(key) == "failed":
            return nodes[key]
        if states.get(key) == "blocked":
            waiting += [parent for _, parent in nodes[key].parents]
    return None


class SharedInputs:
    """Which upstream nodes random configurations of each study need.

    Args:
        sweep: With a search.
    """

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._needed: dict[str, list[frozenset[str]]] = {}

    def share(self, node: Node, condition: SearchCondition) -> float:
        """Share of a study's configurations that need a node; 0 where it cannot be told."""
        if condition.name not in self._needed:
            self._needed[condition.name] = self._probed(condition)
        needed = self._needed[condition.name]
        return sum(node.key in keys for keys in needed) / len(needed) if needed else 0.0

    def _probed(self, condition: SearchCondition) -> list[frozenset[str]]:
        search = self._sweep.search
        if search is None or self._sweep.fresh is None:
            return []
        sweep, draws, needed = self._sweep.fresh(), np.random.default_rng(0), []
        for _ in range(_N_PROBES):
            values = search.configuration(
                condition.values, lambda key: drawn(search.distributions[key], draws)
            )
            try:
                targets = target_nodes(sweep, condition, StudyTrial(0, values))
            except InputError:
                continue  # values that do not go together need nothing
            needed.append(_ancestors(targets, sweep.nodes))
        return needed


def _ancestors(targets: tuple[Node, ...], nodes: Mapping[str, Node]) -> frozenset[str]:
    found: dict[str, None] = {}
    waiting = [key for target in targets for _, key in target.parents]
    for key in waiting:
        if key not in found:
            found[key] = None
            waiting += [parent for _, parent in nodes[key].parents]
    return frozenset(found)
