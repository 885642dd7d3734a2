"""Tune's scheduler of a search: gives target networks up early, by ASHA or the median rule.

One set of rungs for each study and repeat: a network on five images never competes with one on twenty,
nor one split with another. A node that is given up leaves by itself after its epoch, because of a file in its
working folder: Tune stops no trial, so that the worker records, logs and can be reused. Upstream nodes
belong to no study and are never judged.

Epochs of a warm-up (`WARM_UP_EPOCHS`) are no candidates for a network's best one: their values do not
count, and a network is not judged at the rungs among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from dwp_sweep.config.node import Node
from dwp_sweep.config.sections import ObjectiveConfig, SchedulerConfig
from dwp_sweep.harness.search.configuration import Member, best_so_far
from dwp_sweep.harness.search.search_plan import SearchPlan
from dwp_sweep.stages.contract import WARM_UP_EPOCHS
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
        key, value = trial.config["node"], _metric(result, self._objective.metric)
        member = self._search.member(key)
        if member is None or value is None or int(result[_EPOCH]) >= int(result["n_epochs"]):
            return str(TrialScheduler.CONTINUE)
        epoch, n_warm_up = int(result[_EPOCH]), int(_metric(result, WARM_UP_EPOCHS) or 0)
        if epoch <= n_warm_up:
            return str(TrialScheduler.CONTINUE)
        # The network that counts in the end is that of the best epoch.
        better = max if self._objective.mode == "max" else min
        self._best[key] = better(float(value), self._best.get(key, float(value)))
        if self._gives_up(tune_controller, key, member, epoch, self._best[key], n_warm_up):
            reason = f"{member.study}: {self._config.kind} after epoch {epoch}"
            self._store.ask_to_prune(trial.config["stage"], key, reason)
        return str(TrialScheduler.CONTINUE)

    def learn(self, node: Node, member: Member, record: Record) -> None:
        """Take in a network that was there before, so that later ones are judged beside it."""
        if node.key in self._added or not record.history:
            return
        last = record.history[-1]
        n_warm_up = int(last.metrics.get(WARM_UP_EPOCHS, 0))
        for epoch, value in best_so_far(self._objective, record):
            if epoch < last.step or record.status == "pruned":
                self._gives_up(_NoTrials(), node.key, member, epoch, value, n_warm_up)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: studies and store are the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing to restore from: Tune's own state is never taken up again."""
        return {}

    def _gives_up(
        self, controller: Any, key: str, member: Member, epoch: int, value: float, n_warm_up: int
    ) -> bool:
        if self._rung(epoch) <= n_warm_up:
            return False  # else Tune would judge and keep this epoch at a rung that others passed earlier
        if member not in self._inner:
            self._inner[member] = make_scheduler(self._config, self._objective)
        inner = self._inner[member]
        contestant = _Contestant(key)
        if key not in self._added:
            self._added.add(key)
            inner.on_trial_add(controller, contestant)
        decision = inner.on_trial_result(controller, contestant, {_EPOCH: epoch, _VALUE: value})
        return bool(decision == TrialScheduler.STOP)

    def _rung(self, epoch: int) -> float:
        """The rung that judges an epoch: ASHA's last one up to it; the median rule has one an epoch."""
        if self._config.kind == "median":
            return epoch
        rung = float(self._config.grace_epochs)
        while rung * self._config.reduction_factor <= epoch:
            rung *= self._config.reduction_factor
        return rung


def _metric(result: Mapping[str, Any], name: str) -> float | None:
    """A metric of what Tune passes on, flattened or not."""
    value: float | None = result.get(f"metrics/{name}")
    if value is None:
        value = result.get("metrics", {}).get(name)
    return value


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
