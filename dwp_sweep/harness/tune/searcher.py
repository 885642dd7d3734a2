"""Tune's searcher over the DAG: what Tune asks for and tells, put to `Dispatch`.

Tune asks `suggest` for work: a node, None while nothing is ready, FINISHED at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.tune.search import Searcher

from dwp_sweep.harness.dispatch import Dispatch

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
            self.dispatch.close(trial_id, bool(last.get("stopped")), str(last.get("failure", "")))

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
