"""Trials of plain Ray Tune that only sleep, with reused actors: what any sweep pays Tune for a trial.

The yardstick of the bench `makespan`: also how long processes stand idle between trials, and when each of
them began. Their processes load what ours load, so that only what happens between two trials differs.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import defaultdict
from collections.abc import Sequence
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
    metrics = [results[place].metrics or {} for place in range(len(results))]
    return [Span(trial["began_s"], trial["ended_s"], trial["pid"]) for trial in metrics]


def gaps(spans: Sequence[Span]) -> list[float]:
    """Seconds between a trial and the next one in the same process, of all processes."""
    own: defaultdict[int, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: span.began_s):
        own[span.pid].append(span)
    return [
        later.began_s - earlier.ended_s
        for of_process in own.values()
        for earlier, later in itertools.pairwise(of_process)
    ]


def first_starts(spans: Sequence[Span], since_s: float) -> list[float]:
    """Seconds from a moment to the first trial of each process, the earliest first."""
    firsts: dict[int, float] = {}
    for span in spans:
        firsts[span.pid] = min(firsts.get(span.pid, span.began_s), span.began_s)
    return sorted(began_s - since_s for began_s in firsts.values())


def _trial(config: dict[str, Any]) -> None:
    from ray import tune

    began_s = time.time()
    time.sleep(config["sleep_s"])
    tune.report({"began_s": began_s, "ended_s": time.time(), "pid": os.getpid()})
