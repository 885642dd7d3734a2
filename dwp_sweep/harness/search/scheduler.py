"""Tune's scheduler of a search: gives target networks up early, by ASHA or the median rule.

One set of rungs for each study and repeat: a network on five images never competes with one on twenty,
nor one split with another. A node that is given up leaves by itself after its epoch, because of a file in its
working folder: Tune stops no trial, so that the worker records, logs and can be reused. Upstream nodes
belong to no study and are never judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from dwp_sweep.config.node import Node
from dwp_sweep.config.sections import ObjectiveConfig, SchedulerConfig
from dwp_sweep.harness.search.configuration import Member, best_so_far
from dwp_sweep.harness.search.search_plan import SearchPlan
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import Record

_EPOCH, _VALUE = "epoch", "objective"
_NO_END = 1_000_000
"""Rungs have no end: the last epoch is never judged, because there is nothing left to save."""


@dataclass(frozen=True)
class _Contestant:
    """What the inner schedulers see of a trial: a node stays the same when its worker was lost."""

    trial_id: str


class SearchScheduler(FIFOScheduler):
    """Delegates to one scheduler for each study and repeat.

    Args:
        search: Says whose target a node is.
        store: Keeps the mark that a node is given up.
    """

    def __init__(self, search: SearchPlan, store: Store) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._search, self._store = search, store
        self._config, self._objective = search.search.scheduler, search.search.objectives[0]
        self._inner: dict[Member, Any] = {}
        self._added: set[str] = set()
        self._best: dict[str, float] = {}

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Judge an epoch of a target network; the trial itself always goes on."""
        key, value = trial.config["node"], result.get(f"metrics/{self._objective.metric}")
        if value is None:
            value = result.get("metrics", {}).get(self._objective.metric)
        member = self._search.member(key)
        if member is None or value is None or int(result[_EPOCH]) >= int(result["n_epochs"]):
            return str(TrialScheduler.CONTINUE)
        # The network that counts in the end is that of the best epoch.
        better = max if self._objective.mode == "max" else min
        self._best[key] = better(float(value), self._best.get(key, float(value)))
        if self._gives_up(tune_controller, key, member, int(result[_EPOCH]), self._best[key]):
            reason = f"{member.study}: {self._config.kind} after epoch {result[_EPOCH]}"
            self._store.ask_to_prune(trial.config["stage"], key, reason)
        return str(TrialScheduler.CONTINUE)

    def learn(self, node: Node, member: Member, record: Record) -> None:
        """Take in a network that was there before, so that later ones are judged beside it."""
        if node.key in self._added:
            return
        n_epochs = record.history[-1].step if record.history else 0
        for epoch, value in best_so_far(self._objective, record):
            if epoch < n_epochs or record.status == "pruned":
                self._gives_up(_NoTrials(), node.key, member, epoch, value)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: studies and store are the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing to restore from: Tune's own state is never taken up again."""
        return {}

    def _gives_up(self, controller: Any, key: str, member: Member, epoch: int, value: float) -> bool:
        if member not in self._inner:
            self._inner[member] = make_scheduler(self._config, self._objective)
        inner = self._inner[member]
        contestant = _Contestant(key)
        if key not in self._added:
            self._added.add(key)
            inner.on_trial_add(controller, contestant)
        decision = inner.on_trial_result(controller, contestant, {_EPOCH: epoch, _VALUE: value})
        return bool(decision == TrialScheduler.STOP)


class _NoTrials:
    """Stands for Tune where epochs of an earlier run are replayed."""

    def get_live_trials(self) -> list[Trial]:
        return []


def make_scheduler(config: SchedulerConfig, objective: ObjectiveConfig) -> Any:
    """Tune's own scheduler for one study and repeat."""
    if config.kind == "median":
        return MedianStoppingRule(
            time_attr=_EPOCH,
            metric=_VALUE,
            mode=objective.mode,
            grace_period=config.grace_epochs,
            min_samples_required=config.min_configurations,
        )
    return AsyncHyperBandScheduler(
        time_attr=_EPOCH,
        metric=_VALUE,
        mode=objective.mode,
        max_t=_NO_END,
        grace_period=config.grace_epochs,
        reduction_factor=config.reduction_factor,
        stop_last_trials=False,
    )
