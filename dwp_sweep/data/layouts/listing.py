"""What listing a folder yields: subjects, and everything that is wrong with the folder.

Shared by all layouts. Reads file names only, never voxels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.errors import Problem

NIFTI_ENDINGS = (".nii.gz", ".nii")


@dataclass(frozen=True)
class Subject:
    """One labelled scan.

    Attributes:
        id: Unique within the data set.
        image: File of the image; of the first modality where there are several.
        mask: File of the mask.
        further: Files of the other modalities, in the order that the user gave.
    """

    id: str
    image: Path
    mask: Path
    further: tuple[Path, ...] = ()

    @property
    def images(self) -> tuple[Path, ...]:
        """The files of all modalities."""
        return (self.image, *self.further)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the subject, the mask second."""
        return (self.image, self.mask, *self.further)


@dataclass(frozen=True)
class Listing:
    """What stands under a root, by its layout.

    Attributes:
        subjects: Complete subjects, sorted by id.
        problems: What is wrong with the folder as a whole, or belongs to no single subject.
        broken: Problems of subjects that are there but incomplete, by id.
        label_set: Values that the masks may hold, where the layout says so.
    """

    subjects: tuple[Subject, ...]
    problems: tuple[Problem, ...] = ()
    broken: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)
    label_set: frozenset[int] | None = None

    @property
    def ids(self) -> tuple[str, ...]:
        """All ids, complete or broken, sorted: what a range of subjects counts over."""
        return tuple(sorted({*(subject.id for subject in self.subjects), *self.broken}))


Lister = Callable[[DatasetConfig, Path], Listing]
"""Finds the subjects of one layout under an existing root."""


def stem(path: Path) -> str:
    """File name without ``.nii`` or ``.nii.gz``."""
    for ending in NIFTI_ENDINGS:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return path.name


def is_nifti(path: Path) -> bool:
    """Whether a file's name says NIfTI; names that begin with a dot (macOS copies) do not count."""
    return path.name.lower().endswith(NIFTI_ENDINGS) and not path.name.startswith(".")


def folders(root: Path) -> list[Path]:
    """Visible folders directly under a root, sorted."""
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def make_listing(
    subjects: Iterable[Subject],
    problems: Iterable[Problem] = (),
    broken: Mapping[str, tuple[Problem, ...]] | None = None,
    label_set: frozenset[int] | None = None,
) -> Listing:
    """Keep the subjects whose files exist and whose id is unique; sort the others to the broken ones."""
    kept, bad = dict[str, Subject](), dict(broken or {})
    for subject in sorted(subjects, key=lambda item: item.id):
        faults = _twice(subject, kept) + _one_file_twice(subject) + _missing_files(subject)
        if faults:
            bad[subject.id] = (*bad.get(subject.id, ()), *faults)
        else:
            kept[subject.id] = subject
    return Listing(tuple(kept.values()), tuple(problems), bad, label_set)


def _twice(subject: Subject, kept: Mapping[str, Subject]) -> tuple[Problem, ...]:
    if subject.id not in kept:
        return ()
    what = f"subject id {subject.id!r} is there twice, first with {kept[subject.id].image}"
    return (Problem(str(subject.image), what, "give every subject its own id"),)


def _one_file_twice(subject: Subject) -> tuple[Problem, ...]:
    return tuple(
        Problem(str(image), f"serves as two modalities of subject {subject.id}", "name different ones")
        for image in dict.fromkeys(subject.images)
        if subject.images.count(image) > 1
    )


def _missing_files(subject: Subject) -> tuple[Problem, ...]:
    problems = [
        Problem(str(image), f"image of subject {subject.id} is missing", "add the file")
        for image in subject.images
        if not image.is_file()
    ]
    if not subject.mask.is_file():
        fix = f"add the mask, or leave {subject.id} out by a list of subjects"
        problems.append(Problem(str(subject.image), f"image without mask: there is no {subject.mask}", fix))
    return tuple(problems)
