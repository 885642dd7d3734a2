"""Small files that all machines of a sweep see, as objects of a bucket.

Reads that a worker repeats after every epoch are answered from memory for a moment, since each is a
request.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable

from dwp_sweep.errors import StorageError
from dwp_sweep.store.retries import brief
from dwp_sweep.store.s3.bucket import Bucket, side_by_side

_WHOLE, _ADDED = "0", "1"


class BucketFiles:
    """Small objects of a bucket.

    Args:
        bucket: Where they lie.
    """

    fresh_every_s = 10.0
    look_every_s = 2.0

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def read(self, name: str) -> str | None:
        """See `SharedFiles`."""
        content = self._bucket.read(name)
        return None if content is None else content.decode(errors="replace")

    def write(self, name: str, text: str) -> None:
        """See `SharedFiles`."""
        self._bucket.write(name, text.encode())

    def create(self, name: str, text: str) -> bool:
        """See `SharedFiles`."""
        return self._bucket.create(name, text.encode())

    def refresh(self, name: str) -> None:
        """See `SharedFiles`."""
        content = self._bucket.read(name)
        if content is not None:
            self._bucket.write(name, content)

    def remove(self, *names: str) -> None:
        """See `SharedFiles`."""
        self._bucket.remove(names)

    def age_s(self, name: str) -> float | None:
        """See `SharedFiles`; by the clock of the server, so that the clocks of machines may differ."""
        entry = self._bucket.stat(name)
        return None if entry is None else entry.age_s

    def names(self, folder: str) -> list[str]:
        """See `SharedFiles`."""
        start = len(folder) + 1
        found = (entry.name for entry in self._bucket.entries(f"{folder}/"))
        return [name for name in found if "/" not in name[start:]]

    def folders(self, folder: str) -> list[str]:
        """See `SharedFiles`."""
        start = len(folder) + 1
        # Some servers go on listing a folder whose last object is gone: only objects count.
        rest = (entry.name[start:] for entry in self._bucket.entries(f"{folder}/"))
        found = {name.partition("/")[0] for name in rest if "/" in name}
        return sorted(found - {"", ".", ".."})  # they become names of folders here

    def has_log(self, name: str) -> bool:
        """See `SharedFiles`."""
        return bool(self._parts(name))

    def read_log(self, name: str) -> str | None:
        """See `SharedFiles`."""
        parts = self._parts(name)
        return self._text(parts) if parts else None

    def append_log(self, name: str, text: str) -> None:
        """See `SharedFiles`. No object can be added to, so that each addition is one of its own."""
        self._add(name, _ADDED, text)

    def rewrite_log(self, name: str, change: Callable[[str], str]) -> None:
        """See `SharedFiles`. What others add meanwhile stays: only the parts that were read are removed."""
        parts = self._parts(name)
        self._add(name, _WHOLE, change(self._text(parts)))
        self._bucket.remove(parts)

    def mark(self, name: str) -> BucketMark:
        """See `SharedFiles`."""
        return BucketMark(self._bucket, name)

    def _parts(self, name: str) -> list[str]:
        return [entry.name for entry in self._bucket.entries(f"{name}/")]

    def _text(self, parts: list[str]) -> str:
        contents = side_by_side(self._bucket.read, parts)
        return "".join(content.decode(errors="replace") for content in contents if content is not None)

    def _add(self, name: str, kind: str, text: str) -> None:
        self._bucket.write(f"{name}/{kind}-{time.time_ns():020d}-{uuid.uuid4().hex[:8]}", text.encode())


class BucketMark:
    """An object that says something by being there.

    Args:
        bucket: Where it lies.
        name: Its name.
    """

    def __init__(self, bucket: Bucket, name: str) -> None:
        self._bucket, self.name = bucket, name
        self._looked_s = float("-inf")
        self._is_set = False
        self._writer: threading.Thread | None = None

    def touch(self) -> None:
        """Set it. Does not wait for the network: a handler of signals may call it at any moment."""
        self._is_set, self._looked_s = True, time.monotonic()
        self._writer = threading.Thread(target=self._write, name="mark")
        self._writer.start()

    def _write(self) -> None:
        with contextlib.suppress(StorageError):
            self._bucket.write(self.name, b"")

    def exists(self) -> bool:
        """Whether it is set; an answer is up to two seconds old, and older while the network fails."""
        if not self._is_set and time.monotonic() - self._looked_s >= BucketFiles.look_every_s:
            with brief(), contextlib.suppress(StorageError):
                self._is_set = self._bucket.stat(self.name) is not None
            self._looked_s = time.monotonic()
        return self._is_set

    def unlink(self, missing_ok: bool = False) -> None:
        """Take it away."""
        if self._writer is not None:
            self._writer.join()
        self._is_set = False
        with contextlib.suppress(StorageError):  # `gc` takes what is left of a run that has ended
            self._bucket.remove([self.name])
