"""Names of files and folders: endings, what systems leave behind, paths of Windows, names that look equal.

Two Unicode forms of one name look equal and are different bytes: macOS writes an accent as a character of its
own (NFD), others write it with its letter (NFC). Names are compared in the second form everywhere.
"""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path, PureWindowsPath

NIFTI_ENDINGS = (".nii.gz", ".nii")

_OTHER_FORMATS = {
    ".nrrd": "NRRD",
    ".nhdr": "NRRD",
    ".mha": "MetaImage",
    ".mhd": "MetaImage",
    ".dcm": "DICOM",
    ".mnc": "MINC",
}
_LEFT_BEHIND = frozenset(
    ("__macosx", "@eadir", "thumbs.db", "desktop.ini", "lost+found", "#recycle", "$recycle.bin")
)
"""Of macOS archives, Synology, Windows and Linux; what begins with a dot counts too."""
_DRIVE = re.compile(r"(^|/)[A-Za-z]:(/|$)")


def home_path(text: str | Path) -> Path:
    """A path with ``~`` and ``~name`` written out; a name that nobody has here stays as it is."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - `Path.expanduser` fails for such a name


def is_file(path: Path) -> bool:
    """Whether there is such a file; `Path.is_file` fails for a name that is too long or a closed folder."""
    return os.path.isfile(path)  # noqa: PTH113


def stem(path: Path) -> str:
    """File name without ``.nii`` or ``.nii.gz``."""
    for ending in NIFTI_ENDINGS:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return path.name


def is_nifti(path: Path) -> bool:
    """Whether a file's name says NIfTI; what systems leave behind does not count."""
    return path.name.lower().endswith(NIFTI_ENDINGS) and not is_left_behind(path.name)


def other_format(path: Path) -> str | None:
    """The format of images that a name says, where it is one that is not read."""
    return _OTHER_FORMATS.get(path.suffix.lower())


def is_left_behind(name: str) -> bool:
    """Whether a system or a program left a file or folder of this name: ``._a.nii``, ``__MACOSX``."""
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


def folders(root: Path) -> list[Path]:
    """Folders directly under a root, sorted, without what systems leave behind."""
    return sorted(path for path in root.iterdir() if path.is_dir() and not is_left_behind(path.name))


def files_below(folder: Path) -> list[Path]:
    """Files in a folder and its folders, sorted, without what systems leave behind."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(is_left_behind(part) for part in path.relative_to(folder).parts)
    )


def composed(name: str) -> str:
    """A name with every accent in its letter."""
    return unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """A name as it is compared where case does not count."""
    return composed(name).lower()


def named_file(folder: Path, text: str) -> Path:
    """The file that a table or description names, by a path relative to a folder.

    Backslashes of Windows separate folders, unless there is a file with them in its name. A name in the other
    Unicode form than the file's is the file's.
    """
    path = folder / home_path(text)
    if "\\" in text and not _exists(path):
        path = folder / PureWindowsPath(text).as_posix()
    return _existing(path)


def has_drive(path: Path) -> bool:
    """Whether a path holds a drive of Windows, which no other system has."""
    return _DRIVE.search(path.as_posix()) is not None


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - `Path.exists` fails where `Path.is_file` does


def _existing(path: Path) -> Path:
    if str(path).isascii() or _exists(path) or path.parent == path:
        return path
    folder = _existing(path.parent)
    alike = (other for other in folder.iterdir() if composed(other.name) == composed(path.name))
    return next(alike, folder / path.name) if folder.is_dir() else folder / path.name
