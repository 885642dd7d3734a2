"""Layout ``brats`` (also ``brats18``): a folder a subject, a file a modality, as BraTS publishes.

2018 and 2019 sort subjects into ``HGG`` and ``LGG``; later editions are flat. A subject's files are named
after its folder: ``<id>_t2.nii.gz`` and ``<id>_seg.nii.gz`` until 2021 (2020 without ``.gz``),
``<id>-t2w.nii.gz`` and ``<id>-seg.nii.gz`` since 2023. The enhancing tumour is 4 until 2021 and 3 since;
the whole tumour is everything above 0 in all of them.
"""

from __future__ import annotations

from pathlib import Path

from dwp_sweep.data.config import DatasetConfig, several
from dwp_sweep.data.layouts.listing import (
    NIFTI_ENDINGS,
    Listing,
    Subject,
    folders,
    is_nifti,
    make_listing,
    stem,
)
from dwp_sweep.errors import Problem

GRADES = ("HGG", "LGG")
LABELS = frozenset(range(5))
"""Values that a mask of any edition may hold."""

_SEPARATORS = "_-"
_SAME = (("t1", "t1n"), ("t1ce", "t1c", "t1gd"), ("t2", "t2w"), ("flair", "t2f"))
"""A modality's names until 2021 and since."""


def list_brats(config: DatasetConfig, root: Path) -> Listing:
    """Every subject folder with the image of each of `config.modality` and its ``seg`` mask."""
    grades = [root / grade for grade in GRADES if (root / grade).is_dir()]
    patients = [patient for folder in grades or [root] for patient in folders(folder)]
    if not grades and not any(_mask(patient) for patient in patients):
        what = "has neither folders HGG and LGG nor a folder a subject with a seg mask"
        fix = "give the folder that holds HGG and LGG, or the subjects' folders"
        return Listing((), (Problem(str(root), what, fix),))
    subjects, broken = list[Subject](), dict[str, tuple[Problem, ...]]()
    for patient in patients:
        images = {name: _image(patient, name) for name in several(config.modality)}
        found = [path for path in images.values() if path is not None]
        lacking = [name for name, path in images.items() if path is None]
        mask = _mask(patient)
        if lacking:
            broken[patient.name] = (_no_image(patient, lacking), *([] if mask else [_no_mask(patient)]))
        else:
            expected = mask or patient / f"{patient.name}_seg.nii.gz"
            subjects.append(Subject(patient.name, found[0], expected, tuple(found[1:])))
    return make_listing(subjects, (), broken, LABELS)


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
        others = [one for one in patient.iterdir() if is_nifti(one) and "seg" in stem(one).lower()]
        path = others[0] if len(others) == 1 else None
    return path


def _named(patient: Path, suffix: str) -> Path | None:
    for separator in _SEPARATORS:
        for ending in NIFTI_ENDINGS:
            path = patient / f"{patient.name}{separator}{suffix}{ending}"
            if path.is_file():
                return path
    return None


def _no_mask(patient: Path) -> Problem:
    return Problem(str(patient), "no mask: no file ends in seg", "add the mask, or leave the subject out")


def _no_image(patient: Path, lacking: list[str]) -> Problem:
    there = ", ".join(sorted(path.name for path in patient.iterdir())[:6]) or "nothing"
    names = " and ".join(repr(name) for name in lacking)
    what = f"no image of modality {names}; the folder holds {there}"
    fix = "add the file, set modality to the suffix of those that are there, or leave the subject out"
    return Problem(str(patient), what, fix)
