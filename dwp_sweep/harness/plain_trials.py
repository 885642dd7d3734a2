"""Trials of plain Ray Tune that only sleep, with reused actors: what any sweep pays Tune for a trial.

The yardstick of the bench `makespan`. Their processes load what ours load, so that only what happens
between two trials differs. Knows nothing of nodes.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Span:
    """When a trial's own work began and ended, and in which process. Unix time in seconds."""

    began_s: float
    ended_s: float
    pid: int


def plain_trials(n_trials: int, sleep_s: float, folder: Path) -> list[Span]:
    """Run trials of Ray Tune that sleep, one CPU each, in the Ray of this process.

    Args:
        n_trials: How many.
        sleep_s: How long each sleeps.
        folder: For what Tune writes.
    """
    from ray import tune

    tuner = tune.Tuner(
        tune.with_resources(_trial, {"CPU": 1}),
        param_space={"sleep_s": sleep_s},
        tune_config=tune.TuneConfig(num_samples=n_trials, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
    )
    results = tuner.fit()
    found = [results[place].metrics or {} for place in range(len(results))]
    return [Span(one["began_s"], one["ended_s"], one["pid"]) for one in found]


def _trial(config: dict[str, Any]) -> None:
    from ray import tune

    began_s = time.time()
    time.sleep(config["sleep_s"])
    tune.report({"began_s": began_s, "ended_s": time.time(), "pid": os.getpid()})
