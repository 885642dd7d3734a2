"""Layout ``bids``: images of subjects and sessions by the names of BIDS, masks under ``derivatives``.

A scan is a subject, or a session of one: ``sub-01/ses-02/anat/sub-01_ses-02_FLAIR.nii.gz``. Its mask
stands anywhere below the root, by the rules under ``derivatives``:
``sub-01_ses-02_space-T1w_label-lesion_mask.nii.gz``. Images may be raw, or derivatives themselves
(coregistered, skull-stripped): those of the mask's ``space`` come first, and raw ones before others.
``image_pattern`` and ``mask_pattern`` are a word (a suffix such as ``T1w``, or part of the name), or a glob
on the path below the root. Reads file names, no voxels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from dwp_sweep.data.config import DatasetConfig, several
from dwp_sweep.data.files.names import files_below, folded, is_nifti, stem
from dwp_sweep.data.layouts.listing import Listing, Subject, make_listing
from dwp_sweep.errors import Problem

DERIVATIVES = "derivatives"
N_NAMED = 6

_SCAN = re.compile(r"(sub-[A-Za-z0-9]+(?:_ses-[A-Za-z0-9]+)?)_.+")
_SPACE = re.compile(r"_space-([A-Za-z0-9]+)")
_BRAIN = re.compile(r"_(desc|label)-(brain|head|BM)(?=_)", re.IGNORECASE)
_MASK_SUFFIXES = ("mask", "dseg", "probseg")


def list_bids(config: DatasetConfig, root: Path) -> Listing:
    """Every subject and session that has an image of each pattern, and its mask."""
    scans = scans_of(root)
    if not scans:
        what = "holds no NIfTI file named as in BIDS, such as sub-01/anat/sub-01_FLAIR.nii.gz"
        return Listing((), (Problem(str(root), what, "give the folder that holds the folders sub-..."),))
    subjects, broken = [], {}
    for name, files in scans.items():
        found = _subject(config, root, name, files)
        if isinstance(found, Subject):
            subjects.append(found)
        elif not any(other.startswith(f"{name}_ses-") for other in scans):
            broken[name] = found  # files without a session, of a subject with sessions, are of all of them
    return make_listing(subjects, (), broken)


def scans_of(root: Path) -> dict[str, list[Path]]:
    """The NIfTI files of each subject or session, by ``sub-01`` or ``sub-01_ses-02``."""
    scans: dict[str, list[Path]] = {}
    for path in files_below(root):
        if is_nifti(path) and (match := _SCAN.fullmatch(stem(path))):
            scans.setdefault(match[1], []).append(path)
    return scans


def is_mask_name(path: Path) -> bool:
    """Whether the suffix of a file's name says that it is a mask."""
    return stem(path).rpartition("_")[2].lower() in _MASK_SUFFIXES


def _subject(
    config: DatasetConfig, root: Path, name: str, files: Sequence[Path]
) -> Subject | tuple[Problem, ...]:
    masks = _fitting(root, files, config.mask_pattern)
    if not _is_glob(config.mask_pattern):  # a brain mask is the target of nobody who does not say so
        masks = [path for path in masks if not _BRAIN.search(path.name)] or masks
    space = _space(masks[0]) if masks else ""
    images, problems = list[Path](), list[Problem]()
    for pattern in several(config.image_pattern):
        rest = [path for path in files if path not in masks and not is_mask_name(path)]
        best = _best(root, _fitting(root, rest, pattern), space)
        problems += _count_problems(root, name, files, "image_pattern", pattern, best)
        images += best[:1]
    problems += _count_problems(root, name, files, "mask_pattern", config.mask_pattern, masks)
    if problems:
        return tuple(problems)
    return Subject(name, images[0], masks[0], tuple(images[1:]))


def _fitting(root: Path, files: Sequence[Path], pattern: str) -> list[Path]:
    """Files that fit; one whose suffix is the word beats those that only contain it."""
    word = folded(pattern)
    if _is_glob(pattern):
        return [path for path in files if fnmatch(folded(path.relative_to(root).as_posix()), word)]
    exact = [path for path in files if folded(stem(path)).rpartition("_")[2] == word]
    return exact or [path for path in files if word in folded(stem(path))]


def _best(root: Path, images: Sequence[Path], space: str) -> list[Path]:
    """Images in the mask's space before others, raw ones before derivatives."""
    ranks = [
        (_space(path) == space, path.relative_to(root).parts[0].lower() != DERIVATIVES) for path in images
    ]
    return [path for path, rank in zip(images, ranks, strict=True) if rank == max(ranks)]


def _is_glob(pattern: str) -> bool:
    return any(sign in pattern for sign in "*?[/")


def _space(path: Path) -> str:
    match = _SPACE.search(path.name)
    return match[1] if match else ""


def _count_problems(
    root: Path, name: str, files: Sequence[Path], key: str, pattern: str, fitting: Sequence[Path]
) -> list[Problem]:
    if len(fitting) == 1:
        return []
    where = f"{root}: {name}"
    shown = ", ".join(path.relative_to(root).as_posix() for path in (fitting or files)[:N_NAMED])
    if fitting:
        what = f"{len(fitting)} files fit {key} {pattern!r}: {shown}"
        return [Problem(where, what, "use a pattern that fits one, such as */anat/*_run-1_FLAIR.nii.gz")]
    role = "image" if key == "image_pattern" else "mask"
    return [Problem(where, f"no {role}: no file fits {key} {pattern!r}", f"its files are {shown}")]
