"""Atomic writing of files and folders: they are written beside their place, then renamed.

A writer that was killed leaves a file or folder beside the place; `is_left_over` recognises its name, so that
`gc` can remove it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

ABANDONED_S = 3600.0
"""Age from which a temporary file counts as left by a killed writer."""
_LEFT_OVER = re.compile(r"^\.([0-9a-f]{32}|[0-9a-f]{8})\..+|^\..+\.([0-9a-f]{32}|[0-9a-f]{8})$")
"""Older versions put the random part last, or made it shorter."""


def write_whole(path: Path, content: str | bytes, durable: bool = True) -> None:
    """Write a file over what was there: a reader sees the old content or the new one.

    Args:
        path: The file; its folder exists.
        content: Its content; text is written as UTF-8.
        durable: Wait for the disk; False for files that are synced later or rewritten after a crash.
    """
    with replacing(path, durable) as beside:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """Context for a file that another function writes; moved to its place if the context ends without error.

    Args:
        path: The file's place.
        durable: As in `write_whole`.

    Yields:
        Where to write it; the name has the same ending, since some writers choose the format by it.
    """
    with place_beside(path) as written:
        yield written
        if durable:
            sync_file(written)
        written.replace(path)


@contextlib.contextmanager
def place_beside(path: Path) -> Iterator[Path]:
    """Context with a free path on the same disk; what lies there at its end is removed.

    The remains of failed attempts must not fill a full disk.

    Args:
        path: File or folder that is about to be made; its folder exists.
    """
    written = path.with_name(f".{uuid.uuid4().hex}.{path.name}")
    try:
        yield written
    finally:
        remove(written)


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it, as far as that is possible."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def can_be_made(path: Path) -> bool:
    """Whether a file or folder can be made at a path, as far as permissions tell."""
    above = next((place for place in (path, *path.parents) if os.access(place, os.F_OK)), path)
    return above.is_dir() and os.access(above, os.W_OK | os.X_OK)


def is_left_over(name: str, age_s: float) -> bool:
    """Whether a file or folder was left beside a place by a writer that was killed.

    Args:
        name: Last part of its path.
        age_s: Seconds since it was written.
    """
    return age_s > ABANDONED_S and _LEFT_OVER.match(name) is not None


def sync_file(path: Path) -> None:
    """Wait until the disk holds a file, or the names of a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
