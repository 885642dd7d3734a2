"""What listing a folder yields, and the layout whose subjects stand in a table: ``pairs``.

``pairs`` is a CSV with the columns image, mask, subject, and patient where patients have several scans; the
root is the CSV, or a folder that holds ``pairs.csv``, and relative paths start at the CSV's folder. Reads
file names, no voxels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.files.names import composed, has_drive, is_file, named_file
from dwp_sweep.data.files.table import read_table
from dwp_sweep.errors import InputError, Problem

COLUMNS = ("image", "mask", "subject")
"""Of the table of ``pairs``."""


@dataclass(frozen=True)
class Subject:
    """One labelled scan.

    Attributes:
        id: Unique within the data set.
        image: File of the image; of the first modality where there are several.
        mask: File of the mask.
        further: Files of the other modalities, in the order that the user gave.
        patient: Whose scan it is; empty until `scan_layout` names it, unless the layout does.
    """

    id: str
    image: Path
    mask: Path
    further: tuple[Path, ...] = ()
    patient: str = ""

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
        label_names: What the layout calls them, where it has names.
    """

    subjects: tuple[Subject, ...]
    problems: tuple[Problem, ...] = ()
    broken: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)
    label_set: frozenset[int] | None = None
    label_names: Mapping[int, str] = field(default_factory=dict)

    @property
    def ids(self) -> tuple[str, ...]:
        """All ids, complete or broken, sorted: what a range of subjects counts over."""
        return tuple(sorted({*(subject.id for subject in self.subjects), *self.broken}))

    @property
    def patients(self) -> Mapping[str, str]:
        """The patient of each of `ids`; of a broken subject its own id."""
        known = {subject.id: subject.patient for subject in self.subjects}
        return {name: known.get(name) or name for name in self.ids}


Lister = Callable[[DatasetConfig, Path], Listing]
"""Finds the subjects of one layout under an existing root."""


def make_listing(
    subjects: Iterable[Subject],
    problems: Iterable[Problem] = (),
    broken: Mapping[str, tuple[Problem, ...]] | None = None,
    label_set: frozenset[int] | None = None,
) -> Listing:
    """Keep the subjects whose files exist and whose id is unique; sort the others to the broken ones.

    Ids get every accent in its letter: in another Unicode form they look the same.
    """
    kept, bad = dict[str, Subject](), {composed(name): faults for name, faults in (broken or {}).items()}
    same_form = [replace(subject, id=composed(subject.id)) for subject in subjects]
    for subject in sorted(same_form, key=lambda item: item.id):
        faults = _twice(subject, kept) + _one_file_twice(subject) + _missing_files(subject)
        if faults:
            bad[subject.id] = (*bad.get(subject.id, ()), *faults)
        else:
            kept[subject.id] = subject
    return Listing(tuple(kept.values()), tuple(problems), bad, label_set)


def list_pairs(config: DatasetConfig, root: Path) -> Listing:
    """Every row of the CSV."""
    path = root / "pairs.csv" if root.is_dir() else root
    try:
        rows = read_table(path, COLUMNS)
    except InputError as error:
        return Listing((), error.problems)
    subjects, problems, broken = [], [], {}
    names_patients = config.patients == "auto" and "patient" in rows[0]
    needed = (*COLUMNS, "patient") if names_patients else COLUMNS
    for row in rows:
        empty = [column for column in needed if not row[column]]
        if not empty:
            image, mask = (named_file(path.parent, row[name]) for name in ("image", "mask"))
            subjects.append(Subject(row["subject"], image, mask, patient=row.get("patient", "")))
            continue
        what = "image without mask" if empty == ["mask"] else f"nothing in column {', '.join(empty)}"
        problem = Problem(f"{path}, line {row['line']}", what, "fill it in or remove the line")
        if row["subject"]:
            broken[row["subject"]] = (problem,)
        else:
            problems.append(problem)
    return make_listing(subjects, problems, broken)


def _twice(subject: Subject, kept: Mapping[str, Subject]) -> tuple[Problem, ...]:
    if subject.id not in kept:
        return ()
    first = kept[subject.id].image
    what = f"subject id {subject.id!r} is there twice, first with {first}"
    if first != subject.image and composed(str(first)) == composed(str(subject.image)):
        what += ", whose name is another Unicode form of the same letters"
    return (Problem(str(subject.image), what, "give every subject its own id"),)


def _one_file_twice(subject: Subject) -> tuple[Problem, ...]:
    return tuple(
        Problem(str(image), f"serves as two modalities of subject {subject.id}", "name different ones")
        for image in dict.fromkeys(subject.images)
        if subject.images.count(image) > 1
    )


def _missing_files(subject: Subject) -> tuple[Problem, ...]:
    drive = "give its path relative to the table, without a drive of Windows"
    problems = [
        Problem(
            str(image),
            f"image of subject {subject.id} is missing{_why(image)}",
            drive if has_drive(image) else "add the file",
        )
        for image in subject.images
        if not is_file(image)
    ]
    if not is_file(subject.mask):
        fix = f"add the mask, or leave {subject.id} out by a list of subjects"
        what = f"image without mask: there is no {subject.mask}{_why(subject.mask)}"
        problems.append(Problem(str(subject.image), what, fix))
    return tuple(problems)


def _why(path: Path) -> str:
    """What keeps a file from being there, where it is more than that nobody has put it there."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, ValueError) as error:
        return f": {error.strerror}" if isinstance(error, OSError) else f": {error}"
    return ""
