"""Which layout a folder has, by its files' names, where nobody says it.

Stands before the listing; the answer depends on names alone, so that the same folder always has the same
layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dwp_sweep.data.config import DatasetConfig, Layout
from dwp_sweep.data.files.names import files_below, folders, is_file, is_nifti, named_file, other_format
from dwp_sweep.data.layouts.bids import scans_of
from dwp_sweep.data.layouts.dataset_json import DESCRIPTION, is_cases_by_channel, read_description
from dwp_sweep.data.layouts.folders import GRADES, is_brats_patient
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.strict import parse

PAIRS_TABLE = "pairs.csv"

_N_LOOKED_AT = 20
"""Folders of patients that are looked at, so that large data sets answer at once."""
_N_NAMED = 5


def with_layout(config: DatasetConfig, root: Path) -> DatasetConfig:
    """The data set with the layout that its folder has, where none is given.

    Args:
        config: Returned as it is unless its layout is ``auto``.
        root: An existing folder or file.

    Raises:
        InputError: The folder has no layout that is known, or one that does not read a setting.
    """
    if config.layout != "auto":
        return config
    layout = guess_layout(root)
    if isinstance(layout, Problem):
        raise InputError(layout)
    values = {**config.model_dump(mode="json", exclude_defaults=True), "layout": layout}
    return parse(DatasetConfig, values, str(root))


def guess_layout(root: Path) -> Layout | Problem:
    """The layout of a folder or table, or why there is none.

    Args:
        root: An existing folder or file.
    """
    if is_file(root):
        if root.suffix.lower() in (".csv", ".tsv", ".txt"):
            return "pairs"
        return Problem(str(root), "is a file, where a folder of scans is expected", "give its folder")
    if is_file(root / DESCRIPTION):
        return _described(root)
    if is_file(root / PAIRS_TABLE):
        return "pairs"
    inner = folders(root)
    if any(folder.name.startswith("sub-") for folder in inner) and scans_of(root):
        return "bids"
    patients = [one for folder in inner if folder.name.upper() in GRADES for one in folders(folder)]
    if any(is_brats_patient(folder) for folder in (patients or inner)[:_N_LOOKED_AT]):
        return "brats"
    if any(is_nifti(path) for folder in inner for path in files_below(folder)) and not _is_nnunet(inner):
        return "ms"
    return _no_layout(root, inner)


def _described(root: Path) -> Layout | Problem:
    described = read_description(root / DESCRIPTION)
    if isinstance(described, Problem):
        return described
    is_version_2 = any(key in described for key in ("channel_names", "file_ending", "dataset"))
    images = files_below(root / "imagesTr") if (root / "imagesTr").is_dir() else []
    if is_version_2 or (is_cases_by_channel(images) and not _has_listed_files(described, root)):
        return "nnunet"
    return "msd"


def _has_listed_files(described: Mapping[str, Any], root: Path) -> bool:
    """Whether the first image of the list is there; version 1 of nnU-Net lists names without the channel."""
    listed = described.get("training")
    first = listed[0] if isinstance(listed, list) and listed else None
    image = first.get("image") if isinstance(first, Mapping) else None
    return isinstance(image, str) and is_file(named_file(root, image))


def _is_nnunet(inner: list[Path]) -> bool:
    return any(folder.name in ("imagesTr", "labelsTr") for folder in inner)


def _no_layout(root: Path, inner: list[Path]) -> Problem:
    sets = [folder.name for folder in inner if is_file(folder / DESCRIPTION)]
    if sets:
        return Problem(str(root), f"holds data sets: {', '.join(sets[:_N_NAMED])}", "give the folder of one")
    if _is_nnunet(inner):
        what = "has imagesTr or labelsTr, but no dataset.json"
        return Problem(str(root), what, "layouts msd and nnunet need one beside these folders")
    files = files_below(root)
    if not files:
        return Problem(str(root), "is empty: it holds no files", "give the folder that holds the scans")
    scans = [path for path in files if is_nifti(path)]
    formats = sorted({format for path in files if (format := other_format(path)) is not None})
    if not scans and formats:
        what = f"holds {' and '.join(formats)}, which is not read, and no NIfTI file"
        return Problem(str(root), what, "convert the scans to .nii.gz")
    names = ", ".join(path.relative_to(root).as_posix() for path in (scans or files)[:_N_NAMED])
    if not scans:
        return Problem(str(root), f"holds no NIfTI file, but {names}", "give the folder that holds the scans")
    what = f"no layout fits its files: {names}"
    fix = f"write a table {PAIRS_TABLE} with the columns image, mask, subject, or one folder a patient"
    return Problem(str(root), what, fix)
