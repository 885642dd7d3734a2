"""Reads every scan of a data set and says, all at once, what stands against using it.

Runs before a sweep starts and behind ``data check``. What is wrong becomes a problem; what is legal
but rarely meant (an empty mask, a clipped scan, foreground that the crop removes) a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from dwp_sweep.data.check.examine import Finding, SubjectRow, examine, keep_in
from dwp_sweep.data.check.suspicions import Suspicion, same_scans, uneven_spacing
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.layouts import Listing, Subject, list_subjects, scan_layout
from dwp_sweep.data.side_by_side import side_by_side
from dwp_sweep.data.splits import enough_problems
from dwp_sweep.errors import InputError, Problem

__all__ = ["CheckReport", "SubjectRow", "check_dataset", "require_enough", "shared_scan_warnings"]


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


def check_dataset(
    config: DatasetConfig,
    progress: Callable[[int, int], None] | None = None,
    cache_dir: Path | None = None,
) -> CheckReport:
    """Read all selected subjects, several at once; never raises for what it finds.

    Args:
        config: Of the data set.
        progress: Called with (done, total) after each subject.
        cache_dir: Where what is prepared here is kept for training, and what is found for the next check;
            None keeps nothing.
    """
    found = scan_layout(config)
    problems, unusable = [*found.problems, *_labels_not_in_set(config, found)], dict(found.broken)
    findings = list[Finding]()
    answers = _examined(found, config, cache_dir, progress)
    for subject, answer in zip(found.subjects, answers, strict=True):
        if isinstance(answer, InputError):
            problems += answer.problems
            unusable[subject.id] = answer.problems
        else:
            findings.append(answer)
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


def _examined(
    found: Listing,
    config: DatasetConfig,
    cache_dir: Path | None,
    progress: Callable[[int, int], None] | None,
) -> list[Finding | InputError]:
    """What there is to say of each subject, in their order."""
    keep = keep_in(cache_dir, found.subjects)
    work = partial(examine, config=config, label_set=found.label_set, keep=keep)
    answers: dict[int, Finding | InputError] = {}
    for place, answer in side_by_side(work, found.subjects):
        answers[place] = answer
        if progress is not None:
            progress(len(answers), len(found.subjects))
    return [answers[place] for place in range(len(found.subjects))]


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
