"""Layouts with a folder a subject: ``brats`` (also ``brats18``) by file names, ``ms`` by patterns.

BraTS 2018 and 2019 sort subjects into ``HGG`` and ``LGG``; later editions are flat. A subject's files are
named after its folder: ``<id>_t2.nii.gz`` and ``<id>_seg.nii.gz`` until 2021 (2020 without ``.gz``),
``<id>-t2w.nii.gz`` and ``<id>-seg.nii.gz`` since 2023. The enhancing tumour is 4 until 2021 and 3 since;
the whole tumour is everything above 0 in all of them.

A pattern of ``ms`` is a word that the file's name contains (``FLAIR``), or a glob on the path inside the
patient's folder (``study*/*_flair.nii.gz``); case does not count. Several image patterns are several
modalities, the network's input channels in that order.
"""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

from dwp_sweep.data.config import DatasetConfig, several
from dwp_sweep.data.files.names import (
    NIFTI_ENDINGS,
    files_below,
    folded,
    folders,
    is_file,
    is_nifti,
    other_format,
    stem,
)
from dwp_sweep.data.layouts.listing import Listing, Subject, make_listing
from dwp_sweep.errors import Problem

GRADES = ("HGG", "LGG")
LABELS = frozenset(range(5))
"""Values that a mask of any edition may hold."""

_SEPARATORS = "_-"
_SAME = (("t1", "t1n"), ("t1ce", "t1c", "t1gd"), ("t2", "t2w"), ("flair", "t2f"))
"""A modality's names until 2021 and since."""


def list_brats(config: DatasetConfig, root: Path) -> Listing:
    """Every subject folder with the image of each of `config.modality` and its ``seg`` mask."""
    grades = [folder for folder in folders(root) if folder.name.upper() in GRADES]
    patients = [patient for folder in grades or [root] for patient in folders(folder)]
    if not grades and not any(_mask(patient) for patient in patients):
        what = "has neither folders HGG and LGG nor a folder a subject with a seg mask"
        fix = "give the folder that holds HGG and LGG, or the subjects' folders"
        return Listing((), (Problem(str(root), what, fix),))
    subjects, broken = list[Subject](), dict[str, tuple[Problem, ...]]()
    for patient in patients:
        images = {name: _image(patient, name) for name in several(config.modality)}
        present = [path for path in images.values() if path is not None]
        lacking = [name for name, path in images.items() if path is None]
        mask = _mask(patient)
        if lacking:
            broken[patient.name] = (_no_image(patient, lacking), *([] if mask else [_no_mask(patient)]))
        else:
            expected = mask or patient / f"{patient.name}_seg.nii.gz"
            subjects.append(Subject(patient.name, present[0], expected, tuple(present[1:])))
    return make_listing(subjects, (), broken, LABELS)


def is_brats_patient(folder: Path) -> bool:
    """Whether a folder holds files named after itself and a modality of BraTS or ``seg``."""
    return _named(folder, "seg") is not None or any(_image(folder, names[0]) for names in _SAME)


def _image(patient: Path, modality: str) -> Path | None:
    """The file of a modality, under the name the user gave or the other editions' name for it."""
    same = [names for names in _SAME if modality.lower() in names]
    for name in dict.fromkeys((modality, *(other for names in same for other in names))):
        path = _named(patient, name)
        if path is not None:
            return path
    return None


def _mask(patient: Path) -> Path | None:
    """``seg``; else the only file whose name says so (one subject of 2020 has ``..._Segm.nii``)."""
    path = _named(patient, "seg")
    if path is None and patient.is_dir():
        others = [file for file in patient.iterdir() if is_nifti(file) and "seg" in stem(file).lower()]
        path = others[0] if len(others) == 1 else None
    return path


def _named(patient: Path, suffix: str) -> Path | None:
    """The file of the patient that ends so; in this spelling before others (``_T2.NII.GZ``)."""
    names = [
        f"{patient.name}{separator}{suffix}{ending}" for separator in _SEPARATORS for ending in NIFTI_ENDINGS
    ]
    for name in names:
        if is_file(patient / name):
            return patient / name
    alike = {folded(name) for name in names}
    files = sorted(file for file in patient.iterdir() if folded(file.name) in alike and file.is_file())
    return files[0] if files else None


def _no_mask(patient: Path) -> Problem:
    return Problem(str(patient), "no mask: no file ends in seg", "add the mask, or leave the subject out")


def _no_image(patient: Path, lacking: list[str]) -> Problem:
    there = ", ".join([path.name for path in files_below(patient)][:6]) or "nothing"
    names = " and ".join(repr(name) for name in lacking)
    what = f"no image of modality {names}; the folder holds {there}"
    fix = "add the file, set modality to the suffix of those that are there, or leave the subject out"
    return Problem(str(patient), what, fix)


def list_ms(config: DatasetConfig, root: Path) -> Listing:
    """Every patient folder with one file that fits each of the patterns."""
    patients = folders(root)
    if not patients:
        return Listing((), (Problem(str(root), "holds no folders", "layout ms needs one folder a patient"),))
    subjects, broken = [], {}
    for patient in patients:
        files = [path for path in files_below(patient) if is_nifti(path)]
        masks = _matches(patient, files, config.mask_pattern)
        rest = [path for path in files if path not in masks]
        images = {pattern: _matches(patient, rest, pattern) for pattern in several(config.image_pattern)}
        bad = [
            problem
            for pattern, fitting in images.items()
            for problem in _count_problems(patient, "image_pattern", pattern, fitting, "no image")
        ]
        without = "image without mask" if any(images.values()) else "no mask"
        bad += _count_problems(patient, "mask_pattern", config.mask_pattern, masks, without)
        if bad:
            broken[patient.name] = tuple(bad)
        else:
            first, *further = (fitting[0] for fitting in images.values())
            subjects.append(Subject(patient.name, first, masks[0], tuple(further)))
    return make_listing(subjects, (), broken)


def _matches(patient: Path, files: list[Path], pattern: str) -> list[Path]:
    """Files that fit; one whose name *is* the pattern beats those that only contain it."""
    word = folded(pattern)
    if any(sign in pattern for sign in "*?[/"):
        return [path for path in files if fnmatch(folded(path.relative_to(patient).as_posix()), word)]
    exact = [path for path in files if word in (folded(stem(path)), folded(path.name))]
    return exact or [path for path in files if word in folded(stem(path))]


def _count_problems(patient: Path, key: str, pattern: str, fitting: list[Path], none: str) -> list[Problem]:
    if not fitting:
        there = files_below(patient)
        names = ", ".join(path.relative_to(patient).as_posix() for path in there[:6])
        formats = {format for format in map(other_format, there) if format is not None}
        unread = f"; not read are {' and '.join(sorted(formats))}: convert them to .nii.gz" if formats else ""
        holds = f"the folder holds {names or 'no files'}{unread}"
        return [Problem(str(patient), f"{none}: no file fits {key} {pattern!r}", holds)]
    if len(fitting) == 1:
        return []
    names = ", ".join(path.relative_to(patient).as_posix() for path in fitting[:4])
    what = f"{len(fitting)} files fit {key} {pattern!r}: {names}"
    return [Problem(str(patient), what, "use a pattern that fits one, such as *_FLAIR.nii.gz")]
