"""What Tune asks for and reports, put to `Dispatch`: a searcher over the DAG, and a callback beside it.

Tune asks `DagSearcher.suggest` for work: a node, None while nothing is ready, FINISHED at the end. It does
not report everything to its searcher: when a reused actor cannot be reset, the *next* trial is set to ERROR
without a call of the searcher, and a DAG would wait for its node for ever. After every step `Reconcile`
therefore compares all ended trials with the nodes in hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from dwp_sweep.harness.dispatch import Dispatch
from dwp_sweep.store.record import first_line

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
            return {"node": node.key, "stage": node.stage}
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

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial has an actor and begins."""
        self._ledger.started(trial.trial_id)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tune tries a trial again whose worker was lost."""
        work = self._ledger.in_hand.work.get(trial.trial_id)
        if work is not None:
            reason = first_line(_reason(trial))
            self._ledger.note(f"{work.node.title}: {reason}; it goes on from its checkpoint")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tune gave a trial up, after its retries."""
        self._dispatch.close(trial.trial_id, lost=_reason(trial), give_up=True)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Settle nodes of trials that ended without the searcher's knowledge."""
        self._ledger.watch()
        in_hand = self._ledger.in_hand.work
        if self._ledger.is_draining and not self._ledger.says_draining:
            # Not from the signal's handler: printing there may meet a print half done.
            self._ledger.says_draining = True
            self._ledger.note("stopping: running nodes leave at their checkpoints; Ctrl-C again ends at once")
        for trial in trials:
            if trial.trial_id in in_hand and trial.status in (Trial.ERROR, Trial.TERMINATED):
                self._dispatch.close(trial.trial_id, lost=_reason(trial))

    def __getstate__(self) -> dict[str, Any]:
        """Nothing to restore from: the store is the truth."""
        return {}


def _reason(trial: Trial) -> str:
    """Why a trial failed: one line, then Ray's own words. Tune keeps all failures of a trial in one text."""
    # `Trial.get_error` reads the storage, where the file arrives later.
    path = Path(trial.error_file) if trial.error_file else None
    failures = (path.read_text() if path and path.is_file() else "").split("Failure # ")
    lines = [line.strip() for line in failures[-1].splitlines()[1:] if line.strip()]
    text = "\n".join(lines)
    if "memory pressure" in text:
        return f"its worker was killed because the machine ran out of memory\n{text}"
    if "is temporarily unavailable" in text:
        return f"its worker cannot be reached (its machine was lost, or the network)\n{text}"
    if "died" in text:
        return f"its worker died (killed, out of memory, or its machine was lost)\n{text}"
    return f"its trial was aborted by Tune: {lines[-1] if lines else 'no reason given'}\n{text}".strip()
