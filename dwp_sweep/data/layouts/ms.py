"""Layout ``ms``: a folder a patient; image and mask are found by pattern.

A pattern is a word that the file's name contains (``FLAIR``), or a glob on the path inside the
patient's folder (``study*/*_flair.nii.gz``). Case does not count.
"""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.layouts.listing import Listing, Subject, folders, is_nifti, make_listing, stem
from dwp_sweep.errors import Problem


def list_ms(config: DatasetConfig, root: Path) -> Listing:
    """Every patient folder with one file that fits each of the two patterns."""
    patients = folders(root)
    if not patients:
        return Listing((), (Problem(str(root), "holds no folders", "layout ms needs one folder a patient"),))
    subjects, broken = [], {}
    for patient in patients:
        files = sorted(path for path in patient.rglob("*") if path.is_file() and is_nifti(path))
        masks = _matches(patient, files, config.mask_pattern)
        images = _matches(patient, [path for path in files if path not in masks], config.image_pattern)
        bad = _count_problems(patient, images, masks, config)
        if bad:
            broken[patient.name] = tuple(bad)
        else:
            subjects.append(Subject(patient.name, images[0], masks[0]))
    return make_listing(subjects, (), broken)


def _matches(patient: Path, files: list[Path], pattern: str) -> list[Path]:
    """Files that fit; one whose name *is* the pattern beats those that only contain it."""
    word = pattern.lower()
    if any(sign in pattern for sign in "*?[/"):
        return [path for path in files if fnmatch(path.relative_to(patient).as_posix().lower(), word)]
    exact = [path for path in files if stem(path).lower() == word or path.name.lower() == word]
    return exact or [path for path in files if word in stem(path).lower()]


def _count_problems(
    patient: Path, images: list[Path], masks: list[Path], config: DatasetConfig
) -> list[Problem]:
    problems = []
    for role, found, key in (("image", images, "image_pattern"), ("mask", masks, "mask_pattern")):
        pattern = getattr(config, key)
        if not found:
            what = "image without mask" if role == "mask" and images else f"no {role}"
            problems.append(Problem(str(patient), f"{what}: no file fits {key} {pattern!r}", _names(patient)))
        elif len(found) > 1:
            names = ", ".join(path.relative_to(patient).as_posix() for path in found[:4])
            what = f"{len(found)} files fit {key} {pattern!r}: {names}"
            problems.append(
                Problem(str(patient), what, "use a pattern that fits one, such as *_FLAIR.nii.gz")
            )
    return problems


def _names(patient: Path) -> str:
    names = sorted(path.relative_to(patient).as_posix() for path in patient.rglob("*") if path.is_file())
    return "the folder holds " + (", ".join(names[:6]) or "no files")
