"""The best configuration of each study so far, and whether another one is worse between its repeats.

Part of a search in the course of a run. Reads the validation scores of networks from the store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from dwp_sweep.config.node import Node
from dwp_sweep.config.search import SearchSpace
from dwp_sweep.harness.configuration import Configuration
from dwp_sweep.harness.pruning import is_worse, validation_scores
from dwp_sweep.store.store import Store


class Incumbents:
    """What the configurations of each study are held against.

    Args:
        search: Says what is better, and from how many configurations on one is compared at all.
        store: Holds the scores.
    """

    def __init__(self, search: SearchSpace, store: Store) -> None:
        self._search, self._store = search, store
        self._best: dict[str, tuple[float, Configuration]] = {}
        self._n_complete: Counter[str] = Counter()

    def completed(self, configuration: Configuration, found: Sequence[float]) -> None:
        """A configuration has ended with these objectives; several of them have no best one."""
        self._n_complete[configuration.study] += 1
        if len(self._search.objectives) > 1:
            return
        sign = 1.0 if self._search.objectives[0].mode == "max" else -1.0
        best = self._best.get(configuration.study)
        if best is None or sign * found[0] > best[0]:
            self._best[configuration.study] = (sign * found[0], configuration)

    def beat(self, configuration: Configuration, ended: Mapping[int, Node]) -> bool:
        """Whether a configuration is worse than the best one of its study, by the repeats that have ended."""
        best = self._best.get(configuration.study)
        few = self._n_complete[configuration.study] < self._search.scheduler.min_configurations
        if best is None or few or self._search.scheduler.kind == "none":
            return False
        metric = self._search.objectives[0].metric
        own = validation_scores(self._store, ended, metric)
        return is_worse(own, validation_scores(self._store, dict(enumerate(best[1].nodes)), metric))
