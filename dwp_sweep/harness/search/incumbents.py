"""Pruning of configurations: gives one up when it is significantly worse than the best one of its study.

The search plan compares after each repeat that has ended; the scores are those on the storage.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean

from dwp_sweep.config.node import Node, short_settings
from dwp_sweep.config.search.definition import SearchSpace
from dwp_sweep.errors import CorruptArtifactError
from dwp_sweep.harness.search.configuration import SearchConfiguration
from dwp_sweep.store.protocol import Store

VAL_SCORES = "val_scores.json"
SIGNIFICANCE = 0.05

Scores = Mapping[tuple[int, str], float]
"""(repeat, patient) -> validation score, the mean of the patient's scans."""


class Incumbents:
    """The best configuration of each study, which the others are compared with.

    Args:
        search: Says what is better, and from how many configurations on one is compared at all.
        store: Holds the scores.
    """

    def __init__(self, search: SearchSpace, store: Store) -> None:
        self._search, self._store = search, store
        self._sign = 1.0 if search.objectives[0].mode == "max" else -1.0
        self._best: dict[str, tuple[float, SearchConfiguration]] = {}
        self._n_complete: Counter[str] = Counter()

    def completed(self, configuration: SearchConfiguration, objectives: Sequence[float]) -> None:
        """A configuration has ended with these objectives; several of them have no best one."""
        self._n_complete[configuration.study] += 1
        if len(self._search.objectives) > 1:
            return
        best, value = self._best.get(configuration.study), self._sign * objectives[0]
        if best is None or value > best[0]:
            self._best[configuration.study] = (value, configuration)

    def beside(self, configuration: SearchConfiguration) -> str:
        """``, the best so far``, or how the best one of its study stands; empty for several objectives."""
        best = self._best.get(configuration.study)
        if best is None:
            return ""
        if best[1] is configuration:
            return ", the best so far"
        return f" (best so far {self._sign * best[0]:.4g}, trial {best[1].number})"

    def lines(self) -> tuple[str, ...]:
        """The best configuration of each study so far, in words."""
        metric = self._search.objectives[0].metric
        return tuple(
            f"{metric} {self._sign * value:.4g}, {one.title} {short_settings(one.values)}"
            for value, one in self._best.values()
        )

    def beat(self, configuration: SearchConfiguration, ended: Mapping[int, Node]) -> bool:
        """Whether a configuration is worse than the best one of its study, by the repeats that have ended."""
        best = self._best.get(configuration.study)
        few = self._n_complete[configuration.study] < self._search.scheduler.min_configurations
        if best is None or few or self._search.scheduler.kind == "none":
            return False
        metric = self._search.objectives[0].metric
        own = validation_scores(self._store, ended, metric)
        return is_worse(own, validation_scores(self._store, dict(enumerate(best[1].nodes)), metric))


def is_worse(scores: Scores, best: Scores, significance: float = SIGNIFICANCE) -> bool:
    """Whether scores are lower than the best configuration's: one-sided Wilcoxon signed-rank test.

    Compares the subjects of the repeats that both have; a mean over a few splits could never tell. Splits
    validate on many of the same subjects, so each subject gives one value: its mean over the repeats. Fewer
    than five subjects that differ cannot reach 0.05. The test is taken again after each repeat, so that
    somewhat more than one in twenty equal configurations is given up.

    Args:
        scores: Of the configuration in question, as far as it has got.
        best: Of the best configuration so far.
        significance: Largest p value that counts.
    """
    by_subject: dict[str, list[float]] = {}
    for place, value in scores.items():
        if place in best:
            by_subject.setdefault(place[1], []).append(value - best[place])
    differences = [mean for values in by_subject.values() if (mean := fmean(values))]
    if not differences:
        return False
    from scipy.stats import wilcoxon  # half a second that no worker and no plan needs

    return bool(wilcoxon(differences, alternative="less").pvalue < significance)


def validation_scores(store: Store, nodes: Mapping[int, Node], metric: str) -> Scores:
    """Validation scores of published target nodes by repeat and patient; of those without any, none.

    Args:
        store: The storage.
        nodes: Repeat -> node, of those that have ended. Repeats run side by side and end in any order, and
            only equal ones may be compared: each has its own subjects.
        metric: ``val_dice`` or ``val_iou``; others are not known by subject.
    """
    name = metric.removeprefix("val_")
    known: dict[tuple[int, str], float] = {}
    for repeat, node in nodes.items():
        try:
            path = store.fetch_file(node.stage, node.key, VAL_SCORES)
            table = json.loads(path.read_text()) if path is not None else {}
            by_patient: dict[str, list[float]] = {}
            for subject, scores in table.items():
                by_patient.setdefault(scores.get("patient", subject), []).append(float(scores[name]))
            known |= {(repeat, patient): fmean(values) for patient, values in by_patient.items()}
        except (OSError, ValueError, KeyError, TypeError, CorruptArtifactError):
            continue
    return known
