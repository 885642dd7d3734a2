"""Small files that all machines of a sweep see, as files in a folder that all of them mount."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

from dwp_sweep.atomic_write import place_beside, write_whole
from dwp_sweep.store.protocol import Mark

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""What file systems without hard links answer: some shares of Windows, some mounts of buckets."""


class FolderFiles:
    """Files in a folder that all machines mount.

    Args:
        root: The storage folder.
    """

    fresh_every_s = 2.0
    look_every_s = 0.0

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, name: str) -> str | None:
        """See `SharedFiles`."""
        try:
            return (self._root / name).read_text(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name: str, text: str) -> None:
        """See `SharedFiles`."""
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)

    def create(self, name: str, text: str) -> bool:
        """See `SharedFiles`."""
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

    def refresh(self, name: str) -> None:
        """See `SharedFiles`."""
        os.utime(self._root / name)

    def remove(self, *names: str) -> None:
        """See `SharedFiles`."""
        for name in names:
            (self._root / name).unlink(missing_ok=True)

    def age_s(self, name: str) -> float | None:
        """See `SharedFiles`."""
        try:
            return time.time() - (self._root / name).stat().st_mtime
        except OSError:
            return None

    def names(self, folder: str) -> list[str]:
        """See `SharedFiles`."""
        try:
            with os.scandir(self._root / folder) as entries:
                return sorted(f"{folder}/{one.name}" for one in entries if one.is_file())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def folders(self, folder: str) -> list[str]:
        """See `SharedFiles`."""
        path = self._root / folder
        return sorted(one.name for one in path.iterdir() if one.is_dir()) if path.is_dir() else []

    def has_log(self, name: str) -> bool:
        """See `SharedFiles`."""
        return (self._root / name).is_file()

    def read_log(self, name: str) -> str | None:
        """See `SharedFiles`."""
        return self.read(name)

    def append_log(self, name: str, text: str) -> None:
        """See `SharedFiles`."""
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(text)

    def rewrite_log(self, name: str, change: Callable[[str], str]) -> None:
        """See `SharedFiles`."""
        self.write(name, change(self.read(name) or ""))

    def mark(self, name: str) -> Mark:
        """See `SharedFiles`."""
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _made(path: Path, text: str) -> bool:
    """Make a file where no links can be had: for a moment it may be seen without its text."""
    try:
        with path.open("x") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True
