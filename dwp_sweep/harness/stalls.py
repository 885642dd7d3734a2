"""When a running node counts as stalled: it reports nothing for long, or it takes longer than it may.

Signs of life are epochs, and scans that are read or scored. The limit follows the epochs that were measured,
of the node itself or of the slowest one of its stage, so that it needs no setting. Nodes of which no epoch is
known are never judged by their silence.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from itertools import pairwise

from dwp_sweep.config.sections import HOUR_S, FailuresConfig, ResourcesConfig
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.harness.dag.in_hand import InHand, Work
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import Point

_N_READ = 50
"""Newest nodes of a stage whose epochs are looked at: enough for a median."""
_MINUTE_S = 60.0


class StallRule:
    """Says which of the running nodes have stalled.

    Args:
        in_hand: The work of a run.
        config: When a node that reports nothing has stalled.
        resources: Stage -> settings, with the longest time of an attempt.
    """

    def __init__(
        self, in_hand: InHand, config: FailuresConfig, resources: Mapping[str, ResourcesConfig]
    ) -> None:
        self._in_hand, self._config, self._resources = in_hand, config, resources

    def stalled(self) -> dict[str, str]:
        """Trial -> why it has stalled, in words."""
        reasons = {work.trial_id: self._reason(work) for work in self._in_hand.running()}
        return {trial_id: reason for trial_id, reason in reasons.items() if reason}

    def _reason(self, work: Work) -> str:
        stage, now_s = work.node.stage, self._in_hand.now_s
        hours = self._resources[stage].max_hours if stage in self._resources else None
        ran_s = now_s - (now_s if work.started_s is None else work.started_s)
        if hours is not None and ran_s > hours * HOUR_S:
            return f"stalled: it ran for more than resources.{stage}.max_hours = {hours:g}"
        limit_s, silent_s = silence_limit_s(self._config, self._in_hand.epoch_s(work)), work.silent_s(now_s)
        if limit_s is None or silent_s <= limit_s:
            return ""
        epoch_s = self._in_hand.epoch_s(work) or 0.0
        return (
            f"stalled: no sign of life for {silent_s / _MINUTE_S:.3g} min, where an epoch takes "
            f"{epoch_s:.3g} s (failures.stalled_epochs, failures.stalled_minutes)"
        )


def silence_limit_s(config: FailuresConfig, epoch_s: float | None) -> float | None:
    """Seconds without a sign of life after which a node has stalled; None: no silence is judged.

    Args:
        config: Of the run.
        epoch_s: Median seconds of an epoch; None while unknown.
    """
    if epoch_s is None or config.stalled_epochs is None:
        return None
    return max(config.stalled_epochs * epoch_s, config.stalled_minutes * _MINUTE_S)


def require_reachable(resources: Mapping[str, ResourcesConfig], store: Store) -> None:
    """Make sure that no stage has less time than one epoch took in earlier runs.

    Raises:
        InputError: A stage has less: no attempt of it would come to a checkpoint.
    """
    problems = []
    for stage, config in resources.items():
        if config.max_hours is None:
            continue
        epoch_s = _past_epoch_s(store, stage)
        if epoch_s is not None and config.max_hours * HOUR_S < epoch_s:
            what = f"is below one epoch, of which the median on this storage took {epoch_s:.3g} s"
            fix = f"give some epochs' time, e.g. {max(10 * epoch_s / HOUR_S, 0.01):.2g}, or leave it out"
            problems.append(Problem(f"resources.{stage}.max_hours = {config.max_hours:g}", what, fix))
    if problems:
        raise InputError(problems)


def _past_epoch_s(store: Store, stage: str) -> float | None:
    """Median seconds of an epoch of a stage's newest nodes; None where none is known."""
    seconds: list[float] = []
    for _, key in store.published(stage)[-_N_READ:]:
        record = store.record(stage, key)
        seconds += _epochs_s(record.history if record is not None else ())
    return statistics.median(seconds) if seconds else None


def _epochs_s(history: tuple[Point, ...]) -> list[float]:
    pairs = [(last.time_ms - first.time_ms, last.step - first.step) for first, last in pairwise(history)]
    return [ms / 1000 / steps for ms, steps in pairs if steps > 0 and ms >= 0]
