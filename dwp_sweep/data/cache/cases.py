"""Preprocessed scans on disk, mapped into memory when looked at, shared by all trials that use them.

An entry is keyed by the content of image and mask and by the settings, so it is never stale. Processes
that need the same entries at once share the work: each builds what no other builds.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from dwp_sweep.data.cache.entry import Case, entry_folder, publish_entry, read_entry
from dwp_sweep.data.cache.memory import file_hashes, side_by_side
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.layouts.listing import Subject
from dwp_sweep.data.pair import read_pair
from dwp_sweep.data.preprocess import padding_value, preprocess
from dwp_sweep.errors import InputError, Problem

LOOK_EVERY_S = 0.2
"""Between two looks at entries that others build."""
PATIENCE_S = 900.0
"""A lock that is held longer belongs to a machine that died, as a file server sees it, or hangs."""

Progress = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    """The default `Progress`."""


def load_cases(
    config: DatasetConfig, subjects: Sequence[Subject], cache_dir: Path, progress: Progress | None = None
) -> tuple[Case, ...]:
    """Cases of the subjects, in their order; what is not in the cache is built.

    Args:
        config: `preprocess`, `labels` and `channel` are read.
        subjects: Any of the data set.
        cache_dir: Folder of the cache; made if missing.
        progress: Called with (done, total), by the calling thread; also now and then while others build what
            is wanted here. What it raises ends the loading.

    Raises:
        InputError: With the problems of all scans that cannot be used.
    """
    hashes = file_hashes((path for subject in subjects for path in subject.files), cache_dir)
    wanted = [
        _Wanted(subject, config, entry_folder(config, [hashes[path] for path in subject.files], cache_dir))
        for subject in subjects
    ]
    _fill(wanted, progress or _silent)
    problems = [problem for entry in wanted for problem in entry.problems]
    if problems:
        raise InputError(problems)
    return tuple(entry.case for entry in wanted if entry.case is not None)


@dataclass(eq=False)
class _Wanted:
    """One case to read or to build; ``waiting_since`` is when another process was first seen to build it."""

    subject: Subject
    config: DatasetConfig
    folder: Path
    case: Case | None = None
    problems: tuple[Problem, ...] = ()
    waiting_since: float | None = None

    @property
    def is_settled(self) -> bool:
        return self.case is not None or bool(self.problems)

    def read(self) -> bool:
        self.case = read_entry(self.subject.id, self.folder, padding_value(self.config.preprocess))
        return self.case is not None

    def attempt(self) -> None:
        """Read the entry, or build it unless another process does."""
        if self.read():
            return
        with entry_lock(self.folder.parent.parent / "locks" / self.folder.name) as is_mine:
            if is_mine or self._has_waited_enough():
                self._build()

    def _build(self) -> None:
        if self.read():  # built between the look and the lock
            return
        try:
            publish_entry(preprocess(read_pair(self.subject, self.config), self.config), self.folder)
        except InputError as error:
            self.problems = error.problems
            return
        if not self.read():
            what = f"the cache entry {self.folder} was written but cannot be read back; is the disk full?"
            raise OSError(what)

    def _has_waited_enough(self) -> bool:
        now = time.monotonic()
        self.waiting_since = self.waiting_since or now
        # A second builder is wasteful, never wrong.
        return now - self.waiting_since > PATIENCE_S


def _fill(wanted: Sequence[_Wanted], progress: Progress) -> None:
    """Settle all; entries that others build come last."""
    n_settled, left = 0, list(wanted)
    while left:
        before = n_settled
        for place, _ in side_by_side(_Wanted.attempt, left):
            n_settled += left[place].is_settled
            if left[place].is_settled:
                progress(n_settled, len(wanted))
        left = [entry for entry in left if not entry.is_settled]
        if left and n_settled == before:
            progress(n_settled, len(wanted))
            time.sleep(LOOK_EVERY_S)


@contextmanager
def entry_lock(path: Path) -> Iterator[bool]:
    """Take a lock if it is free; says whether the caller may build. It ends with its process.

    Args:
        path: File of the lock; made, with machine and process of its holder inside, and removed afterwards.
    """
    lock = FileLock(path, fallback_to_soft=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    while not lock.is_locked:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            if path.exists():
                yield False
                return
            # Its last holder removed it after it was opened here.
        except OSError:  # a file system without locks: everybody may build
            yield True
            return
    try:
        path.write_text(f"{socket.gethostname()} {os.getpid()}\n")
        yield True
    finally:
        path.unlink(missing_ok=True)  # while it is held: a process that opened it before looks once more
        lock.release()
