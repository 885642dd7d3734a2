"""Files and folders that are seen whole or not at all: written beside their place, then renamed.

The one place of the package that does so. What a writer that was killed leaves beside a place has a name
that `is_left_over` knows, so that `gc` can take it away.
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
"""What lies beside a place for longer was left by a writer that was killed."""
_LEFT_OVER = re.compile(r"^\.([0-9a-f]{32}|[0-9a-f]{8})\..+|^\..+\.([0-9a-f]{32}|[0-9a-f]{8})$")
"""Older versions put the random part last, or made it shorter."""


def write_whole(path: Path, content: str | bytes, durable: bool = True) -> None:
    """Write a file over what was there: a reader sees the old content or the new one.

    Args:
        path: The file; its folder is there.
        content: Of the file; text is written as UTF-8.
        durable: Wait for the disk; False for what is synced later or written again after a crash.
    """
    with replacing(path, durable) as beside:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """Context for a file that somebody else writes: it takes its place when the context ends without error.

    Args:
        path: The file's place.
        durable: As in `write_whole`.

    Yields:
        Where to write it; it ends like the name of the place, since some writers choose a format by that.
    """
    with place_beside(path) as written:
        yield written
        if durable:
            sync_file(written)
        written.replace(path)


@contextlib.contextmanager
def place_beside(path: Path) -> Iterator[Path]:
    """Context with a free place on the same disk; whatever lies there at its end is removed.

    A full disk must not be filled further with what is left of failed attempts.

    Args:
        path: File or folder that is about to be made; its folder is there.
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
