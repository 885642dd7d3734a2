"""Working folders of nodes that outlive a machine: copies of their files in a bucket.

A worker copies its folder to the bucket while it trains; the worker of the next attempt, on any machine,
downloads it. A machine whose own folder made the last copy has the same files or newer ones, and keeps them.
Checkpoints are written atomically, so that a copied one is whole.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from dwp_sweep.atomic_write import place_beside, remove
from dwp_sweep.store.protocol import NODE, PRUNE, RECORD
from dwp_sweep.store.record import UNREADABLE
from dwp_sweep.store.s3.bucket import Bucket
from dwp_sweep.strict import json_of

TURN = "turn.json"
_OWN_TURN = ".turn"
_SHARE = 0.1
"""Largest share of the time that copying takes, unless ``at_once``."""
_NO_WORK = frozenset({NODE, PRUNE, RECORD, TURN})
_TEXTS = (".jsonl", ".txt")

Stamp = tuple[int, int, int]
"""Changes when a file is written: inode, size, time."""


@dataclass
class WorkFolder:
    """One node's working folder on this machine and in the bucket.

    Args:
        bucket: Where it is kept.
        name: ``work/<stage>/<key>/`` there.
        path: The folder here.
    """

    bucket: Bucket
    name: str
    path: Path
    _kept: dict[str, Stamp] = field(default_factory=dict)
    _next_s: float = float("-inf")

    def take(self) -> None:
        """Replace the folder here by the last copy, unless this folder made it."""
        turn = self.bucket.read(self.name + TURN)
        if turn is None or turn == self._own_turn():
            return
        with place_beside(self.path) as beside:
            beside.mkdir(parents=True)
            for file in _files(turn):
                self.bucket.download(self.name + file, beside / file)
            (beside / _OWN_TURN).write_bytes(turn)
            remove(self.path)
            beside.rename(self.path)
        self._kept = self._stamps()

    def keep(self, at_once: bool) -> None:
        """Copy what has changed to the bucket.

        Texts (history, starts) are copied first: a checkpoint must not be newer than its history.
        """
        begun_s = time.monotonic()
        if begun_s < self._next_s and not at_once:
            return
        try:
            self._keep()
        finally:
            end_s = time.monotonic()
            self._next_s = end_s + (end_s - begun_s) / _SHARE

    def _keep(self) -> None:
        now = self._stamps()
        changed = [file for file in now if self._kept.get(file) != now[file]]
        for file in sorted(changed, key=lambda file: (not file.endswith(_TEXTS), now[file][2])):
            self.bucket.upload(self.path / file, self.name + file)
        if changed or set(now) != set(self._kept):
            self._end_turn(sorted(now))
            self.bucket.remove(self.name + file for file in set(self._kept) - set(now))
        self._kept = now

    def _end_turn(self, files: list[str]) -> None:
        turn = json.dumps({"turn": uuid.uuid4().hex, "files": files}).encode()
        self.bucket.write(self.name + TURN, turn)
        (self.path / _OWN_TURN).write_bytes(turn)

    def _own_turn(self) -> bytes | None:
        try:
            return (self.path / _OWN_TURN).read_bytes()
        except FileNotFoundError:
            return None

    def _stamps(self) -> dict[str, Stamp]:
        stamps: dict[str, Stamp] = {}
        for path in self.path.iterdir() if self.path.is_dir() else ():
            if path.name.startswith(".") or path.name in _NO_WORK or not path.is_file():
                continue
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                stamps[path.name] = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        return stamps


def _files(turn: bytes) -> list[str]:
    """Files that a turn names; none where it is unreadable."""
    try:
        names = [str(name) for name in json_of(turn)["files"]]
    except UNREADABLE:
        return []
    return [name for name in names if name == Path(name).name and not name.startswith(".")]
