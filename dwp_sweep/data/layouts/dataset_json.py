"""Layouts that a ``dataset.json`` describes: ``msd`` and ``nnunet``.

``msd`` is a task of the Medical Segmentation Decathlon: ``training`` lists image and label files, and the
subject's id is the image's file name. ``nnunet`` is nnU-Net's raw data, version 1 or 2: a channel a file,
``imagesTr/CASE_0000.nii.gz``, and ``labelsTr/CASE.nii.gz``; or the files that ``dataset`` lists case by case.
In both, ``labels`` says which values a mask may hold. Reads file names, no voxels.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dwp_sweep.data.config import DatasetConfig, several
from dwp_sweep.data.files.names import (
    NIFTI_ENDINGS,
    files_below,
    is_nifti,
    named_file,
    other_format,
    stem,
)
from dwp_sweep.data.layouts.listing import Listing, Subject, make_listing
from dwp_sweep.errors import Problem
from dwp_sweep.strict import json_of

DESCRIPTION = "dataset.json"
IGNORE = "ignore"

_CHANNEL = re.compile(r"(.+)_(\d{4})")
_IMAGES, _MASKS = "imagesTr", "labelsTr"


def list_msd(config: DatasetConfig, root: Path) -> Listing:
    """Subjects of ``dataset.json`` under `root`."""
    path = root / DESCRIPTION
    described = read_description(path)
    if not isinstance(described, Problem) and not isinstance(described.get("training"), list):
        described = Problem(
            str(path), "has no list 'training' of images and labels", "see the layout of medicaldecathlon.com"
        )
    if isinstance(described, Problem):
        return Listing((), (described,))
    labels = _labels(described.get("labels"))
    subjects, problems, broken = [], _ignored_labels(config, labels or (), path), {}
    for number, entry in enumerate(described["training"]):
        image = _file(entry, "image")
        label = _file(entry, "label")
        fix = 'write {"image": ..., "label": ...}'
        where = f"training[{number}] is {json.dumps(entry)[:80]}"
        if image is None:
            problems.append(Problem(str(path), f"{where}: no image", fix))
        elif label is None:
            what = f"image without mask: {where}"
            broken[stem(named_file(root, image))] = (Problem(str(path), what, fix),)
        else:
            path_of_image = named_file(root, image)
            subjects.append(Subject(stem(path_of_image), path_of_image, named_file(root, label)))
    return _with_labels(make_listing(subjects, problems, broken), labels)


def list_nnunet(config: DatasetConfig, root: Path) -> Listing:
    """Every case of the training set, with the files of `config.channel`."""
    path = root / DESCRIPTION
    described = read_description(path)
    if isinstance(described, Problem):
        return Listing((), (described,))
    labels = _labels(described.get("labels"))
    cases = _described_cases(described, root) or _cases_in_folders(root)
    names = channel_names(described)
    problems = [*_ignored_labels(config, labels or (), path), *_unread_format(described, path)]
    if config.channel is None and len(names) > 1:
        there = ", ".join(f"{number} {name}" for number, name in names.items())
        fix = f"choose by channel: one number, or a list such as {list(names)[:2]}"
        problems.append(Problem(str(path), f"a scan has {len(names)} channels: {there}", fix))
    if not cases:
        what = f"there is no CASE_0000.nii.gz in {_IMAGES} and no CASE.nii.gz in {_MASKS}"
        problems.append(Problem(str(root), what, "see nnU-Net's format of raw data"))
    wanted = [0 if number is None else number for number in several(config.channel)]
    subjects, broken = [], {}
    for case, files in cases.items():
        expected = root / _IMAGES / f"{case}_0000.nii.gz"
        first, *further = (files.channels.get(n, _of_channel(expected, n)) for n in wanted)
        if files.mask is None and not files.channels:
            broken[case] = (Problem(str(path), f"case {case} has no files", "add them"),)
            continue
        subjects.append(Subject(case, first, files.mask or root / _MASKS / f"{case}.nii.gz", tuple(further)))
    return _with_labels(make_listing(subjects, problems, broken), labels)


@dataclass(frozen=True)
class _CaseFiles:
    """The files of one case, channels by their number."""

    channels: Mapping[int, Path]
    mask: Path | None


def _described_cases(described: Mapping[str, Any], root: Path) -> dict[str, _CaseFiles]:
    """Cases that version 2 lists by ``dataset``: ``{"CASE": {"images": [...], "label": ...}}``."""
    listed = described.get("dataset")
    cases = {}
    for case, entry in listed.items() if isinstance(listed, Mapping) else ():
        images = entry.get("images") if isinstance(entry, Mapping) else None
        label = _file(entry, "label")
        names = [name for name in images if isinstance(name, str)] if isinstance(images, list) else []
        channels = {number: named_file(root, name) for number, name in enumerate(names)}
        cases[str(case)] = _CaseFiles(channels, None if label is None else named_file(root, label))
    return cases


def _cases_in_folders(root: Path) -> dict[str, _CaseFiles]:
    images: dict[str, dict[int, Path]] = {}
    for path in _files(root / _IMAGES):
        if match := _CHANNEL.fullmatch(stem(path)):
            images.setdefault(match[1], {})[int(match[2])] = path
    masks = {stem(path): path for path in _files(root / _MASKS)}
    return {case: _CaseFiles(images.get(case, {}), masks.get(case)) for case in sorted({*images, *masks})}


def _files(folder: Path) -> list[Path]:
    return [path for path in files_below(folder) if is_nifti(path)] if folder.is_dir() else []


def _of_channel(first: Path, number: int) -> Path:
    return first.with_name(first.name.replace("_0000.", f"_{number:04d}."))


def channel_names(described: Mapping[str, Any]) -> dict[int, str]:
    """What each channel is, by its number: ``channel_names`` of version 2, ``modality`` of version 1.

    Args:
        described: Values of a ``dataset.json``.
    """
    for key in ("channel_names", "modality"):
        names = described.get(key)
        if isinstance(names, Mapping) and all(str(number).isdecimal() for number in names):
            return {int(number): str(name) for number, name in names.items()}
    return {}


def is_cases_by_channel(files: Sequence[Path]) -> bool:
    """Whether scans are named as in nnU-Net's raw data, a channel a file: ``CASE_0000``."""
    scans = [path for path in files if is_nifti(path)]
    return bool(scans) and all(_CHANNEL.fullmatch(stem(path)) for path in scans)


def _unread_format(described: Mapping[str, Any], path: Path) -> list[Problem]:
    ending = described.get("file_ending")
    if not isinstance(ending, str) or ending.lower() in NIFTI_ENDINGS:
        return []
    format = other_format(Path(f"scan{ending}")) or ending
    fix = "convert the scans to .nii.gz and say so in file_ending"
    return [Problem(str(path), f"file_ending is {ending!r}: {format} is not read", fix)]


def read_description(path: Path) -> dict[str, Any] | Problem:
    """The values of a ``dataset.json``, or what stands against reading it."""
    if not path.is_file():
        return Problem(
            str(path),
            "there is no dataset.json in this folder",
            "layouts msd and nnunet need one; or choose another layout",
        )
    try:
        values = json_of(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError) as error:
        return Problem(str(path), f"is no JSON: {error}", "repair or download the file again")
    if not isinstance(values, dict):
        return Problem(
            str(path), "has no list 'training' of images and labels", "see the layout's description"
        )
    return values


def _file(entry: object, role: str) -> str | None:
    value = entry.get(role) if isinstance(entry, Mapping) else None
    return value if isinstance(value, str) and value else None


def _with_labels(listing: Listing, labels: Sequence[tuple[str, frozenset[int]]] | None) -> Listing:
    """The listing with the values of the masks and their names."""
    label_set = None if labels is None else frozenset({0}).union(*(values for _, values in labels))
    # Of a nested region nobody can say which of its labels the name is of.
    names = {value: name for name, values in labels or () if len(values) == 1 for value in values}
    return replace(listing, label_set=label_set, label_names=names)


def _labels(labels: object) -> list[tuple[str, frozenset[int]]] | None:
    """Names with values: ``{"0": "background"}``, or in newer files ``{"lesion": 1, "whole": [1, 2]}``."""
    if not isinstance(labels, Mapping):
        return None
    for pairs in ([(name, value) for value, name in labels.items()], labels.items()):
        try:
            return [
                (str(name), frozenset(int(part) for part in (value if isinstance(value, list) else [value])))
                for name, value in pairs
            ]
        except (TypeError, ValueError, OverflowError):  # the last for an infinite number
            continue
    return None


def _ignored_labels(
    config: DatasetConfig, labels: Iterable[tuple[str, frozenset[int]]], path: Path
) -> list[Problem]:
    """nnU-Net's label ``ignore`` marks what nobody annotated: foreground by default would be wrong."""
    values = sorted(value for name, values in labels if name.lower() == IGNORE for value in values)
    wanted = config.foreground
    chosen = values if wanted is None else [value for value in values if value in wanted]
    return [
        Problem(
            str(path),
            f"label {value} is {IGNORE!r}: voxels that nobody annotated, which are no foreground",
            "choose the foreground by labels, without it; voxels of other labels count as background",
        )
        for value in chosen
    ]
