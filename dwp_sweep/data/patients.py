"""Which scans are of one patient: by a column, by the names that data sets publish, or by the user's pattern.

Scans of one patient never stand in two of training, validation and test, nor in both tasks. Stands beside the
layouts, which give every subject its patient.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.layouts.listing import Subject
from dwp_sweep.errors import Problem

_BRATS = (
    re.compile(r"(brats(?:-[a-z]+)+-\d+)-\d+", re.IGNORECASE),  # since 2023: BraTS-MEN-RT-0001-1
    re.compile(r"(brats1[789]_[a-z0-9]+_[a-z0-9]+)_\d+", re.IGNORECASE),  # Brats18_TCIA01_131_1
)
_BRATS_ONE_SCAN = re.compile(r"brats20_(training|validation)_\d+|brats2021_\d+", re.IGNORECASE)
"""2020 and 2021 gave every patient one scan; the same person has another name in another year."""
_VISIT = re.compile(
    r"(?P<patient>.+)[_-](ses|session|visit|tp|timepoint|time|scan|study|followup|fu|v|t)[_-]?\d{1,3}"
    r"|(?P<number>.*\d)[_-]\d{1,2}",
    re.IGNORECASE,
)
_MOST_VISITS = 9
"""More scans under one name are those of a site or a year, not of a patient."""
_BIDS = re.compile(r"(sub-[a-z0-9]+)(?:_.*)?", re.IGNORECASE)  # sub-01_ses-02_FLAIR


def with_patients(subjects: Sequence[Subject], config: DatasetConfig) -> tuple[Subject, ...]:
    """Give every subject the patient that `config.patients` says; an empty one where a pattern does not fit.

    Args:
        subjects: Those with a patient have it from the column of ``pairs``.
        config: `patients` is read.
    """
    return tuple(replace(subject, patient=_patient(subject, config.patients)) for subject in subjects)


def pattern_problems(subjects: Sequence[Subject], config: DatasetConfig, where: str) -> tuple[Problem, ...]:
    """Subjects without a patient: the user's pattern does not fit them.

    Args:
        subjects: From `with_patients`.
        config: `patients` is read.
        where: Folder or file named in problems.
    """
    unfit = [subject.id for subject in subjects if not subject.patient]
    if not unfit:
        return ()
    n_unfit = f"{len(unfit)} of {len(subjects)} ids"
    what = f"patients: {config.patients!r} does not fit {n_unfit}, first {unfit[0]!r}"
    fix = "the pattern must fit whole ids, and its group must hold the patient's name"
    return (Problem(where, what, fix),)


def visit_warnings(subjects: Sequence[Subject], config: DatasetConfig, where: str) -> tuple[Problem, ...]:
    """Names that look like several visits of a patient, where nothing says whose scans they are.

    Args:
        subjects: From `with_patients`.
        config: `patients` is read: who set it has decided.
        where: Folder or file named in the warning.
    """
    visits: dict[str, list[str]] = {}
    for subject in subjects if config.patients == "auto" else ():
        match = _VISIT.fullmatch(subject.id)
        if match and subject.patient == subject.id:
            visits.setdefault(match["patient"] or match["number"], []).append(subject.id)
    repeated = [names for names in visits.values() if 2 <= len(names) <= _MOST_VISITS]
    if not repeated:
        return ()
    first, second, *_ = repeated[0]
    n_scans = sum(map(len, repeated))
    of = f"{len(repeated)} patient{'s' * (len(repeated) > 1)}"
    what = f"{n_scans} ids look like visits of {of}, such as {first!r} and {second!r}"
    fix = "if they are, say so by patients, a pattern with one group; if not, say patients: scan"
    return (Problem(where, f"{what}: one may train while another tests", fix),)


def patient_by_name(subject_id: str) -> str:
    """The patient that a published name tells; of other names each is a patient of its own."""
    for pattern in (*_BRATS, _BIDS):
        if match := pattern.fullmatch(subject_id):
            return match[1]
    return subject_id


def is_worldwide(patient: str) -> bool:
    """Whether a name means the same patient in every folder: BraTS gives out names, others count anew."""
    if _BRATS_ONE_SCAN.fullmatch(patient):
        return True
    return any(pattern.fullmatch(f"{patient}-0") or pattern.fullmatch(f"{patient}_0") for pattern in _BRATS)


def _patient(subject: Subject, patients: str) -> str:
    """Empty where a pattern does not fit."""
    if patients == "scan":
        return subject.id
    if patients == "auto":
        return subject.patient or patient_by_name(subject.id)
    match = re.fullmatch(patients, subject.id)
    return (match[1] or "") if match else ""
