"""Which images of its patients a first search space uses, so that both tasks see the same modalities.

Knows names of files and channels, never voxels. First step of `dwp_sweep.config.initial`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dwp_sweep.data.config import BRATS_LAYOUTS, DatasetConfig
from dwp_sweep.data.files.names import files_below, folded, folders, is_nifti, stem
from dwp_sweep.data.files.volumes import read_header
from dwp_sweep.data.layouts import list_subjects, scan_layout
from dwp_sweep.data.layouts.bids import is_mask_name, scans_of
from dwp_sweep.data.layouts.dataset_json import DESCRIPTION, channel_names, read_description
from dwp_sweep.data.layouts.folders import GRADES
from dwp_sweep.errors import InputError, Problem

MOST_CHANNELS = 4

_KINDS = {
    "t1ce": ("t1ce", "t1c", "t1gd", "t1contrast", "t1post", "ce-t1"),
    "t1": ("t1", "t1w", "t1n", "t1-weighted"),
    "t2": ("t2", "t2w", "t2-weighted"),
    "flair": ("flair", "t2f", "t2flair"),
    "pd": ("pd", "pdw"),
    "ct": ("ct",),
    "pet": ("pet",),
    "adc": ("adc",),
    "dwi": ("dwi",),
}
_MASK_WORDS = ("mask", "lesion", "seg", "label", "gt", "manual", "roi")
_BRATS_NAMES = ("t1", "t1ce", "t2", "flair")


@dataclass(frozen=True)
class Modalities:
    """What every patient of a folder has an image of.

    Attributes:
        field: Of the data set, which names them; empty where there is one image and no choice.
        names: What people call them.
        values: What the field takes for each.
        mask_pattern: Which file is the mask, where patterns find files.
    """

    field: str = ""
    names: tuple[str, ...] = ()
    values: tuple[str | int, ...] = ()
    mask_pattern: str | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names, one for all spellings of a modality."""
        return tuple(kind_of(name) for name in self.names)


def kind_of(name: str) -> str:
    """One name for all spellings of a modality; the name itself where it is none that is known."""
    words = [folded(name), *re.split(r"[\s_.,/()]+", folded(name))]
    return next((kind for word in words for kind, same in _KINDS.items() if word in same), words[0])


def modalities_of(config: DatasetConfig, root: Path) -> Modalities:
    """What there is to choose from; the same for all patients.

    Args:
        config: With its layout.
        root: Its folder or table.

    Raises:
        InputError: The scans have different numbers of channels.
    """
    if config.layout in BRATS_LAYOUTS:
        return _of_brats(config, root)
    if config.layout == "ms":
        return _of_patients(root)
    if config.layout == "bids":
        return _of_bids(root)
    names = _described(root)
    if config.layout == "nnunet":
        return Modalities("channel", tuple(names.values()), tuple(names)) if len(names) > 1 else Modalities()
    n_channels = _n_channels(config)
    numbers = range(n_channels)
    return (
        Modalities("channel", tuple(names.get(n, f"channel {n}") for n in numbers), tuple(numbers))
        if (n_channels > 1)
        else Modalities("", tuple(names.values())[:1])
    )


def chosen(own: Modalities, other: Modalities | None) -> tuple[tuple[str | int, ...], str]:
    """The values that a task uses, and why: what both tasks have, in one order; else one image.

    Args:
        own: Of the task.
        other: Of the other task; None: there is none, or it brings a network of one channel count.
    """
    if not own.field or not own.values:
        return (), ""
    if other is None:
        values = own.values[:MOST_CHANNELS]
        return values, "all that every patient has" if len(values) > 1 else "the image that every patient has"
    common = sorted(set(own.kinds) & set(other.kinds) - {""})[:MOST_CHANNELS]
    if common and other.field and len(common) > 1:
        return tuple(own.values[own.kinds.index(kind)] for kind in common), "what both tasks have"
    if common:
        return (own.values[own.kinds.index(common[0])],), "what both tasks have"
    preferred = [kind for kind in ("flair", "t2") if kind in own.kinds]
    place = own.kinds.index(preferred[0]) if preferred else 0
    others = ", ".join(name for number, name in enumerate(own.names) if number != place)
    why = f"one image, as the other task has another one; {others} are there too" if others else "the image"
    return (own.values[place],), why


def _of_brats(config: DatasetConfig, root: Path) -> Modalities:
    patients = [one for grade in folders(root) if grade.name.upper() in GRADES for one in folders(grade)]
    patients = patients or folders(root)
    there = [
        {kind_of(re.split(r"[_-]", stem(path))[-1]) for path in files_below(patient) if is_nifti(path)}
        for patient in patients
    ]
    complete = [kinds for kinds in there if kinds & set(_BRATS_NAMES)]
    names = tuple(name for name in _BRATS_NAMES if complete and all(name in kinds for kinds in complete))
    return Modalities("modality", names, names)


def _of_patients(root: Path) -> Modalities:
    """Words that fit one image of every patient, known modalities before others."""
    files = [[path for path in files_below(patient) if is_nifti(path)] for patient in folders(root)]
    files = [paths for paths in files if paths]
    mask = next(
        (word for word in _MASK_WORDS if all(_fits(paths, word) == 1 for paths in files)),
        next((word for word in _MASK_WORDS if _mostly(files, word)), None),
    )
    if mask is None:
        return Modalities()
    images = [[path for path in paths if mask not in folded(stem(path))] for paths in files]
    counts = Counter(word for paths in images for word in {word for path in paths for word in _words(path)})
    words = [word for word, n in counts.items() if n == len(images) and _mostly(images, word)]
    known = [word for word in words if kind_of(word) in _KINDS]
    if not known and all(len(paths) == 1 for paths in images):
        return Modalities("image_pattern", ("image",), ("*",), mask)
    written = {word: text for paths in images for path in paths for word, text in _written(path).items()}
    found = tuple(written[word] for word in sorted(known or words))
    return Modalities("image_pattern", found, found, mask)


def _of_bids(root: Path) -> Modalities:
    scans = list(scans_of(root).values())
    suffixes = [
        {stem(path).rpartition("_")[2] for path in paths if not is_mask_name(path)} for paths in scans
    ]
    with_masks = [
        (names, paths)
        for names, paths in zip(suffixes, scans, strict=True)
        if any(map(is_mask_name, paths)) and names
    ]
    if not with_masks:
        return Modalities()
    common = sorted(set.intersection(*(names for names, _ in with_masks)))
    known = tuple(name for name in common if kind_of(name) in _KINDS) or tuple(common)
    has_mask = all(any(stem(path).endswith("_mask") for path in paths) for _, paths in with_masks)
    return Modalities("image_pattern", known, known, "mask" if has_mask else "dseg")


def _words(path: Path) -> list[str]:
    return list(_written(path))


def _written(path: Path) -> dict[str, str]:
    """The words of a name as they are compared, and as they are written."""
    return {folded(word): word for word in re.split(r"[_\-. ]+", stem(path)) if word}


def _fits(paths: Sequence[Path], word: str) -> int:
    exact = [path for path in paths if folded(stem(path)) == word]
    return len(exact or [path for path in paths if word in folded(stem(path))])


def _mostly(files: Sequence[Sequence[Path]], word: str) -> bool:
    """Whether a word fits one file of nearly every patient: who lacks it is incomplete."""
    return sum(_fits(paths, word) == 1 for paths in files) > 0.5 * len(files) > 0


def _described(root: Path) -> dict[int, str]:
    described = read_description(root / DESCRIPTION) if root.is_dir() else None
    return channel_names(described) if isinstance(described, dict) else {}


def _n_channels(config: DatasetConfig) -> int:
    """Volumes of each image's file.

    Raises:
        InputError: They differ.
    """
    if scan_layout(config).problems:
        return 1  # reported where the subjects are listed
    counts: dict[int, list[str]] = {}
    for subject in list_subjects(config):
        try:
            counts.setdefault(read_header(subject.image).n_channels, []).append(subject.id)
        except InputError:
            continue  # reported with all problems of the scans
    if len(counts) > 1:
        parts = [f"{len(ids)} scans with {n}, such as {ids[0]}" for n, ids in sorted(counts.items())]
        what = f"scans of mixed channels: {'; '.join(parts)}"
        raise InputError(Problem(config.root or "", what, "select scans of one kind, by subjects: [id, ...]"))
    return next(iter(counts), 1)
