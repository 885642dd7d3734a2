"""Layout ``ms``: a folder a patient; image and mask are found by pattern.

A pattern is a word that the file's name contains (``FLAIR``), or a glob on the path inside the
patient's folder (``study*/*_flair.nii.gz``). Case does not count. Several image patterns are several
modalities, the network's input channels in that order.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

from dwp_sweep.data.config import DatasetConfig, several
from dwp_sweep.data.layouts.listing import Listing, Subject, folders, is_nifti, make_listing, stem
from dwp_sweep.errors import Problem


def list_ms(config: DatasetConfig, root: Path) -> Listing:
    """Every patient folder with one file that fits each of the patterns."""
    patients = folders(root)
    if not patients:
        return Listing((), (Problem(str(root), "holds no folders", "layout ms needs one folder a patient"),))
    subjects, broken = [], {}
    for patient in patients:
        files = sorted(path for path in patient.rglob("*") if path.is_file() and is_nifti(path))
        masks = _matches(patient, files, config.mask_pattern)
        rest = [path for path in files if path not in masks]
        images = {pattern: _matches(patient, rest, pattern) for pattern in several(config.image_pattern)}
        bad = _problems(patient, images, masks, config.mask_pattern)
        if bad:
            broken[patient.name] = tuple(bad)
        else:
            first, *further = (found[0] for found in images.values())
            subjects.append(Subject(patient.name, first, masks[0], tuple(further)))
    return make_listing(subjects, (), broken)


def _matches(patient: Path, files: list[Path], pattern: str) -> list[Path]:
    """Files that fit; one whose name *is* the pattern beats those that only contain it."""
    word = pattern.lower()
    if any(sign in pattern for sign in "*?[/"):
        return [path for path in files if fnmatch(path.relative_to(patient).as_posix().lower(), word)]
    exact = [path for path in files if stem(path).lower() == word or path.name.lower() == word]
    return exact or [path for path in files if word in stem(path).lower()]


def _problems(
    patient: Path, images: Mapping[str, list[Path]], masks: list[Path], mask_pattern: str
) -> list[Problem]:
    problems = [
        problem
        for pattern, found in images.items()
        for problem in _count_problems(patient, "image_pattern", pattern, found, "no image")
    ]
    without = "image without mask" if any(images.values()) else "no mask"
    problems += _count_problems(patient, "mask_pattern", mask_pattern, masks, without)
    return problems


def _count_problems(patient: Path, key: str, pattern: str, found: list[Path], none: str) -> list[Problem]:
    if not found:
        return [Problem(str(patient), f"{none}: no file fits {key} {pattern!r}", _names(patient))]
    if len(found) == 1:
        return []
    names = ", ".join(path.relative_to(patient).as_posix() for path in found[:4])
    what = f"{len(found)} files fit {key} {pattern!r}: {names}"
    return [Problem(str(patient), what, "use a pattern that fits one, such as *_FLAIR.nii.gz")]


def _names(patient: Path) -> str:
    names = sorted(path.relative_to(patient).as_posix() for path in patient.rglob("*") if path.is_file())
    return "the folder holds " + (", ".join(names[:6]) or "no files")
