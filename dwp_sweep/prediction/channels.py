"""The channels of a scan to predict: as many, and on one grid, as the network was trained on.

Stands between files and preparation. Knows nothing of masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dwp_sweep.data.config import DatasetConfig, several
from dwp_sweep.data.pair import geometry_problems
from dwp_sweep.data.volumes import Volume, read_header, read_volume
from dwp_sweep.errors import InputError, Problem


class Channel(NamedTuple):
    """One volume: a file, and which volume of it where it is 4D."""

    path: Path
    volume: int | None


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
    found: list[Channel] = []
    for path in images:
        try:
            found += _channels(path, dataset)
        except InputError as error:
            problems += error.problems
    for other in images[1:]:
        problems += geometry_problems(images[0], other, "image")
    if not problems and len(found) != dataset.n_channels:
        problems.append(_other_number(images, len(found), dataset))
    if problems:
        raise InputError(dict.fromkeys(problems))
    return tuple(found)


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
