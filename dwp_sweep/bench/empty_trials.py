"""Trials of plain Ray Tune that only sleep, with reused actors: what any sweep pays Tune for a trial.

The yardstick of the bench `makespan`. Their processes load what ours load, so that only what happens
between two trials differs. Knows nothing of nodes.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dwp_sweep.bench.sleeping import Span


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


def gaps(spans: Sequence[Span]) -> list[float]:
    """Seconds between a trial and the next one in the same process, of all processes."""
    own: defaultdict[int, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda one: one.began_s):
        own[span.pid].append(span)
    return [
        later.began_s - earlier.ended_s
        for found in own.values()
        for earlier, later in itertools.pairwise(found)
    ]


def first_starts(spans: Sequence[Span], since_s: float) -> list[float]:
    """Seconds from a moment to the first trial of each process, the earliest first."""
    firsts: dict[int, float] = {}
    for span in spans:
        firsts[span.pid] = min(firsts.get(span.pid, span.began_s), span.began_s)
    return sorted(began_s - since_s for began_s in firsts.values())
