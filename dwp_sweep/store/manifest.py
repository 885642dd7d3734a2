"""Sizes and checksums of the files of a published node: written with it, compared when it is read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from dwp_sweep.atomic_write import sync_file
from dwp_sweep.errors import CorruptArtifactError
from dwp_sweep.store.protocol import MANIFEST
from dwp_sweep.store.record import UNREADABLE


def entries_of(folder: Path) -> dict[str, dict[str, int | str]]:
    """Size and checksum of every file but the manifest, by name; waits until the disk holds the files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    for path in files:
        sync_file(path)
    return {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": file_sha256(path)}
        for path in files
    }


def compare(folder: Path) -> None:
    """Compare the files of a folder with the manifest in it.

    Raises:
        CorruptArtifactError: Names the first file that is missing or differs.
    """
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
        expected = {str(name): (int(entry["size"]), str(entry["sha256"])) for name, entry in files.items()}
    except (OSError, *UNREADABLE) as error:
        raise CorruptArtifactError(f"{folder / MANIFEST} is no manifest: {error}") from error
    for name, (size, digest) in expected.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise CorruptArtifactError(f"{folder / MANIFEST} names a file outside its folder: {name}")
        if not path.is_file():
            raise CorruptArtifactError(f"{path} is missing")
        if path.stat().st_size != size or file_sha256(path) != digest:
            raise CorruptArtifactError(f"{path} differs from its checksum in {MANIFEST}")


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
