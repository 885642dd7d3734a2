"""A subject's images and mask, read together and checked against each other.

Stands between files and preprocessing; the folder check and the cache both read scans here, so that
what passes the check also trains.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dwp_sweep.data.classes import HIGHEST_LABEL, numbered
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.files.forms import CORNER_TOLERANCE, MM_OF_UNIT, Forms, corner_distance_mm
from dwp_sweep.data.files.volumes import (
    BYTES_A_VOXEL,
    Header,
    Volume,
    read_header,
    read_mask,
    read_volume,
    times,
)
from dwp_sweep.data.layouts.listing import Subject
from dwp_sweep.errors import InputError, Problem

_LABEL_ROUNDING = 1e-3

T = TypeVar("T")


@dataclass(frozen=True)
class Pair:
    """A subject's scan and labels in the file's own axes.

    Attributes:
        image: (D, H, W) float32, finite, not constant; the first channel where there are several.
        labels: (D, H, W) int32, all label values as stored.
        label_values: The distinct values of `labels`, rising.
        further: The other channels, on the grid of the first.
        mask_forms: What the mask's file says of its voxels' places; None of labels that come from no file.
    """

    image: Volume
    labels: NDArray[np.int32]
    label_values: tuple[int, ...]
    further: tuple[Volume, ...] = ()
    mask_forms: Forms | None = None

    @property
    def images(self) -> tuple[Volume, ...]:
        """All channels."""
        return (self.image, *self.further)


def read_pair(subject: Subject, config: DatasetConfig, label_set: frozenset[int] | None = None) -> Pair:
    """Read images and mask of a subject.

    Args:
        subject: Its files.
        config: `channel` is read.
        label_set: Values that the mask may hold; None allows any from 0 to `HIGHEST_LABEL`.

    Raises:
        InputError: All problems of the files at once: unreadable, shapes or affines that differ,
            a constant image, label values that are no whole numbers (by more than 1e-3), below 0, too
            large, or not in the set.
    """
    problems: list[Problem] = []
    sources = [(path, channel) for path in subject.images for channel in config.volumes]
    images = [_read_image(problems, path, channel) for path, channel in sources]
    mask = _attempt(problems, lambda: read_mask(subject.mask))
    for other in (subject.mask, *subject.further):
        problems += geometry_problems(subject.image, other, "mask" if other == subject.mask else "image")
    if mask is not None:
        problems += _label_problems(subject.mask, mask, label_set)
    readable = [image for image in images if image is not None]
    if problems or len(readable) < len(images) or mask is None:
        raise InputError(dict.fromkeys(problems))
    labels = np.rint(mask).astype(np.int32)
    values = tuple(int(value) for value in np.unique(labels))
    return Pair(readable[0], labels, values, tuple(readable[1:]), read_header(subject.mask).forms)


def peak_bytes(subject: Subject, config: DatasetConfig) -> int:
    """Memory that reading and preparing a subject takes at its peak; 0 where its first header is unreadable.

    Args:
        subject: Its files.
        config: `channel` is read.
    """
    try:
        n_voxels = math.prod(read_header(subject.image).shape)
    except InputError:
        return 0
    return BYTES_A_VOXEL * n_voxels * len(subject.images) * len(config.volumes)


def class_numbers(labels: NDArray[np.int32], config: DatasetConfig) -> NDArray[np.uint8]:
    """A mask as training sees it: 0 background, 1 foreground; with classes their numbers."""
    if config.classes is None:
        return foreground_of(labels, config.labels).astype(np.uint8)
    return numbered(labels, config.classes)


def foreground_of(labels: NDArray[np.int32], wanted: tuple[int, ...] | None) -> NDArray[np.bool_]:
    """Foreground of a mask: the wanted labels, or everything above 0."""
    return labels > 0 if wanted is None else np.isin(labels, wanted)


def _attempt(problems: list[Problem], read: Callable[[], T]) -> T | None:
    try:
        return read()
    except InputError as error:
        problems += error.problems
        return None


def _read_image(problems: list[Problem], path: Path, channel: int | None) -> Volume | None:
    image = _attempt(problems, lambda: read_volume(path, channel))
    if image is not None and float(np.ptp(image.data)) == 0.0:
        of_channel = f" in channel {channel}" if channel is not None else ""
        what = f"constant image: every voxel is {image.data.flat[0]:g}{of_channel}"
        problems.append(Problem(str(path), what, "export the scan again or leave the subject out"))
    return image


def geometry_problems(first: Path, other: Path, role: str) -> list[Problem]:
    """What stands against two files of one scan: other shapes, other places in space.

    Problems of the headers themselves are reported where the voxels are read.

    Args:
        first: The image that all others must fit.
        other: Another image, or the mask.
        role: What the other is: ``image`` or ``mask``.
    """
    try:
        image, header = read_header(first), read_header(other)
    except InputError:
        return []
    its = "its image" if role == "mask" else "the first modality"
    if image.shape != header.shape:
        what = f"shape {times(header.shape)} differs from {times(image.shape)} of {its} {first}"
        return [Problem(str(other), what, f"resample the {role} to the grid of {its}")]
    tolerance_mm = CORNER_TOLERANCE * min(image.spacing_mm)
    apart_mm = corner_distance_mm(image.shape, image.affine, header.affine)
    if apart_mm <= tolerance_mm:
        return []
    what = f"affine differs from that of {its} {first}: corners lie up to {apart_mm:.3g} mm apart"
    fix = f"save the {role} with the affine of {its}, or resample it"
    for file, name in ((image, its), (header, f"the {role}")):
        own_mm = _between_forms_mm(file)
        if own_mm > tolerance_mm:
            what += f"; sform and qform of {name} themselves lie {own_mm:.3g} mm apart"
            fix = "find out which form is right and copy it over the others: voxels may be where they should"
    if MM_OF_UNIT[image.forms.unit] != MM_OF_UNIT[header.forms.unit]:
        what += f"; the unit of {its} is {image.forms.unit}, of the {role} {header.forms.unit}"
        fix = f"correct the unit (xyzt_units) of the {role} or of {its} first"
    return [Problem(str(other), what, fix)]


def _between_forms_mm(header: Header) -> float:
    sform, qform = header.forms.sform, header.forms.qform
    return 0.0 if sform is None or qform is None else corner_distance_mm(header.shape, sform, qform)


def _label_problems(
    path: Path, mask: NDArray[np.floating], label_set: frozenset[int] | None
) -> list[Problem]:
    values = np.unique(mask)
    uneven = values[np.abs(values - np.rint(values)) > _LABEL_ROUNDING]
    if uneven.size:
        what = f"label values are no whole numbers: {_some(uneven)}"
        return [Problem(str(path), what, "is this the mask? Resample masks with nearest neighbour")]
    whole = {int(value) for value in np.rint(values)}
    outside = sorted(value for value in whole if not 0 <= value <= HIGHEST_LABEL)
    if outside:
        what = f"label values {_some(np.array(outside))} are not from 0 to {HIGHEST_LABEL}"
        return [Problem(str(path), what, "is this the mask? Give each label a number from 1, background 0")]
    strange = whole - label_set if label_set is not None else set[int]()
    if label_set is not None and strange:
        what = f"label values {_some(np.array(sorted(strange)))} are not in the set {sorted(label_set)}"
        return [
            Problem(str(path), what, "correct the mask, or name every value in dataset.json or label_set")
        ]
    return []


def _some(values: NDArray[np.floating] | NDArray[np.integer]) -> str:
    shown = ", ".join(f"{value:g}" for value in values[:5])
    return shown + (f" and {values.size - 5} more" if values.size > 5 else "")
