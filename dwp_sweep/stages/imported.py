"""Outputs that a user brings instead of a stage's own work: a source network, a kernel bank, priors.

The case of hospitals that share trained networks but not scans. An imported folder is copied into the
store like the output of the stage that would have made it, and keyed by its content.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.strict import StrictModel, unkeyed


class Imported(StrictModel):
    """A folder with finished outputs.

    Attributes:
        path: Where it lies now.
        sha256: Of its content; part of the key.
    """

    path: str = unkeyed()
    sha256: str


def describe_imported(path: Path, files: tuple[str, ...], key: str) -> Imported:
    """Check that the files are there and hash them.

    Args:
        path: The user's folder.
        files: Names that must be in it.
        key: Dotted config key named in the problem.

    Raises:
        InputError: The folder or one of the files is missing.
    """
    missing = [name for name in files if not (path / name).is_file()]
    if missing:
        raise InputError(
            Problem(key, f"{path} holds no {' and no '.join(missing)}", "give a folder that a stage wrote")
        )
    digest = hashlib.sha256()
    for name in files:
        with (path / name).open("rb") as file:
            digest.update(name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return Imported(path=str(path.resolve()), sha256=digest.hexdigest())


def copy_imported(imported: Imported, files: tuple[str, ...], out_dir: Path) -> None:
    """Copy the imported files; they must still be what was hashed.

    Raises:
        InputError: The folder changed since the sweep was planned.
    """
    if describe_imported(Path(imported.path), files, imported.path) != imported:
        raise InputError(Problem(imported.path, "changed since the sweep was planned", "plan and run again"))
    out_dir.mkdir(parents=True, exist_ok=True)
    for name in files:
        shutil.copyfile(Path(imported.path) / name, out_dir / name)
