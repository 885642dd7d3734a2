"""Reads every scan of a data set and says, all at once, what stands against using it.

Runs before a sweep starts and behind ``data check``. What is wrong becomes a problem; what is legal
but rarely meant (an empty mask, a clipped scan, foreground that the crop removes) a warning.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.layouts import Listing, Subject, list_subjects, scan_layout
from dwp_sweep.data.pair import foreground_of, read_pair
from dwp_sweep.data.preprocess import preprocess
from dwp_sweep.data.splits import enough_problems
from dwp_sweep.data.suspicions import (
    Suspicion,
    at_border,
    empty_mask,
    lost_foreground,
    same_scans,
    saturated,
    uneven_spacing,
)
from dwp_sweep.errors import InputError, Problem


@dataclass(frozen=True)
class SubjectRow:
    """What was read of one subject.

    Attributes:
        id: Of the subject.
        shape: Voxels, in the file's own axes.
        spacing_mm: Voxel size along these axes.
        foreground_share: Foreground voxels of all voxels, 0 to 1.
        labels: Distinct values of the mask, rising.
        input_shape: Channels and voxels of what the network would get.
        suspicions: What to look at, a few words each; the report's warnings say them in full.
    """

    id: str
    shape: tuple[int, ...]
    spacing_mm: tuple[float, float, float]
    foreground_share: float
    labels: tuple[int, ...]
    input_shape: tuple[int, ...] = ()
    suspicions: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckReport:
    """What a data set holds, and what stands against using it.

    Attributes:
        subjects: One row for each subject that can be used, sorted by id.
        problems: Anything here means that no run may start.
        warnings: Legal, but worth a look.
        unusable: Those of the problems that belong to one subject, by its id.
    """

    subjects: tuple[SubjectRow, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    unusable: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Finding:
    row: SubjectRow
    suspicions: tuple[Suspicion, ...]
    hashes: tuple[str, ...]


def check_dataset(config: DatasetConfig, progress: Callable[[int, int], None] | None = None) -> CheckReport:
    """Read all selected subjects; never raises for what it finds.

    Args:
        config: Of the data set.
        progress: Called with (done, total) after each subject.
    """
    found = scan_layout(config)
    problems, unusable = [*found.problems, *_labels_not_in_set(config, found)], dict(found.broken)
    findings = list[_Finding]()
    for done, subject in enumerate(found.subjects, start=1):
        try:
            findings.append(_examine(subject, config, found.label_set))
        except InputError as error:
            problems += error.problems
            unusable[subject.id] = error.problems
        if progress is not None:
            progress(done, len(found.subjects))
    suspicions = [one for finding in findings for one in finding.suspicions]
    suspicions += same_scans({finding.row.id: finding.hashes for finding in findings})
    uneven = uneven_spacing([finding.row.spacing_mm for finding in findings], config)
    return CheckReport(
        tuple(_with_suspicions(finding.row, suspicions) for finding in findings),
        tuple(problems),
        (*(one.warning for one in suspicions), *uneven),
        unusable,
    )


def require_enough(
    config: DatasetConfig, train_sizes: Sequence[int], subjects: Sequence[Subject] | None = None
) -> None:
    """Refuse a data set that is too small for its test, validation and largest training set.

    Args:
        config: Of the data set.
        train_sizes: All training sizes of a sweep; empty for a source task, which has no test set.
        subjects: The selected ones, where they have been listed already.

    Raises:
        InputError: Too few subjects, or a split file that does not serve.
    """
    listed = list_subjects(config) if subjects is None else subjects
    problems = enough_problems([subject.id for subject in listed], config, train_sizes)
    if problems:
        raise InputError(problems)


def shared_scan_warnings(source: Sequence[Subject], target: Sequence[Subject]) -> tuple[Problem, ...]:
    """Warn where a scan of the target task also trains the source networks: its test would not be blind."""
    images = {image.resolve() for subject in source for image in subject.images}
    shared = [one for one in target if not images.isdisjoint(image.resolve() for image in one.images)]
    if not shared:
        return ()
    what = f"{len(shared)} of {len(target)} target subjects are source subjects too, first {shared[0].id}"
    fix = "select other subjects in one of them"
    return (Problem(str(shared[0].image), what, fix),)


def _examine(subject: Subject, config: DatasetConfig, label_set: frozenset[int] | None) -> _Finding:
    pair = read_pair(subject, config, label_set)
    prepared = preprocess(pair, config)
    foreground = foreground_of(pair.labels, config.labels)
    share = float(foreground.mean())
    row = SubjectRow(
        subject.id, pair.labels.shape, pair.image.spacing_mm, share, pair.label_values, prepared.image.shape
    )
    if share == 0.0:
        suspicions: tuple[Suspicion, ...] = (empty_mask(subject, pair.label_values, config),)
    else:
        suspicions = (*lost_foreground(subject, prepared), *at_border(subject, foreground))
    hashes = tuple(hashlib.sha256(image.data.tobytes()).hexdigest() for image in pair.images)
    return _Finding(row, (*suspicions, *saturated(subject, pair.images, config)), hashes)


def _with_suspicions(row: SubjectRow, suspicions: Sequence[Suspicion]) -> SubjectRow:
    return replace(row, suspicions=tuple(one.words for one in suspicions if one.subject == row.id))


def _labels_not_in_set(config: DatasetConfig, found: Listing) -> list[Problem]:
    if config.labels is None or found.label_set is None:
        return []
    strange = sorted(set(config.labels) - found.label_set)
    if not strange:
        return []
    what = f"labels: {', '.join(map(str, strange))} is not in the data set's values {sorted(found.label_set)}"
    return [Problem(config.root or config.layout, what, "choose foreground labels among these")]
