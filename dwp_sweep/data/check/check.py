"""Reads every scan of a data set and says, all at once, what stands against using it.

Runs before a sweep starts and behind ``data check``. What is wrong becomes a problem; what is legal but
rarely meant (an empty mask, a clipped scan, foreground that the crop removes) a warning. Preparing a scan
costs seconds: with a cache its voxels go where training looks for them, and the findings are remembered by
the content of the files.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dwp_sweep.data.cache.cases import CACHE_VERSION, entry_folder, publish_entry
from dwp_sweep.data.cache.memory import file_hashes, memory_file, recall, remember, side_by_side
from dwp_sweep.data.check.labels import class_problems, class_warnings, unknown_labels
from dwp_sweep.data.check.suspicions import (
    Suspicion,
    at_border,
    empty_mask,
    header_suspicions,
    lost_foreground,
    same_scans,
    saturated,
    uneven_spacing,
    warnings_of,
)
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.files.forms import SIDES, TWO_FORMS, orientation
from dwp_sweep.data.files.free_memory import memory_turns
from dwp_sweep.data.files.volumes import content_hash
from dwp_sweep.data.layouts import Listing, Subject, resolved, scan_layout
from dwp_sweep.data.pair import Pair, foreground_of, peak_bytes, read_pair
from dwp_sweep.data.patients import visit_warnings
from dwp_sweep.data.preprocess import Prepared, preprocess
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.strict import keyed_values

CHECK_VERSION = 8
"""Raised by hand when the check says other things of the same scan."""


_TELLING_VOXELS = 100
"""Two masks with so many voxels, all of them equal, are of one patient."""


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
        orientation: Where the file's axes point, such as RAS.
    """

    id: str
    shape: tuple[int, ...]
    spacing_mm: tuple[float, float, float]
    foreground_share: float
    labels: tuple[int, ...]
    input_shape: tuple[int, ...] = ()
    suspicions: tuple[str, ...] = ()
    orientation: str = ""


@dataclass(frozen=True)
class Finding:
    """What the check says of a scan.

    Attributes:
        row: For the table.
        suspicions: What to look at.
        hashes: Of the voxels of each channel.
        mask_hash: Of everything that the mask marks; empty where that is too little to know a patient by.
    """

    row: SubjectRow
    suspicions: tuple[Suspicion, ...]
    hashes: tuple[str, ...]
    mask_hash: str = ""


@dataclass(frozen=True)
class Keep:
    """Where to keep what is made of scans, and the hashes of their files."""

    cache_dir: Path
    hashes: Mapping[Path, str]


def keep_in(cache_dir: Path | None, subjects: Sequence[Subject]) -> Keep | None:
    """Keep what is made of the subjects below a folder; None where there is none, or a file is unreadable."""
    if cache_dir is None:
        return None
    try:
        paths = [path for subject in subjects for path in subject.files]
        return Keep(cache_dir, file_hashes(paths, cache_dir))
    except InputError:
        return None  # a file that cannot be read is reported with its subject


def examine(
    subject: Subject, config: DatasetConfig, label_set: frozenset[int] | None, keep: Keep | None = None
) -> Finding | InputError:
    """Read and prepare one subject, or recall the finding of it; an error is what stands against using it.

    Args:
        subject: Its files.
        config: Of the data set.
        label_set: Values that the mask may hold; None allows any.
        keep: Where to keep what is made; None keeps nothing.
    """
    memory = _memory(subject, config, label_set, keep) if keep is not None else None
    known = _recalled(memory) if memory is not None else None
    if known is not None:
        return known
    try:
        with memory_turns.take(peak_bytes(subject, config)):
            pair = read_pair(subject, config, label_set)
            prepared = preprocess(pair, config)
    except InputError as error:
        return error
    if keep is not None:
        hashes = [keep.hashes[path] for path in subject.files]
        with contextlib.suppress(OSError):  # a full disk is no fault of the scans; training reports it
            publish_entry(prepared, entry_folder(config, hashes, keep.cache_dir))
    finding = _finding(subject, config, pair, prepared)
    if memory is not None:
        remember(memory, asdict(finding))
    return finding


def _finding(subject: Subject, config: DatasetConfig, pair: Pair, prepared: Prepared) -> Finding:
    foreground = foreground_of(pair.labels, config.foreground)
    share = float(foreground.mean())
    row = SubjectRow(
        subject.id,
        pair.labels.shape,
        pair.image.spacing_mm,
        share,
        pair.label_values,
        prepared.image.shape,
        orientation=orientation(pair.image.affine),
    )
    if share == 0.0:
        suspicions: tuple[Suspicion, ...] = (empty_mask(subject, pair.label_values, config),)
    else:
        suspicions = (*lost_foreground(subject, prepared), *at_border(subject, foreground))
    hashes = tuple(content_hash(image) for image in pair.images)
    suspicions += saturated(subject, pair.images, config) + header_suspicions(subject, pair)
    marked = (pair.labels > 0).astype(np.float32)
    is_telling = int(marked.sum()) >= _TELLING_VOXELS
    mask_hash = content_hash(replace(pair.image, data=marked)) if is_telling else ""
    return Finding(row, suspicions, hashes, mask_hash)


def _memory(subject: Subject, config: DatasetConfig, label_set: frozenset[int] | None, keep: Keep) -> Path:
    files = [(str(path), keep.hashes[path]) for path in subject.files]
    settings = [keyed_values(config.preprocess), config.classes or config.labels, config.channel]
    labels = sorted(label_set) if label_set is not None else None
    identity = [CHECK_VERSION, CACHE_VERSION, subject.id, files, settings, labels]
    return memory_file(keep.cache_dir / "checks" / "scans", identity)


def _recalled(memory: Path) -> Finding | None:
    values = recall(memory)
    if values is None:
        return None
    try:
        row: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values["row"].items()
        }
        suspicions = [
            Suspicion(subject, words, Problem(**warning)) for subject, words, warning in values["suspicions"]
        ]
        return Finding(SubjectRow(**row), tuple(suspicions), tuple(values["hashes"]), values["mask_hash"])
    except (AttributeError, KeyError, TypeError, ValueError):
        return None  # damaged


@dataclass(frozen=True)
class CheckReport:
    """What a data set holds, and what stands against using it.

    Attributes:
        subjects: One row for each subject that can be used, sorted by id.
        problems: Anything here means that no run may start.
        warnings: Legal, but worth a look.
        unusable: Those of the problems that belong to one subject, by its id.
        n_patients: Different patients among the subjects.
    """

    subjects: tuple[SubjectRow, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    unusable: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)
    n_patients: int = 0


def check_dataset(
    config: DatasetConfig,
    progress: Callable[[int, int], None] | None = None,
    cache_dir: Path | None = None,
) -> CheckReport:
    """Read all selected subjects, several at once; never raises for what it finds.

    Args:
        config: Of the data set.
        progress: Called with (done, total) after each subject.
        cache_dir: Where what is prepared here is kept for training, and the findings for the next check;
            None keeps nothing.
    """
    try:
        config = resolved(config)
    except InputError as error:
        return CheckReport((), error.problems, ())
    listing = scan_layout(config)
    problems, unusable = [*listing.problems, *unknown_labels(config, listing)], dict(listing.broken)
    findings = list[Finding]()
    answers = _examined(listing, config, cache_dir, progress)
    for subject, answer in zip(listing.subjects, answers, strict=True):
        if isinstance(answer, InputError):
            problems += answer.problems
            unusable[subject.id] = answer.problems
        else:
            findings.append(answer)
    suspicions = [suspicion for finding in findings for suspicion in finding.suspicions]
    suspicions += same_scans({finding.row.id: finding.hashes for finding in findings})
    trusted = not any(suspicion.words in (TWO_FORMS, SIDES) for suspicion in suspicions)
    masks = {finding.row.id: finding.row.labels for finding in findings}
    problems += class_problems(config, listing, masks)
    uneven = uneven_spacing([finding.row.spacing_mm for finding in findings], config, trusted)
    visits = visit_warnings(listing.subjects, config, config.root or config.layout)
    return CheckReport(
        tuple(
            replace(
                finding.row,
                suspicions=tuple(each.words for each in suspicions if each.subject == finding.row.id),
            )
            for finding in findings
        ),
        tuple(problems),
        (*warnings_of(suspicions), *class_warnings(config, listing, masks), *uneven, *visits),
        unusable,
        len({listing.patients[finding.row.id] for finding in findings}),
    )


def _examined(
    listing: Listing,
    config: DatasetConfig,
    cache_dir: Path | None,
    progress: Callable[[int, int], None] | None,
) -> list[Finding | InputError]:
    """What there is to say of each subject, in their order."""
    keep = keep_in(cache_dir, listing.subjects)
    work = partial(examine, config=config, label_set=listing.label_set, keep=keep)
    answers: dict[int, Finding | InputError] = {}
    for place, answer in side_by_side(work, listing.subjects):
        answers[place] = answer
        if progress is not None:
            progress(len(answers), len(listing.subjects))
    return [answers[place] for place in range(len(listing.subjects))]
