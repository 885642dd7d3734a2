"""What Tune asks for and reports, put to `Dispatch`: a searcher over the DAG, and a callback beside it.

Tune asks `DagSearcher.suggest` for work: a node, None while nothing is ready, FINISHED at the end. It does
not report everything to its searcher: when a reused actor cannot be reset, the *next* trial is set to ERROR
without a call of the searcher, and a DAG would wait for its node for ever. After every step `Reconcile`
therefore compares all ended trials with the nodes in hand.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from dwp_sweep.harness.dag.failures import Place
from dwp_sweep.harness.dispatch import Dispatch
from dwp_sweep.harness.tune.lost_trials import Loss, loss_of, place_of

_LOOK_EVERY_S = 1.0
_METRICS = "metrics/"  # Tune flattens what the worker reported


class DagSearcher(Searcher):
    """Schedules nodes through Tune.

    Args:
        dispatch: Decides which node comes next and settles those that have ended.
    """

    def __init__(self, dispatch: Dispatch) -> None:
        super().__init__(metric=None, mode=None)
        self.dispatch = dispatch

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """A node for a trial, None while there is none, FINISHED at the end."""
        node = self.dispatch.next_node(trial_id)
        if node is not None:
            avoided = self.dispatch.avoided(node.stage)
            return {"node": node.key, "stage": node.stage} | ({"avoided": avoided} if avoided else {})
        return str(Searcher.FINISHED) if self.dispatch.is_finished else None

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """A worker has reported how far its node is."""
        if "epoch" in result:
            metrics = {
                name.removeprefix(_METRICS): value
                for name, value in result.items()
                if name.startswith(_METRICS)
            }
            self.dispatch.reported(trial_id, int(result["epoch"]), int(result["n_epochs"]), metrics)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Settle a trial's node; an error is settled by the callback, which knows the reason."""
        if not error:
            last = result or {}
            self.dispatch.close(
                trial_id,
                is_stopped=bool(last.get("stopped")),
                lost=str(last.get("failure", "")),
                is_unsent=bool(last.get("unsent")),
                place=Place(str(last.get("machine", "")), str(last.get("hostname", ""))),
            )

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Tune's limiter steps aside: admission is by resources, in `Dispatch`."""
        return True

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the store is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the store is the truth."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing to restore from: Tune pickles its searcher for `Tuner.restore`, which is never used."""
        return {}


class Reconcile(Callback):
    """Settles trials that start, fail or vanish.

    Args:
        dispatch: That of the same run.
    """

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch, self._ledger = dispatch, dispatch.ledger
        self._actors: dict[str, Any] = {}
        self._stalled: dict[str, str] = {}
        self._looked_s = float("-inf")

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial has an actor and begins."""
        self._actors[trial.trial_id] = trial.temporary_state.ray_actor
        self._ledger.started(trial.trial_id)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial has ended by itself."""
        self._actors.pop(trial.trial_id, None)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial lost its worker; `Dispatch` decides whether the node gets another trial."""
        self._settle(trial)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Settle nodes of trials that ended without the searcher's knowledge."""
        self._ledger.watch()
        self._kill_stalled()
        in_hand = self._ledger.in_hand.work
        if self._ledger.is_draining and not self._ledger.says_draining:
            # Not from the signal's handler: printing there may meet a print half done.
            self._ledger.says_draining = True
            self._ledger.note("stopping: running nodes leave at their checkpoints; Ctrl-C again ends at once")
        for trial in trials:
            if trial.trial_id in in_hand and trial.status in (Trial.ERROR, Trial.TERMINATED):
                self._settle(trial)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing to restore from: the store is the truth."""
        return {}

    def _kill_stalled(self) -> None:
        """Kill the workers of trials that stand still; Tune then reports them as errors."""
        if time.monotonic() - self._looked_s < _LOOK_EVERY_S:
            return
        self._looked_s = time.monotonic()
        for trial_id, reason in self._dispatch.stalled().items():
            actor = self._actors.get(trial_id)
            if actor is not None and trial_id not in self._stalled:
                self._stalled[trial_id] = reason
                self._ledger.stalled(self._ledger.in_hand.work[trial_id].node, reason)
                ray.kill(actor)

    def _settle(self, trial: Trial) -> None:
        place = place_of(self._actors.pop(trial.trial_id, None))
        stalled = self._stalled.pop(trial.trial_id, "")
        loss = Loss("stalled", stalled) if stalled else loss_of(trial)
        self._dispatch.close(trial.trial_id, lost=loss.reason, kind=loss.kind, place=place)
