"""What a person asks for, made ready: all names and headers checked before any weights are read.

Joins the names (`jobs`), the headers (`channels`) and the run (`trained`), so that everything that is wrong
is told at once. Computes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.volumes import read_header
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.prediction.channels import Channel, find_channels
from dwp_sweep.prediction.jobs import Job, Outputs, Plan, plan_jobs
from dwp_sweep.prediction.trained import Device, Trained, find_trained


@dataclass(frozen=True)
class Request:
    """What to predict with what.

    Attributes:
        run: As for `find_trained`.
        images: As for `plan_jobs`.
        outputs: Likewise.
        force: Write over files that exist.
        where: As for `find_trained`; likewise the next three.
        storage: Where nodes are looked for first.
        tracking_uri: Of MLflow.
        device: Where to compute.
    """

    run: str
    images: Sequence[Path]
    outputs: Outputs
    force: bool
    where: Mapping[str, Any] | None
    storage: str | Path
    tracking_uri: str | None
    device: Device


@dataclass(frozen=True, eq=False)
class Ready:
    """A request of which names, headers and run are good.

    Attributes:
        trained: The network.
        scans: The volumes that are each job's channels.
        skipped: Files of a folder that are named as masks, and were left out.
    """

    trained: Trained
    scans: Mapping[Job, tuple[Channel, ...]]
    skipped: tuple[Path, ...] = ()


def make_ready(request: Request) -> Ready:
    """Check everything, then load the network.

    Raises:
        InputError: All problems of outputs, files and run together.
    """
    plan = plan_jobs(request.images, request.outputs, request.force)
    check = _Check(plan)
    try:
        trained = find_trained(
            request.run, request.storage, request.tracking_uri, request.where, request.device, check
        )
    except InputError as error:
        # Without a run nobody knows its channels, but files that are no scans can be told.
        mine = () if check.was_asked else (*plan.problems, *_header_problems(plan.jobs))
        raise InputError(dict.fromkeys((*mine, *error.problems))) from error
    return Ready(trained, check.scans, plan.skipped)


class _Check:
    """Asked with the run's data set, before its weights are read."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.was_asked = False
        self.scans: dict[Job, tuple[Channel, ...]] = {}

    def __call__(self, dataset: DatasetConfig) -> None:
        self.was_asked = True
        problems = list(self._plan.problems)
        told = {problem.where for problem in problems}  # a missing channel need not be missed twice
        for job in self._plan.jobs:
            try:
                self.scans[job] = find_channels(job.images, dataset)
            except InputError as error:
                problems += [problem for problem in error.problems if problem.where not in told]
        if problems:
            raise InputError(dict.fromkeys(problems))


def _header_problems(jobs: Sequence[Job]) -> list[Problem]:
    problems: list[Problem] = []
    for path in dict.fromkeys(path for job in jobs for path in job.images):
        try:
            read_header(path)
        except InputError as error:
            problems += error.problems
    return problems
