"""What is told of a search's trials: learning curves to their studies, how they ended to study and log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from dwp_sweep.config.node import Node, short_settings
from dwp_sweep.config.sections import ObjectiveConfig
from dwp_sweep.harness.dag.ledger import Ledger
from dwp_sweep.harness.search.configuration import SearchConfiguration, learning_points
from dwp_sweep.harness.search.curves import N_POINTS, LiveCurves, thinned
from dwp_sweep.harness.search.incumbents import Incumbents
from dwp_sweep.harness.search.study import Study
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import Record


class TrialEnds:
    """Tells studies and log what became of configurations.

    Args:
        objectives: Of the search; learning curves are kept where there is one.
        studies: By name.
        store: Has the records of the networks.
        ledger: Passes the ends on to the log.
        incumbents: Know the best configuration of each study.

    Attributes:
        n_by_state: ``complete``, ``pruned``, ``failed`` -> number of configurations that ended so.
    """

    def __init__(
        self,
        objectives: Sequence[ObjectiveConfig],
        studies: Mapping[str, Study],
        store: Store,
        ledger: Ledger,
        incumbents: Incumbents,
    ) -> None:
        self._objectives, self._studies, self._store = objectives, studies, store
        self._ledger, self._incumbents = ledger, incumbents
        self._live = LiveCurves(objectives[0])
        self.n_by_state: Counter[str] = Counter()

    def complete(self, configuration: SearchConfiguration, results: Sequence[float]) -> None:
        """All of its networks are done."""
        self._report(configuration)
        self._studies[configuration.study].complete(configuration.number, results)
        pairs = zip(self._objectives, results, strict=True)
        found = ", ".join(f"{objective.metric} {value:.4g}" for objective, value in pairs)
        self._ended(configuration, "complete", found + self._incumbents.beside(configuration))

    def pruned(self, configuration: SearchConfiguration, reason: str) -> None:
        """It was given up early; the last point of its curve is its value."""
        self._report(configuration)
        self._studies[configuration.study].prune(configuration.number, reason)
        self._ended(configuration, "pruned", reason)

    def failed(self, configuration: SearchConfiguration, reason: str) -> None:
        """It came to nothing."""
        self._report(configuration)
        self._studies[configuration.study].fail(configuration.number, reason)
        self._ended(configuration, "failed", reason)

    def repeat_ended(self, configuration: SearchConfiguration) -> None:
        """Keep where its learning curve stands after another network."""
        self._report(configuration, 1)

    def reported(
        self,
        key: str,
        epoch: int,
        metrics: Mapping[str, float],
        running: Collection[SearchConfiguration],
    ) -> None:
        """Keep an epoch of a network that is being trained, if there is time for it.

        Args:
            key: Of its node.
            epoch: Its number, from 1.
            metrics: Of the epoch.
            running: Configurations that have not ended. Epochs of a second repeat count from the end of the
                first one: they are kept when it has ended.
        """
        owners = [one for one in running if one.keys[0] == key]
        if len(self._objectives) == 1 and owners:
            with self._live.writing(key, epoch, metrics) as points:
                for one in owners:
                    self._studies[one.study].report(one.number, points)

    def _report(self, configuration: SearchConfiguration, n_points: int = N_POINTS) -> None:
        if len(self._objectives) == 1:
            points = learning_points(self._objectives[0], records_of(configuration.started, self._store))
            self._studies[configuration.study].report(configuration.number, thinned(points, n_points))

    def _ended(self, configuration: SearchConfiguration, state: str, words: str) -> None:
        self.n_by_state[state] += 1
        self._live.forget(configuration.keys)
        values = short_settings(configuration.values)
        self._ledger.trial_ended(f"{state:<8} {configuration.title} {values}: {words}")


def records_of(nodes: Sequence[Node], store: Store) -> list[Record]:
    """Records of those nodes that have one, in their order."""
    records = (store.record(node.stage, node.key) for node in nodes)
    return [record for record in records if record is not None]
