"""Files that are seen whole or not at all: written beside their place, then renamed.

Below everything else of the store. Knows nothing of what is in them.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def write_whole(path: Path, text: str, durable: bool = True) -> None:
    """Write a file over what was there: a reader sees the old text or the new one.

    Args:
        path: The file; its folder is there.
        text: Its content.
        durable: Wait for the disk; False for what is synced later or written again after a crash.
    """
    beside = written_beside(path, text, durable)
    try:
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def written_beside(path: Path, text: str, durable: bool = True) -> Path:
    """A new file beside a place, with its text; see `write_whole`."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with beside.open("w") as file:
            file.write(text)
            file.flush()
            if durable:
                os.fsync(file.fileno())
    except OSError:  # a full disk must not be filled with what is left of such attempts
        beside.unlink(missing_ok=True)
        raise
    return beside
