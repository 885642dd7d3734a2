"""One builder for each entry of the cache, among all threads and processes that share the folder.

A lock on a small file, which the system drops with its process: one that was killed leaves no lock behind.
Over NFS the lock is the server's; where a file system has none, everybody may build, which costs time and
never an entry, since entries are renamed into place.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HELD = (errno.EAGAIN, errno.EACCES)


@contextmanager
def entry_lock(path: Path) -> Iterator[bool]:
    """Take a lock if it is free; says whether the caller may build.

    Args:
        path: File of the lock; made, with machine and process of its holder inside, and removed afterwards.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _taken(path)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            path.unlink(missing_ok=True)  # while it is held: whoever opened it before looks again
            os.close(lock)


def _taken(path: Path) -> int | None:
    """The open file, locked where the file system can; None where somebody else holds it."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _HELD:
                return file  # no locks here
            os.close(file)
            return None
        if _is_still(path, file):
            os.ftruncate(file, 0)
            os.write(file, f"{socket.gethostname()} {os.getpid()}\n".encode())
            return file
        os.close(file)


def _is_still(path: Path, file: int) -> bool:
    """Whether the name still means the file: its last holder has removed it if not."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False
