"""Reads every scan of a data set and says, all at once, what stands against using it.

Runs before a sweep starts and behind ``data check``. What is wrong becomes a problem; what is legal
but rarely meant (an empty mask, foreground that the crop removes) a warning.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.layouts import Listing, Subject, list_subjects, scan_layout
from dwp_sweep.data.pair import Pair, foreground_of, read_pair
from dwp_sweep.data.preprocess import Prepared, preprocess
from dwp_sweep.data.splits import enough_problems
from dwp_sweep.errors import InputError, Problem

CROPPED_SHARE_WORTH_A_WARNING = 0.01
RESAMPLED_SHARE_WORTH_A_WARNING = 0.25
"""Resampling moves the border of a mask by parts of a voxel either way: small changes mean nothing."""

SPACING_RATIO_WORTH_A_WARNING = 1.25


@dataclass(frozen=True)
class SubjectRow:
    """What was read of one subject.

    Attributes:
        id: Of the subject.
        shape: Voxels, in the file's own axes.
        spacing_mm: Voxel size along these axes.
        foreground_share: Foreground voxels of all voxels, 0 to 1.
        labels: Distinct values of the mask, rising.
    """

    id: str
    shape: tuple[int, ...]
    spacing_mm: tuple[float, float, float]
    foreground_share: float
    labels: tuple[int, ...]


@dataclass(frozen=True)
class CheckReport:
    """What a data set holds, and what stands against using it.

    Attributes:
        subjects: One row for each subject that can be used, sorted by id.
        problems: Anything here means that no run may start.
        warnings: Legal, but worth a look.
    """

    subjects: tuple[SubjectRow, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


@dataclass(frozen=True)
class _Finding:
    row: SubjectRow
    warnings: tuple[Problem, ...]
    voxels_hash: str


def check_dataset(config: DatasetConfig, progress: Callable[[int, int], None] | None = None) -> CheckReport:
    """Read all selected subjects; never raises for what it finds.

    Args:
        config: Of the data set.
        progress: Called with (done, total) after each subject.
    """
    found = scan_layout(config)
    problems, findings = [*found.problems, *_labels_not_in_set(config, found)], list[_Finding]()
    for done, subject in enumerate(found.subjects, start=1):
        try:
            findings.append(_examine(subject, config, found.label_set))
        except InputError as error:
            problems += error.problems
        if progress is not None:
            progress(done, len(found.subjects))
    warnings = [warning for finding in findings for warning in finding.warnings]
    warnings += _same_scan_twice(findings) + _uneven_spacing(findings, config)
    return CheckReport(tuple(finding.row for finding in findings), tuple(problems), tuple(warnings))


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
    images = {subject.image.resolve() for subject in source}
    shared = [subject for subject in target if subject.image.resolve() in images]
    if not shared:
        return ()
    what = f"{len(shared)} of {len(target)} target subjects are source subjects too, first {shared[0].id}"
    fix = "select other subjects in one of them"
    return (Problem(str(shared[0].image), what, fix),)


def _examine(subject: Subject, config: DatasetConfig, label_set: frozenset[int] | None) -> _Finding:
    pair = read_pair(subject, config, label_set)
    share = float(foreground_of(pair.labels, config.labels).mean())
    row = SubjectRow(subject.id, pair.labels.shape, pair.image.spacing_mm, share, pair.label_values)
    warnings = _mask_warnings(subject, pair, config, share)
    return _Finding(row, warnings, hashlib.sha256(pair.image.data.tobytes()).hexdigest())


def _mask_warnings(subject: Subject, pair: Pair, config: DatasetConfig, share: float) -> tuple[Problem, ...]:
    where = str(subject.mask)
    if share == 0.0:
        wanted = "above 0" if config.labels is None else "in " + ", ".join(map(str, config.labels))
        what = f"empty mask: no voxel is {wanted}; the file holds {', '.join(map(str, pair.label_values))}"
        return (Problem(where, what, "legal, if nothing is there to find"),)
    return _loss_warnings(where, preprocess(pair, config))


def _loss_warnings(where: str, prepared: Prepared) -> tuple[Problem, ...]:
    warnings = []
    if prepared.resampled_away > RESAMPLED_SHARE_WORTH_A_WARNING:
        what = f"resampling removes {prepared.resampled_away:.0%} of the foreground's volume"
        warnings.append(Problem(where, what, "choose a finer preprocess.spacing_mm"))
    if prepared.cropped_away > CROPPED_SHARE_WORTH_A_WARNING:
        what = f"the crop removes {prepared.cropped_away:.0%} of the foreground"
        warnings.append(Problem(where, what, "choose a larger preprocess.shape, or crop_foreground: false"))
    return tuple(warnings)


def _labels_not_in_set(config: DatasetConfig, found: Listing) -> list[Problem]:
    if config.labels is None or found.label_set is None:
        return []
    strange = sorted(set(config.labels) - found.label_set)
    if not strange:
        return []
    what = f"labels: {', '.join(map(str, strange))} is not in the data set's values {sorted(found.label_set)}"
    return [Problem(config.root or config.layout, what, "choose foreground labels among these")]


def _same_scan_twice(findings: Sequence[_Finding]) -> list[Problem]:
    """The same voxels under two ids could stand in the training and the test set."""
    first, warnings = dict[str, str](), []
    for finding in findings:
        name = finding.row.id
        other = first.setdefault(finding.voxels_hash, name)
        if other != name:
            warnings.append(Problem(name, f"has the same voxels as {other}", "keep one of the two"))
    return warnings


def _uneven_spacing(findings: Sequence[_Finding], config: DatasetConfig) -> list[Problem]:
    if not findings or config.preprocess.spacing_mm is not None:
        return []
    sizes = np.array([np.sort(finding.row.spacing_mm) for finding in findings])
    low, high = sizes.min(axis=0), sizes.max(axis=0)
    if (high <= SPACING_RATIO_WORTH_A_WARNING * low).all():
        return []
    worst = int(np.argmax(high / low))
    what = f"voxel sizes differ between subjects, from {low[worst]:.3g} to {high[worst]:.3g} mm"
    return [Problem(config.root or config.layout, what, "consider preprocess.spacing_mm")]
