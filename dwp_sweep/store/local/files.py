"""Small files that all machines of a sweep see, as files in a folder that all of them mount."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

from typing_extensions import override

from dwp_sweep.atomic_write import place_beside, write_whole
from dwp_sweep.store.protocol import Mark, SharedFiles

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""Errors of file systems without hard links: some Windows shares, some mounted buckets."""


class FolderFiles(SharedFiles):
    """Files in a folder that all machines mount.

    Args:
        root: The storage folder.
    """

    fresh_every_s = 2.0
    look_every_s = 0.0

    def __init__(self, root: Path) -> None:
        self._root = root

    @override
    def read(self, name: str) -> str | None:
        try:
            return (self._root / name).read_text(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return None

    @override
    def write(self, name: str, text: str) -> None:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)

    @override
    def create(self, name: str, text: str) -> bool:
        path = self._root / name
        while True:
            with contextlib.suppress(FileNotFoundError):  # its folder has just been removed
                path.parent.mkdir(parents=True, exist_ok=True)
                with place_beside(path) as beside:
                    beside.write_text(text)
                    try:
                        os.link(beside, path)
                        return True
                    except FileExistsError:
                        return False
                    except OSError as error:
                        if error.errno not in _NO_LINKS:
                            raise
                        return _made(path, text)

    @override
    def refresh(self, name: str) -> None:
        os.utime(self._root / name)

    @override
    def remove(self, *names: str) -> None:
        for name in names:
            (self._root / name).unlink(missing_ok=True)

    @override
    def age_s(self, name: str) -> float | None:
        try:
            return time.time() - (self._root / name).stat().st_mtime
        except OSError:
            return None

    @override
    def names(self, folder: str) -> list[str]:
        try:
            with os.scandir(self._root / folder) as entries:
                return sorted(f"{folder}/{entry.name}" for entry in entries if entry.is_file())
        except (FileNotFoundError, NotADirectoryError):
            return []

    @override
    def folders(self, folder: str) -> list[str]:
        try:
            with os.scandir(self._root / folder) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    @override
    def has_log(self, name: str) -> bool:
        return (self._root / name).is_file()

    @override
    def read_log(self, name: str) -> str | None:
        return self.read(name)

    @override
    def append_log(self, name: str, text: str) -> None:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(text)

    @override
    def rewrite_log(self, name: str, change: Callable[[str], str]) -> None:
        self.write(name, change(self.read(name) or ""))

    @override
    def mark(self, name: str) -> Mark:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _made(path: Path, text: str) -> bool:
    """Make a file on a file system without links: readers may see it empty for a moment."""
    try:
        with path.open("x") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True
