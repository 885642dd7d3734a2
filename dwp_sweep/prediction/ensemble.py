"""All networks of a sweep's best configuration, over its splits and seeds, as one that predicts their mean.

Each was trained on other scans, or from another start. Their mean is more accurate than one of them as a
rule, shows where they disagree, and costs as many forward passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.metrics.temperature import Temperature
from dwp_sweep.prediction.trained import BEST, Check, Device, Trained, find_trained
from dwp_sweep.tracking.client import resolve_uri
from dwp_sweep.tracking.read.best import best_config

_NO_TEMPERATURE = "a network's temperature does not hold for the mean of several"


def find_ensemble(
    run: str,
    storage: str | Path,
    tracking_uri: str | None = None,
    where: Mapping[str, Any] | None = None,
    device: Device = "auto",
    check: Check = lambda dataset: None,
) -> Trained:
    """The networks of the best configuration as one; a single one is itself.

    Args:
        run: ``best:SWEEP``.
        storage: As for `find_trained`, as are the other arguments.
        tracking_uri: Likewise.
        where: Likewise.
        device: Likewise.
        check: Likewise; called with the data set of every network.

    Raises:
        InputError: As `find_trained`, or ``run`` is one run.
    """
    if not run.startswith(BEST):
        what = f"is the mean of the networks of a sweep's best configuration, and {run} is one network"
        raise InputError(Problem("--ensemble", what, f"say {BEST}SWEEP, or leave --ensemble out"))
    uri = resolve_uri(tracking_uri, storage)
    best = best_config(run.removeprefix(BEST), where=where, tracking_uri=uri)
    return as_one([find_trained(run_id, storage, uri, None, device, check) for run_id in best.run_ids])


def as_one(networks: Sequence[Trained]) -> Trained:
    """Several networks as one that predicts with their mean.

    Args:
        networks: Of one configuration, at least one. Scans are prepared as for the first.
    """
    first, *others = networks
    if not others:
        return first
    title = f"mean of {len(networks)} networks: {_joined([network.title for network in networks])}"
    runs = ", ".join(dict.fromkeys(network.run for network in networks))
    none = Temperature(note=_NO_TEMPERATURE)
    return replace(first, title=title, run=runs, others=tuple(others), temperature=none)


def _joined(titles: Sequence[str]) -> str:
    """``fine_tune, m = 5, split 0, 1, 2, seed 0`` from the titles of the networks."""
    parts = list(zip(*(title.split(", ") for title in titles), strict=False))
    return ", ".join(_part(list(dict.fromkeys(values))) for values in parts)


def _part(values: Sequence[str]) -> str:
    name = values[0].rpartition(" ")[0]
    return ", ".join([values[0], *(value.removeprefix(f"{name} ") for value in values[1:])])
