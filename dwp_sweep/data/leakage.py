"""Scans and patients on two sides: in source and target, or in training and test.

A network that has seen a scan in the source task is not tested blindly on it in the target task. Equal scans
are found by their voxels, whatever their files are called; patients by their names, which mean something
within one folder, or everywhere where BraTS has given them out. Runs before a sweep starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dwp_sweep.data.cache.memory import side_by_side
from dwp_sweep.data.check.check import Finding, examine, keep_in
from dwp_sweep.data.config import BRATS_LAYOUTS, DatasetConfig
from dwp_sweep.data.files.names import home_path
from dwp_sweep.data.layouts import Subject, scan_layout
from dwp_sweep.data.patients import is_worldwide
from dwp_sweep.errors import Problem

TASKS = "data.source and data.target"
ALLOW = "data.allow_shared_scans"
N_NAMED = 5
"""Pairs that a message names; of more it says how many."""


@dataclass(frozen=True)
class TaskScans:
    """The scans of one task.

    Attributes:
        config: Of its data set.
        subjects: The selected ones.
        findings: Subject id -> what the check says of it, the hashes of its channels' voxels among it.
    """

    config: DatasetConfig
    subjects: Sequence[Subject]
    findings: Mapping[str, Finding]

    def contents(self, subject: Subject) -> Sequence[str]:
        """Hashes of the voxels of a subject's channels."""
        finding = self.findings.get(subject.id)
        return finding.hashes if finding is not None else ()


@dataclass(frozen=True)
class SharedData:
    """What the two tasks have in common.

    Attributes:
        problems: Makes the test of the target task meaningless, unless the user allows it.
        warnings: May be chance: equal names of patients in two folders, equal masks.
    """

    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def read_task(config: DatasetConfig, cache_dir: Path) -> TaskScans:
    """The scans of a checked data set with the findings that the check has remembered.

    Args:
        config: Of a data set without problems.
        cache_dir: The cache that the check has used.
    """
    listing = scan_layout(config)
    keep = keep_in(cache_dir, listing.subjects)
    read = side_by_side(lambda one: examine(one, config, listing.label_set, keep), listing.subjects)
    findings = [finding for _, finding in read if isinstance(finding, Finding)]
    return TaskScans(config, listing.subjects, {finding.row.id: finding for finding in findings})


def shared_data(source: TaskScans, target: TaskScans) -> SharedData:
    """Scans and patients of the target task that the source task has as well.

    A scan is the same where any channel has the same voxels (`content_hash`) or where it is the same file,
    whichever channel of it is read. A patient is the same where both tasks have one root, or names that BraTS
    has given out, whatever the layouts; equal names in two folders of one layout are a warning, since folders
    count anew. So are equal masks of other scans: the same lesion in another modality, or a scan that was
    processed again.
    """
    scans = _same_scans(source, target)
    in_both = {(one.id, other.id) for one, other in scans}
    problems = [_scan_problem(scans, target)] if scans else []
    equal_names = [
        (one, other) for one, other in _same_patients(source, target) if (one.id, other.id) not in in_both
    ]
    is_one_folder = _root(source.config) == _root(target.config)
    certain = [pair for pair in equal_names if is_one_folder or is_worldwide(pair[0].patient)]
    is_one_layout = _layout(source.config) == _layout(target.config)
    chance = [pair for pair in equal_names if pair not in certain] if is_one_layout else []
    if certain:
        problems.append(Problem(TASKS, _patient_text(certain), _fix("patients")))
    warnings = []
    if chance:
        fix = "if they are the same people, select others; if not, nothing is wrong"
        warnings.append(Problem(TASKS, f"two folders, equal names: {_patient_text(chance)}", fix))
    in_both |= {(one.id, other.id) for one, other in (*certain, *chance)}
    masks = [pair for pair in _same_masks(source, target) if (pair[0].id, pair[1].id) not in in_both]
    if masks:
        named = _named(f"{one.mask} = {other.mask}" for one, other in masks)
        what = f"{len(masks)} target scans have the mask of a source scan: {named}"
        fix = "are they the same patients in another modality? then select others"
        warnings.append(Problem(TASKS, what, fix))
    return SharedData(tuple(problems), tuple(warnings))


def repeated_scans(target: TaskScans) -> tuple[Problem, ...]:
    """Scans of the target with the same voxels under several patients: one may train while another tests.

    Args:
        target: Of a target task; in a source task nobody tests.
    """
    first: dict[str, Subject] = {}
    pairs: dict[tuple[str, str], tuple[Subject, Subject]] = {}
    for subject in target.subjects:
        for content in target.contents(subject):
            other = first.setdefault(content, subject)
            if other.patient != subject.patient:
                pairs[other.id, subject.id] = other, subject
    if not pairs:
        return ()
    named = _named(f"{one.image} = {other.image}" for one, other in pairs.values())
    n_pairs = f"{len(pairs)} pair{'s' * (len(pairs) > 1)} of scans"
    what = f"{n_pairs} with the same voxels may stand on two sides of a split: {named}"
    fix = f"leave one of each out by a list of subjects, give both one patient, or say {ALLOW}: true"
    return (Problem("data.target", what, fix),)


def _same_scans(source: TaskScans, target: TaskScans) -> list[tuple[Subject, Subject]]:
    known: dict[str, Subject] = {}
    for subject in source.subjects:
        for token in _tokens(subject, source):
            known.setdefault(token, subject)
    pairs: dict[tuple[str, str], tuple[Subject, Subject]] = {}
    for subject in target.subjects:
        for token in _tokens(subject, target):
            if token in known:
                pairs[known[token].id, subject.id] = known[token], subject
    return list(pairs.values())


def _same_masks(source: TaskScans, target: TaskScans) -> list[tuple[Subject, Subject]]:
    known = {
        finding.mask_hash: subject
        for subject in source.subjects
        if (finding := source.findings.get(subject.id)) is not None and finding.mask_hash
    }
    return [
        (known[finding.mask_hash], subject)
        for subject in target.subjects
        if (finding := target.findings.get(subject.id)) is not None and finding.mask_hash in known
    ]


def _tokens(subject: Subject, task: TaskScans) -> Iterable[str]:
    yield from task.contents(subject)
    yield from (str(image.resolve()) for image in subject.images)


def _scan_problem(pairs: Sequence[tuple[Subject, Subject]], target: TaskScans) -> Problem:
    n_shared = len({other.id for _, other in pairs})
    named = _named(
        f"{one.image}" if one.image == other.image else f"{one.image} = {other.image}" for one, other in pairs
    )
    what = f"{n_shared} of {len(target.subjects)} target scans are source scans too, by their voxels: {named}"
    return Problem(TASKS, what, _fix("scans"))


def _same_patients(source: TaskScans, target: TaskScans) -> list[tuple[Subject, Subject]]:
    """The first scan of each name in either task; generated subjects are no patients."""
    if "phantom" in (source.config.layout, target.config.layout):
        return []
    ours, theirs = _first_scans(source.subjects), _first_scans(target.subjects)
    return [(ours[patient], theirs[patient]) for patient in theirs if patient in ours]


def _first_scans(subjects: Sequence[Subject]) -> dict[str, Subject]:
    return {subject.patient: subject for subject in reversed(subjects)}


def _patient_text(pairs: Sequence[tuple[Subject, Subject]]) -> str:
    named = _named(f"{one.patient} ({one.image}, {other.image})" for one, other in pairs)
    plural = "patients have" if len(pairs) > 1 else "patient has"
    return f"{len(pairs)} {plural} scans in both tasks: {named}"


def _fix(what: str) -> str:
    return f"select other {what} in one of the tasks, or say {ALLOW}: true and report no test as blind"


def _named(texts: Iterable[str]) -> str:
    every = list(texts)
    more = f" and {len(every) - N_NAMED} more" if len(every) > N_NAMED else ""
    return ", ".join(every[:N_NAMED]) + more


def _layout(config: DatasetConfig) -> str:
    return "brats" if config.layout in BRATS_LAYOUTS else config.layout


def _root(config: DatasetConfig) -> Path | None:
    """The folder; of ``pairs`` also where its ``pairs.csv`` is named, which the folder alone means too."""
    root = home_path(config.root).resolve() if config.root else None
    is_table = root is not None and config.layout == "pairs" and root.name == "pairs.csv" and root.is_file()
    return root.parent if root is not None and is_table else root
