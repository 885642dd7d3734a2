"""Giving up: when a configuration is worse than the best one beyond doubt, and whose record says so.

Between the search plan and the store. Knows nothing of Optuna and of Ray.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from dwp_sweep.config.node import Node
from dwp_sweep.errors import CorruptArtifactError
from dwp_sweep.store.protocol import Store

VAL_SCORES = "val_scores.json"
SIGNIFICANCE = 0.05

Scores = Mapping[tuple[int, str], float]
"""(repeat, subject) -> validation score."""


def is_worse(scores: Scores, best: Scores, significance: float = SIGNIFICANCE) -> bool:
    """Whether scores are lower than the best configuration's: one-sided Wilcoxon signed-rank test.

    Compares the subjects of the repeats that both have; a mean over a few splits could never tell. Fewer
    than five subjects that differ cannot reach 0.05. The test is taken again after each repeat, so that
    somewhat more than one in twenty equal configurations is given up.

    Args:
        scores: Of the configuration in question, as far as it has got.
        best: Of the best configuration so far.
        significance: Largest p value that counts.
    """
    pairs = [(value, best[place]) for place, value in scores.items() if place in best]
    differences = [value - other for value, other in pairs if value != other]
    if not differences:
        return False
    from scipy.stats import wilcoxon  # half a second that no worker and no plan needs

    return bool(wilcoxon(differences, alternative="less").pvalue < significance)


def validation_scores(store: Store, nodes: Mapping[int, Node], metric: str) -> Scores:
    """Validation scores of published target nodes by repeat; of those without any, none.

    Args:
        store: The storage.
        nodes: Repeat -> node, of those that have ended. Repeats run side by side and end in any order, and
            only equal ones may be compared: each has its own subjects.
        metric: ``val_dice`` or ``val_iou``; others are not known by subject.
    """
    name = metric.removeprefix("val_")
    found: dict[tuple[int, str], float] = {}
    for repeat, node in nodes.items():
        try:
            path = store.fetch_file(node.stage, node.key, VAL_SCORES)
            table = json.loads(path.read_text()) if path is not None else {}
            found |= {(repeat, subject): float(scores[name]) for subject, scores in table.items()}
        except (OSError, ValueError, KeyError, TypeError, CorruptArtifactError):
            continue
    return found
