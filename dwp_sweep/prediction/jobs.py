"""What to predict and where to write it: one job a scan, checked before anything is computed.

Reads file names alone. Knows nothing of networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dwp_sweep.data.layouts.listing import NIFTI_ENDINGS, is_nifti, stem
from dwp_sweep.errors import InputError, Problem

_PICTURE_ENDING = ".png"


@dataclass(frozen=True)
class Outputs:
    """Where results go: files for one scan, folders for a folder of scans.

    Attributes:
        mask: 1 is foreground.
        probability: Of the foreground, 0 to 1.
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
class Job:
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


def split_images(text: str | Path) -> tuple[Path, ...]:
    """The images (or folders) that a text with commas names; a path with a comma in it stays one."""
    whole = Path(text).expanduser()
    if isinstance(text, Path) or whole.exists():
        return (whole,)
    return tuple(Path(part.strip()).expanduser() for part in text.split(",") if part.strip()) or (whole,)


def make_jobs(images: Sequence[Path], outputs: Outputs, force: bool = False) -> tuple[Job, ...]:
    """One job for an image, or one for each NIfTI file of a folder.

    Args:
        images: Of one scan, a channel each; or folders, a channel each, with files of the same names.
        outputs: Files; folders (made if missing) where the images are folders.
        force: Write over files that exist.

    Raises:
        InputError: All that is wrong with these names: nothing to predict, outputs that exist, folders
            that are missing, files with endings that nothing can be written to.
    """
    if any(path.is_dir() for path in images):
        jobs, problems = _folder_jobs(images, outputs), list[Problem]()
    else:
        jobs = (Job(tuple(images), _into_folders(outputs, images[0])),)
        problems = [
            Problem(str(path), f"there is no folder {path.absolute().parent}", "make it first")
            for path in jobs[0].outputs.given.values()
            if not path.absolute().parent.is_dir()
        ]
    problems += [problem for job in jobs for problem in _output_problems(job, force)]
    problems += _one_place_twice(jobs)
    if problems:
        raise InputError(dict.fromkeys(problems))
    return jobs


def _folder_jobs(folders: Sequence[Path], outputs: Outputs) -> tuple[Job, ...]:
    files = [path for path in folders if not path.is_dir()]
    if files:
        fix = "give images alone, or folders alone"
        raise InputError(Problem(str(path), "is no folder, and others are", fix) for path in files)
    names = sorted(path.name for path in folders[0].iterdir() if is_nifti(path))
    if not names:
        raise InputError(Problem(str(folders[0]), "holds no NIfTI file", "it needs .nii.gz or .nii files"))
    problems = [
        Problem(str(folder / name), f"is missing, and {folders[0] / name} is there", "add the channel")
        for name in names
        for folder in folders[1:]
        if not (folder / name).is_file()
    ]
    problems += _folder_problems(outputs)
    if problems:
        raise InputError(problems)
    return tuple(Job(tuple(folder / name for folder in folders), _named(outputs, name)) for name in names)


def _folder_problems(outputs: Outputs) -> Iterator[Problem]:
    for folder in outputs.given.values():
        if folder.exists() and not folder.is_dir():
            yield Problem(str(folder), "is a file", "give a folder: the images come from one")
        elif not folder.absolute().parent.is_dir():
            yield Problem(str(folder), f"there is no folder {folder.absolute().parent}", "make it first")


def _named(outputs: Outputs, name: str) -> Outputs:
    """The files of one scan in folders of results."""
    picture = stem(Path(name)) + _PICTURE_ENDING
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


def _output_problems(job: Job, force: bool) -> Iterator[Problem]:
    own = {path.resolve() for path in job.images}
    for kind, path in job.outputs.given.items():
        endings = (_PICTURE_ENDING,) if kind == "picture" else NIFTI_ENDINGS
        if not path.name.lower().endswith(endings):
            yield Problem(str(path), f"is no name for the {kind}", f"end it in {' or '.join(endings)}")
        elif path.resolve() in own:
            yield Problem(str(path), f"is the image itself: its {kind} would replace it", "name another file")
        elif path.exists() and not force:
            yield Problem(str(path), "exists already", "name another file, or say --force (force=True)")


def _one_place_twice(jobs: Sequence[Job]) -> list[Problem]:
    places = [path.resolve() for job in jobs for path in job.outputs.given.values()]
    return [
        Problem(str(path), "is named for two results", "give each its own")
        for path in dict.fromkeys(places)
        if places.count(path) > 1
    ]
