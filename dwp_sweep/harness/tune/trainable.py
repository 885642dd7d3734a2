"""The function that Tune runs in a worker: one trial, reported to Tune.

The thin layer between Ray and `trial`. A node that fails is a trial that ends normally: Tune repeats lost
workers, not deterministic failures.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray import tune

from dwp_sweep.harness.trial import TrialContext, run_trial
from dwp_sweep.stages.workload import OBJECTIVE_STAGE
from dwp_sweep.store.open_store import open_store

REPORT_EVERY_S = 0.5


def make_trainable(context: TrialContext) -> Callable[[dict[str, Any]], None]:
    """The function for `tune.Tuner`; a trial's config is ``{"node": key, "stage": name}``."""

    def node(config: dict[str, Any]) -> None:
        run_in_worker(config["stage"], config["node"], context)

    return node


def request(context: TrialContext, config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """What a trial asks Ray for: the resources of its stage, on none of the machines that it avoids.

    It stands here because workers unpickle it with the trainable, and shall not import the driver's side.
    """
    bundles: list[Any] = [context.resources_by_stage[config["stage"]].bundle]
    others: dict[str, Any] = {}
    if avoided := config.get("avoided"):
        others["bundle_label_selector"] = [{"ray.io/node-id": f"!in({','.join(avoided)})"}]
    return tune.PlacementGroupFactory(bundles, **others)


def run_in_worker(stage: str, key: str, context: TrialContext) -> None:
    """Run one node in this process and report how it ended."""
    for name, value in context.environment.items():
        os.environ.setdefault(name, value)
    is_judged = context.every_epoch and stage == OBJECTIVE_STAGE
    reporter = _Reporter(key, 0.0 if is_judged else REPORT_EVERY_S)
    ending = run_trial(stage, key, open_store(context.root, check=False), context, reporter)
    if ending.needs_new_process:
        # The failure is recorded; Tune starts a fresh worker, which finds the record and reports it.
        os._exit(1)
    tune.report(
        {
            "node": key,
            "published": ending.status == "published",
            "stopped": ending.status == "stopped",
            "machine": ray.get_runtime_context().get_node_id(),
        }
        | ({"failure": ending.message} if ending.message else {})
        | ({"unsent": True} if ending.is_unsent else {})
    )


class _Reporter:
    """Reports epochs to Tune, not more often than a display can use: each report waits for the driver."""

    def __init__(self, key: str, every_s: float = REPORT_EVERY_S) -> None:
        self._key, self._every_s = key, every_s
        self._last_s = float("-inf")

    def __call__(self, epoch: int, n_epochs: int, metrics: Mapping[str, float]) -> None:
        if epoch:  # what comes before the first is rare and must not hide it
            if time.monotonic() - self._last_s < self._every_s:
                return
            self._last_s = time.monotonic()
        tune.report({"node": self._key, "epoch": epoch, "n_epochs": n_epochs, "metrics": dict(metrics)})
