"""Jobs carried out one after another: read, segment, write, each result whole or not at all.

Top of the package: joins the network, the names and the scans. Knows nothing of command lines.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dwp_sweep.data.volumes import write_volume
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.prediction.channels import Channel, read_channels
from dwp_sweep.prediction.jobs import Job
from dwp_sweep.prediction.request import Ready
from dwp_sweep.prediction.segment import Segmentation, Told, segment
from dwp_sweep.prediction.trained import Trained

Progress = Callable[[str, int, int], None]
"""Receives (scan, forward passes done, in all)."""


class Done(NamedTuple):
    """A job and what came out of it."""

    job: Job
    found: Segmentation


class Failed(NamedTuple):
    """A job whose scan cannot be used, one of several."""

    job: Job
    problems: tuple[Problem, ...]


def run_jobs(ready: Ready, progress: Progress | None = None) -> Iterator[Done | Failed]:
    """Segment scans; every output is written as soon as its scan is done.

    A scan whose voxels cannot be used does not keep the others from being segmented.

    Args:
        ready: From `make_ready`.
        progress: Told about every forward pass.

    Raises:
        InputError: The only scan's voxels cannot be used.
    """
    n = len(ready.scans)
    for number, (job, channels) in enumerate(ready.scans.items(), start=1):
        name = job.name if n == 1 else f"{number} of {n}: {job.name}"
        told = partial(progress, name) if progress is not None else None
        result: Done | Failed
        try:
            result = _carried_out(job, channels, ready.trained, told)
        except InputError as error:
            if n == 1:
                raise
            result = Failed(job, error.problems)
        yield result


def _carried_out(job: Job, channels: Sequence[Channel], trained: Trained, told: Told | None) -> Done:
    found = segment(read_channels(channels), trained, told)
    write(found, job, trained)
    return Done(job, found)


def write(found: Segmentation, job: Job, trained: Trained) -> None:
    """Write the outputs that a job asks for: all beside their places first, then all renamed."""
    beside: list[tuple[Path, Path]] = []
    try:
        for kind, path in job.outputs.given.items():
            path.parent.mkdir(exist_ok=True)
            beside.append((path.with_name(f".{uuid.uuid4().hex[:8]}.{path.name}"), path))
            _write_one(kind, found, beside[-1][0], f"{job.name}: {trained.title}", trained)
        for written, path in beside:
            written.replace(path)
    finally:
        for written, _ in beside:
            with suppress(OSError):
                written.unlink(missing_ok=True)


def _write_one(kind: str, found: Segmentation, path: Path, title: str, trained: Trained) -> None:
    if kind == "picture":
        from dwp_sweep.prediction.picture import draw

        draw(found, path, title, trained.dataset.preprocess.orientation)
        return
    voxels: dict[str, np.ndarray] = {
        "mask": found.mask,
        "probability": found.probability,
        "uncertainty": found.uncertainty,
    }
    write_volume(path, voxels[kind], found.affine)
