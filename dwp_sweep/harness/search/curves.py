"""Which points of a trial's learning curve a study keeps: writing one may take tens of milliseconds.

Optuna keeps curves as intermediate values, which its pages draw. While a network is trained one point is
written now and then; when its trial ends, some of all points that are in the records (`learning_points`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from dwp_sweep.config.sections import ObjectiveConfig
from dwp_sweep.stages.contract import WARM_UP_EPOCHS

_SHARE = 0.02
"""Largest share of the driver's time that goes into writing points: a database may be far away."""

N_POINTS = 16


def thinned(points: Mapping[int, float], n: int = N_POINTS) -> dict[int, float]:
    """At most so many points of a curve, the last one included: a pruned trial is judged by it."""
    steps = sorted(points)
    if len(steps) <= n:
        return dict(points)
    places = {len(steps) - 1 - (len(steps) * place) // n for place in range(n)}
    return {steps[place]: points[steps[place]] for place in sorted(places)}


class LiveCurves:
    """The best value so far of each network that is being trained, and whether there is time to write it.

    Args:
        objective: What is searched for.
        clock: Seconds.
    """

    def __init__(self, objective: ObjectiveConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._objective, self._clock = objective, clock
        self._best: dict[str, float] = {}
        self._not_before_s = float("-inf")

    @contextmanager
    def writing(self, key: str, epoch: int, metrics: Mapping[str, float]) -> Iterator[dict[int, float]]:
        """The epoch with the best value of a network up to it; empty where nothing shall be written now.

        Args:
            key: Of its node.
            epoch: Its number, from 1. Epochs of a warm-up are no candidates for the best one.
            metrics: Of the epoch.
        """
        value = metrics.get(self._objective.metric)
        if value is None or epoch <= metrics.get(WARM_UP_EPOCHS, 0.0):
            yield {}
            return
        better = max if self._objective.mode == "max" else min
        self._best[key] = better(value, self._best.get(key, value))
        began_s = self._clock()
        if began_s < self._not_before_s:
            yield {}
            return
        yield {epoch: self._best[key]}
        ended_s = self._clock()
        self._not_before_s = ended_s + (ended_s - began_s) / _SHARE

    def forget(self, keys: Iterable[str]) -> None:
        """Networks whose trial has ended."""
        for key in keys:
            self._best.pop(key, None)
