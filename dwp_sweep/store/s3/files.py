"""Small files that all machines of a sweep see, as objects of a bucket, and the paths in their values.

Each look at an object is a request, so that `BucketMark` reuses an answer for two seconds. A path in a
value that machines exchange is below the mirror on a machine and below the URL in the bucket.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from typing_extensions import override

from dwp_sweep.errors import StorageError
from dwp_sweep.store.protocol import SharedFiles
from dwp_sweep.store.s3.bucket import Bucket, side_by_side
from dwp_sweep.store.s3.retries import brief

_WHOLE, _ADDED = "0", "1"
_WRITE_EVERY_S = 2.0


class BucketFiles(SharedFiles):
    """Small objects of a bucket.

    Args:
        bucket: Where they lie.
    """

    fresh_every_s = 10.0
    look_every_s = 2.0

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    @override
    def read(self, name: str) -> str | None:
        content = self._bucket.read(name)
        return None if content is None else content.decode(errors="replace")

    @override
    def write(self, name: str, text: str) -> None:
        self._bucket.write(name, text.encode())

    @override
    def create(self, name: str, text: str) -> bool:
        return self._bucket.create(name, text.encode())

    @override
    def refresh(self, name: str) -> None:
        content = self._bucket.read(name)
        if content is not None:
            self._bucket.write(name, content)

    @override
    def remove(self, *names: str) -> None:
        self._bucket.remove(names)

    @override
    def age_s(self, name: str) -> float | None:
        """Age by the clock of the server: the clocks of the machines may differ."""
        entry = self._bucket.stat(name)
        return None if entry is None else entry.age_s

    @override
    def names(self, folder: str) -> list[str]:
        start = len(folder) + 1
        entries = self._bucket.entries(f"{folder}/")
        return [entry.name for entry in entries if "/" not in entry.name[start:]]

    @override
    def folders(self, folder: str) -> list[str]:
        start = len(folder) + 1
        # Some servers still list a folder whose last object was removed: count objects alone.
        rest = (entry.name[start:] for entry in self._bucket.entries(f"{folder}/"))
        folders = {name.partition("/")[0] for name in rest if "/" in name}
        return sorted(folders - {"", ".", ".."})  # these names become folders on this machine

    @override
    def has_log(self, name: str) -> bool:
        return bool(self._parts(name))

    @override
    def read_log(self, name: str) -> str | None:
        parts = self._parts(name)
        return self._text(parts) if parts else None

    @override
    def append_log(self, name: str, text: str) -> None:
        """Write the lines as an object of their own: S3 cannot append to an object."""
        self._add(name, _ADDED, text)

    @override
    def rewrite_log(self, name: str, change: Callable[[str], str]) -> None:
        """Replace the parts that were read; lines that other machines add in this time stay."""
        parts = self._parts(name)
        self._add(name, _WHOLE, change(self._text(parts)))
        self._bucket.remove(parts)

    @override
    def mark(self, name: str) -> BucketMark:
        return BucketMark(self._bucket, name)

    def _parts(self, name: str) -> list[str]:
        return [entry.name for entry in self._bucket.entries(f"{name}/")]

    def _text(self, parts: list[str]) -> str:
        contents = side_by_side(self._bucket.read, parts)
        return "".join(content.decode(errors="replace") for content in contents if content is not None)

    def _add(self, name: str, kind: str, text: str) -> None:
        self._bucket.write(f"{name}/{kind}-{time.time_ns():020d}-{uuid.uuid4().hex[:8]}", text.encode())


class BucketMark:
    """A flag that is set while its object exists.

    Args:
        bucket: Where it lies.
        name: Its name.
    """

    def __init__(self, bucket: Bucket, name: str) -> None:
        self._bucket, self.name = bucket, name
        self._looked_s = float("-inf")
        self._is_set = False
        self._writer: threading.Thread | None = None
        self._is_unlinked = threading.Event()

    def touch(self) -> None:
        """Set the flag in a thread: a signal handler, which may call this, must not wait for the network.

        The thread tries until the server has taken it, however long that is, or `unlink` is called.
        """
        self._is_set, self._looked_s = True, time.monotonic()
        self._is_unlinked.clear()
        self._writer = threading.Thread(target=self._write, name="mark", daemon=True)
        self._writer.start()

    def _write(self) -> None:
        is_written = False
        while not is_written:
            with brief(), contextlib.suppress(StorageError):
                self._bucket.write(self.name, b"")
                is_written = True
            if not is_written and self._is_unlinked.wait(_WRITE_EVERY_S):
                return

    def exists(self) -> bool:
        """Whether the flag is set; the answer is up to two seconds old, or older while the network fails."""
        if not self._is_set and time.monotonic() - self._looked_s >= BucketFiles.look_every_s:
            with brief(), contextlib.suppress(StorageError):
                self._is_set = self._bucket.stat(self.name) is not None
            self._looked_s = time.monotonic()
        return self._is_set

    def unlink(self, missing_ok: bool = False) -> None:
        """Clear the flag."""
        self._is_unlinked.set()
        if self._writer is not None:
            self._writer.join()
        self._is_set = False
        with contextlib.suppress(StorageError):  # `gc` removes what a run leaves
            self._bucket.remove([self.name])


def replaced(values: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    """Values with ``new`` instead of ``old`` at the start of every path, at any depth."""
    return {name: _replaced(value, old, new) for name, value in values.items()}


def places_in(values: Any, root: str) -> Iterator[str]:
    """Paths below ``root`` that stand in values at any depth, relative to it."""
    if isinstance(values, str):
        if values.startswith(f"{root}/"):
            yield values[len(root) + 1 :]
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from places_in(value, root)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from places_in(value, root)


def _replaced(value: Any, old: str, new: str) -> Any:
    if isinstance(value, str) and (value == old or value.startswith(f"{old}/")):
        return new + value[len(old) :]
    if isinstance(value, Mapping):
        return replaced(value, old, new)
    if isinstance(value, list | tuple):
        return type(value)(_replaced(item, old, new) for item in value)
    return value
