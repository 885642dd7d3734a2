"""Layout ``brats18``: one folder a subject under ``HGG`` and ``LGG``, one file a modality.

``HGG/<id>/<id>_t2.nii.gz`` with mask ``<id>_seg.nii.gz``. Folders of other years that stand
directly under the root are taken as well.
"""

from __future__ import annotations

from pathlib import Path

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.layouts.listing import NIFTI_ENDINGS, Listing, Subject, folders, make_listing
from dwp_sweep.errors import Problem

GRADES = ("HGG", "LGG")


def list_brats18(config: DatasetConfig, root: Path) -> Listing:
    """Every subject folder with the image of `config.modality` and its ``seg`` mask."""
    grades = [root / grade for grade in GRADES if (root / grade).is_dir()]
    patients = [patient for folder in grades or [root] for patient in folders(folder)]
    if not grades and not any(_file(patient, "seg").is_file() for patient in patients):
        fix = "give the folder that holds HGG and LGG"
        return Listing((), (Problem(str(root), "has neither a folder HGG nor a folder LGG", fix),))
    subjects, broken = [], {}
    for patient in patients:
        subject = Subject(patient.name, _file(patient, config.modality), _file(patient, "seg"))
        if subject.image.is_file():
            subjects.append(subject)
        else:
            broken[patient.name] = (_no_image(patient, config.modality),)
    return make_listing(subjects, (), broken)


def _no_image(patient: Path, modality: str) -> Problem:
    there = ", ".join(sorted(path.name for path in patient.iterdir())[:6]) or "nothing"
    what = f"no image of modality {modality!r}; the folder holds {there}"
    return Problem(str(patient), what, "set modality to the suffix of the files")


def _file(patient: Path, suffix: str) -> Path:
    for ending in NIFTI_ENDINGS:
        path = patient / f"{patient.name}_{suffix}{ending}"
        if path.is_file():
            return path
    return patient / f"{patient.name}_{suffix}{NIFTI_ENDINGS[0]}"
