"""What to predict and where to write it: one job a scan, checked before anything is computed.

Reads file names alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dwp_sweep.data.files.names import NIFTI_ENDINGS, files_below, home_path, is_nifti, other_format, stem
from dwp_sweep.errors import Problem

_PICTURE_ENDING = ".png"
_MASK_NAME = re.compile(r"(^|[_-])(seg|mask|labels?)$|^label", re.IGNORECASE)
"""What people call masks that lie beside their scans, without the ending."""
_MASK_FOLDER = re.compile(r"(labels?|masks?|segs?|segmentations?)(tr|ts|val)?|derivatives", re.IGNORECASE)
"""What people call folders of masks, whose files have the names of their scans."""


@dataclass(frozen=True)
class Outputs:
    """Where results go: files for one scan, folders for a folder of scans.

    Attributes:
        mask: 1 is foreground; with classes their labels.
        probability: Of the foreground, 0 to 1; with classes of each, along the file's fourth axis.
        uncertainty: Predictive entropy, nats.
        picture: PNG.
    """

    mask: Path | None = None
    probability: Path | None = None
    uncertainty: Path | None = None
    picture: Path | None = None

    @property
    def given(self) -> dict[str, Path]:
        """Those that are asked for, by name."""
        pairs = {name: getattr(self, name) for name in ("mask", "probability", "uncertainty", "picture")}
        return {name: path for name, path in pairs.items() if path is not None}


@dataclass(frozen=True)
class PredictionJob:
    """One scan.

    Attributes:
        images: Its files; several are channels.
        outputs: Files to write.
    """

    images: tuple[Path, ...]
    outputs: Outputs = Outputs()

    @property
    def name(self) -> str:
        """For people."""
        return self.images[0].name


@dataclass(frozen=True)
class PredictionPlan:
    """All scans of a request, and all that is wrong with its names.

    Attributes:
        jobs: One a scan; none where the names do not even say which scans.
        skipped: Files of a folder that are named as masks.
        problems: Nothing is to be computed while there is one.
    """

    jobs: tuple[PredictionJob, ...] = ()
    skipped: tuple[Path, ...] = ()
    problems: tuple[Problem, ...] = ()


def split_images(text: str | Path) -> tuple[Path, ...]:
    """The images (or folders) that a text with commas names; a path with a comma in it stays one."""
    whole = home_path(text)
    if isinstance(text, Path) or whole.exists():
        return (whole,)
    return tuple(home_path(part.strip()) for part in text.split(",") if part.strip()) or (whole,)


def plan_jobs(images: Sequence[Path], outputs: Outputs, force: bool = False) -> PredictionPlan:
    """One job for an image, or one for each NIfTI file below a folder that is not named as a mask.

    Wrong are: nothing to predict, outputs that exist, folders that are missing, files with endings that
    nothing can be written to.

    Args:
        images: Of one scan, a channel each; or folders, a channel each, with files of the same names.
        outputs: Files; folders where the images are folders, made if missing, with the same folders inside.
        force: Write over files that exist.
    """
    plan = (
        _of_folders(images, outputs) if any(path.is_dir() for path in images) else _of_scan(images, outputs)
    )
    problems = [
        *plan.problems,
        *(problem for job in plan.jobs for problem in _output_problems(job, force)),
        *_one_place_twice(plan.jobs),
    ]
    return replace(plan, problems=tuple(dict.fromkeys(problems)))


def _of_scan(images: Sequence[Path], outputs: Outputs) -> PredictionPlan:
    job = PredictionJob(tuple(images), _into_folders(outputs, images[0]))
    return PredictionPlan((job,), problems=tuple(_without_parent(job.outputs)))


def _of_folders(folders: Sequence[Path], outputs: Outputs) -> PredictionPlan:
    files = [path for path in folders if not path.is_dir()]
    if files:
        fix = "give images alone, or folders alone"
        return PredictionPlan(
            problems=tuple(Problem(str(path), "is no folder, and others are", fix) for path in files)
        )
    results = {path.resolve() for path in outputs.given.values()} - {folders[0].resolve()}
    there = [
        path.relative_to(folders[0])
        for path in files_below(folders[0])
        if is_nifti(path) and results.isdisjoint(path.resolve().parents)  # of an earlier prediction
    ]
    names = [str(path) for path in there if not _is_mask(path)]
    if not names:
        return PredictionPlan(problems=(_nothing_in(folders[0], len(there)),))
    jobs = tuple(
        PredictionJob(tuple(folder / name for folder in folders), _named(outputs, name)) for name in names
    )
    skipped = tuple(folders[0] / path for path in there if str(path) not in names)
    return PredictionPlan(jobs, skipped, (*_missing_channels(folders, names), *_folder_problems(outputs)))


def _is_mask(path: Path) -> bool:
    """Whether a file is named as a mask, or lies in a folder of masks below the folder of scans."""
    in_masks = any(_MASK_FOLDER.fullmatch(part) for part in path.parts[:-1])
    return in_masks or _MASK_NAME.search(stem(path)) is not None


def _nothing_in(folder: Path, n_masks: int) -> Problem:
    if n_masks:
        what = f"holds {n_masks} NIfTI file(s), all named as masks (..._seg, ..._mask, label...)"
        return Problem(str(folder), what, "rename the scans, or give them one by one")
    formats = sorted({format for format in map(other_format, files_below(folder)) if format is not None})
    unread = f", but {' and '.join(formats)}, which is not read" if formats else ""
    return Problem(str(folder), f"holds no NIfTI file{unread}", "it needs .nii.gz or .nii files")


def _missing_channels(folders: Sequence[Path], names: Sequence[str]) -> Iterator[Problem]:
    return (
        Problem(str(folder / name), f"is missing, and {folders[0] / name} is there", "add the channel")
        for name in names
        for folder in folders[1:]
        if not (folder / name).is_file()
    )


def _folder_problems(outputs: Outputs) -> Iterator[Problem]:
    for folder in outputs.given.values():
        if folder.exists() and not folder.is_dir():
            yield Problem(str(folder), "is a file", "give a folder: the images come from one")
        elif folder.name.lower().endswith((*NIFTI_ENDINGS, _PICTURE_ENDING)) and not folder.exists():
            fix = "give a folder, such as masks: the images come from one"
            yield Problem(str(folder), "is the name of a file, and there is one result for each scan", fix)
    yield from _without_parent(outputs)


def _without_parent(outputs: Outputs) -> Iterator[Problem]:
    for path in outputs.given.values():
        if not path.absolute().parent.is_dir():
            yield Problem(str(path), f"there is no folder {path.absolute().parent}", "make it first")


def _named(outputs: Outputs, name: str) -> Outputs:
    """The files of one scan in folders of results."""
    picture = Path(name).with_name(stem(Path(name)) + _PICTURE_ENDING)
    places = {
        kind: folder / (picture if kind == "picture" else name) for kind, folder in outputs.given.items()
    }
    return replace(outputs, **places)


def _into_folders(outputs: Outputs, image: Path) -> Outputs:
    """An output that is an existing folder gets the image's own name in it."""
    inside = {
        kind: getattr(_named(outputs, image.name), kind)
        for kind, path in outputs.given.items()
        if path.is_dir()
    }
    return replace(outputs, **inside)


def _output_problems(job: PredictionJob, force: bool) -> Iterator[Problem]:
    own = {path.resolve() for path in job.images}
    for kind, path in job.outputs.given.items():
        endings = (_PICTURE_ENDING,) if kind == "picture" else NIFTI_ENDINGS
        if not path.name.lower().endswith(endings):
            yield Problem(str(path), f"is no name for the {kind}", f"end it in {' or '.join(endings)}")
        elif path.resolve() in own:
            yield Problem(str(path), f"is the image itself: its {kind} would replace it", "name another file")
        elif path.exists() and not force:
            yield Problem(str(path), "exists already", "name another file, or say --force (force=True)")


def _one_place_twice(jobs: Sequence[PredictionJob]) -> list[Problem]:
    places = [path.resolve() for job in jobs for path in job.outputs.given.values()]
    return [
        Problem(str(path), "is named for two results", "give each its own")
        for path in dict.fromkeys(places)
        if places.count(path) > 1
    ]
