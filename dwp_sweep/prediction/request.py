"""What a person asks for, made ready: all names and headers checked before any weights are read.

Joins the names (`jobs`), the headers of the scans, whose volumes are the network's channels, and the run
(`trained`), so that everything that is wrong is reported at once. Computes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dwp_sweep.data.config import DatasetConfig, several
from dwp_sweep.data.files.volumes import Volume, read_header, read_volume
from dwp_sweep.data.pair import geometry_problems
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.metrics.temperature import Temperature
from dwp_sweep.prediction.ensemble import find_ensemble
from dwp_sweep.prediction.jobs import Outputs, PredictionJob, PredictionPlan, plan_jobs
from dwp_sweep.prediction.trained import Device, Estimate, Trained, find_trained
from dwp_sweep.stages.evaluation import NO_TEMPERATURE


class Channel(NamedTuple):
    """One volume: a file, and which volume of it where it is 4D."""

    path: Path
    volume: int | None


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
        estimate: Of a variational network, for mask, probability and uncertainty alike.
        calibrate: Show probability and uncertainty at the network's temperature.
        ensemble: Predict with the mean of all networks of the best configuration.
    """

    run: str
    images: Sequence[Path]
    outputs: Outputs
    force: bool
    where: Mapping[str, Any] | None
    storage: str | Path
    tracking_uri: str | None
    device: Device
    estimate: Estimate = "draws"
    calibrate: bool = True
    ensemble: bool = False


@dataclass(frozen=True, eq=False)
class Ready:
    """A request of which names, headers and run are good.

    Attributes:
        trained: The network.
        scans: The volumes that are each job's channels.
        skipped: Files of a folder that are named as masks, and were left out.
    """

    trained: Trained
    scans: Mapping[PredictionJob, tuple[Channel, ...]]
    skipped: tuple[Path, ...] = ()


def make_ready(request: Request) -> Ready:
    """Check everything, then load the network.

    Raises:
        InputError: All problems of outputs, files and run together.
    """
    plan = plan_jobs(request.images, request.outputs, request.force)
    check = _Check(plan)
    try:
        trained = (find_ensemble if request.ensemble else find_trained)(
            request.run, request.storage, request.tracking_uri, request.where, request.device, check
        )
    except InputError as error:
        # Without a run nobody knows its channels, but files that are no scans can be reported.
        own = () if check.was_asked else (*plan.problems, *_header_problems(plan.jobs))
        raise InputError(dict.fromkeys((*own, *error.problems))) from error
    return Ready(_as_asked(trained, request), check.scans, plan.skipped)


def _as_asked(trained: Trained, request: Request) -> Trained:
    if not request.calibrate:
        trained = replace(trained, temperature=NO_TEMPERATURE)
    if request.estimate == "mean":
        others = tuple(replace(one, n_samples=0) for one in trained.others)
        trained = replace(trained, n_samples=0, others=others)
        if trained.temperature.is_fitted and trained.is_variational:
            note = "the temperature is that of the mean over weight draws"
            trained = replace(trained, temperature=Temperature(note=note))
    return trained


def find_channels(images: Sequence[Path], dataset: DatasetConfig) -> tuple[Channel, ...]:
    """Which volumes of the files are the network's channels; reads headers alone.

    Args:
        images: In the order of the training's channels; 4D files count for as many as they hold, or for
            those that the training took from its own 4D files.
        dataset: Of the training.

    Raises:
        InputError: Files that are no 3D or 4D NIfTI, another number of channels, files on different grids.
    """
    problems: list[Problem] = []
    channels: list[Channel] = []
    for path in images:
        try:
            channels += _channels(path, dataset)
        except InputError as error:
            problems += error.problems
    for other in images[1:]:
        problems += geometry_problems(images[0], other, "image")
    if not problems and len(channels) != dataset.n_channels:
        problems.append(_other_number(images, len(channels), dataset))
    if problems:
        raise InputError(dict.fromkeys(problems))
    return tuple(channels)


def read_channels(channels: Sequence[Channel]) -> tuple[Volume, ...]:
    """The voxels of all channels.

    Raises:
        InputError: Truncated files, NaN or infinite voxels, constant images.
    """
    volumes = []
    for path, volume in channels:
        volumes.append(read_volume(path, volume))
        if float(np.ptp(volumes[-1].data)) == 0.0:
            what = f"constant image: every voxel is {volumes[-1].data.flat[0]:g}"
            raise InputError(Problem(str(path), what, "export the scan again"))
    return tuple(volumes)


class _Check:
    """Asked with the run's data set, before its weights are read."""

    def __init__(self, plan: PredictionPlan) -> None:
        self._plan = plan
        self.was_asked = False
        self.scans: dict[PredictionJob, tuple[Channel, ...]] = {}

    def __call__(self, dataset: DatasetConfig) -> None:
        self.was_asked = True
        problems = list(self._plan.problems)
        reported = {problem.where for problem in problems}  # a missing channel need not be missed twice
        for job in self._plan.jobs:
            try:
                self.scans[job] = find_channels(job.images, dataset)
            except InputError as error:
                problems += [problem for problem in error.problems if problem.where not in reported]
        if problems:
            raise InputError(dict.fromkeys(problems))


def _header_problems(jobs: Sequence[PredictionJob]) -> list[Problem]:
    problems: list[Problem] = []
    for path in dict.fromkeys(path for job in jobs for path in job.images):
        try:
            read_header(path)
        except InputError as error:
            problems += error.problems
    return problems


def _channels(path: Path, dataset: DatasetConfig) -> list[Channel]:
    n = read_header(path).n_channels
    if n == 1:
        return [Channel(path, None)]
    if dataset.channel is None:
        return [Channel(path, index) for index in range(n)]
    beyond = [index for index in several(dataset.channel) if index is not None and index >= n]
    if beyond:
        what = f"has {n} volumes, and the network was trained on volume {', '.join(map(str, beyond))} too"
        raise InputError(Problem(str(path), what, "volumes count from 0"))
    return [Channel(path, index) for index in several(dataset.channel)]


def _other_number(images: Sequence[Path], n: int, dataset: DatasetConfig) -> Problem:
    wanted = dataset.n_channels
    names = f" ({', '.join(dataset.channel_names)})" if dataset.channel_names else ""
    what = f"{_count(n)} given, and the network was trained on {_count(wanted)}{names}"
    fix = "give one 3D image" if wanted == 1 else f"name {wanted} images in this order, with commas between"
    return Problem(", ".join(map(str, images)), what, fix)


def _count(n: int) -> str:
    return f"{n} channel{'' if n == 1 else 's'}"
