"""Preprocessed scans on disk, mapped into memory when looked at, shared by all trials that use them.

An entry is a folder, named by the content of image and mask and by the settings, so it is never stale. It is
written beside and renamed into place, so that no reader sees half of one. Processes that need the same
entries at once share the work: each builds what no other builds.

Voxel sizes of a training set are kept beside its network: without resampling the network learned structures
as so many voxels, and a scan with other voxels shows it other sizes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from dwp_sweep.atomic_write import ABANDONED_S, place_beside, remove, sync_file
from dwp_sweep.data.cache.memory import file_hashes, side_by_side
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.files.free_memory import memory_turns
from dwp_sweep.data.layouts.listing import Subject
from dwp_sweep.data.pair import peak_bytes, read_pair
from dwp_sweep.data.placement import no_voxels
from dwp_sweep.data.preprocess import Prepared, padding_value, preprocess
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.strict import keyed_values

CACHE_VERSION = 3
"""Raised by hand when preprocessing gives other voxels for the same settings."""

IMAGE, MASK, LOST, META = "image.npy", "mask.npy", "lost.npy", "meta.json"
_PUBLISH_ATTEMPTS = 3

LOOK_EVERY_S = 0.2
"""Between two looks at entries that others build."""
PATIENCE_S = 900.0
"""A lock that is held longer belongs to a machine that died, as a file server sees it, or hangs."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Case:
    """One subject as the network sees it.

    Attributes:
        id: The subject's id.
        image: (C, D, H, W) float32; of a cached case a read-only memory map.
        mask: (D, H, W) uint8, 1 is foreground, or with classes their numbers; likewise.
        spacing_mm: Voxel size along D, H, W.
        background: Value of the image where there is no scan; what pads it.
        lost: (N, 3) int32, foreground voxels that the crop removed, as indices of the mask beyond it or in
            its padding: scores of a test count them as missed. With classes (N, 4), the class's number last.
    """

    id: str
    image: NDArray[np.float32]
    mask: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    background: float = 0.0
    lost: NDArray[np.int32] = field(default_factory=no_voxels)

    def of_class(self, number: int) -> Case:
        """The case with one of its classes as the foreground, all others as background."""
        lost = self.lost
        lost = lost if lost.shape[1] == 3 else lost[lost[:, 3] == number, :3]
        mask = (np.asarray(self.mask) == number).astype(np.uint8)
        return Case(self.id, self.image, mask, self.spacing_mm, self.background, lost)


class StoredCase(Case):
    """A case whose voxels stay in the cache: every look maps the file anew and lets go of it afterwards.

    Maps that stay open count as memory of the process once they are read, and take two open files a
    subject: a data set of hundreds would fill both.

    Args:
        id: The subject's id.
        folder: Its entry in the cache.
        spacing_mm: Voxel size along D, H, W.
        background: As in `Case`.
    """

    def __init__(
        self, id: str, folder: Path, spacing_mm: tuple[float, float, float], background: float
    ) -> None:
        for name, value in (("id", id), ("spacing_mm", spacing_mm), ("background", background)):
            object.__setattr__(self, name, value)
        self._folder = folder

    @property
    def image(self) -> NDArray[np.float32]:
        """(C, D, H, W), read-only."""
        return _mapped(self._folder / IMAGE)

    @property
    def mask(self) -> NDArray[np.uint8]:
        """(D, H, W), read-only."""
        return _mapped(self._folder / MASK)

    @property
    def lost(self) -> NDArray[np.int32]:
        """(N, 3), or with classes (N, 4)."""
        return np.load(self._folder / LOST, allow_pickle=False)  # type: ignore[no-any-return]


def _silent(done: int, total: int) -> None:
    """The default `Progress`."""


def load_cases(
    config: DatasetConfig, subjects: Sequence[Subject], cache_dir: Path, progress: Progress | None = None
) -> tuple[Case, ...]:
    """Cases of the subjects, in their order; what is not in the cache is built.

    Args:
        config: `preprocess`, `labels`, `classes` and `channel` are read.
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
            with memory_turns.take(peak_bytes(self.subject, self.config)):
                prepared = preprocess(read_pair(self.subject, self.config), self.config)
            publish_entry(prepared, self.folder)
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


@contextlib.contextmanager
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


def entry_folder(config: DatasetConfig, hashes: Sequence[str], cache_dir: Path) -> Path:
    """Where the entry of a scan lies.

    Args:
        config: `preprocess`, `labels`, `classes` and `channel` are read.
        hashes: Of the content of the scan's files, in their order.
        cache_dir: Folder of the cache.
    """
    labels: list[Any] | None = sorted(set(config.labels)) if config.labels is not None else None
    if config.classes is not None:
        labels = [list(values) for _, values in config.own_classes]  # what makes the numbers, not the names
    settings = keyed_values(config.preprocess)
    identity = [CACHE_VERSION, *hashes, settings, labels, config.channel or 0]
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    return cache_dir / "volumes" / key


def read_entry(subject_id: str, folder: Path, background: float = 0.0) -> Case | None:
    """The entry, or None where it is missing or damaged."""
    try:
        spacing_mm = json.loads((folder / META).read_text())["spacing_mm"]
        image, mask = _mapped(folder / IMAGE), _mapped(folder / MASK)
        lost = np.load(folder / LOST, allow_pickle=False)
    except (OSError, ValueError, KeyError, EOFError):
        return None
    if image.dtype != np.float32 or mask.dtype != np.uint8 or image.shape[1:] != mask.shape:
        return None
    if lost.shape[1:] not in ((3,), (4,)):
        return None
    return StoredCase(subject_id, folder, tuple(spacing_mm), background)


def publish_entry(prepared: Prepared, folder: Path) -> None:
    """Write an entry beside its place and rename it; where another process was first, its entry stays."""
    if read_entry("", folder) is not None:
        return
    _sweep(folder)
    with place_beside(folder) as beside:
        beside.mkdir(parents=True)
        _write(beside, prepared)
        _publish(beside, folder)


def _write(folder: Path, prepared: Prepared) -> None:
    np.save(folder / IMAGE, prepared.image)
    np.save(folder / MASK, prepared.mask)
    np.save(folder / LOST, prepared.lost)
    (folder / META).write_text(json.dumps({"spacing_mm": prepared.spacing_mm}))
    for name in (IMAGE, MASK, LOST, META):
        sync_file(folder / name)


def _publish(beside: Path, folder: Path) -> None:
    """Rename into place; where another process was first, its entry stays unless it is damaged."""
    for _ in range(_PUBLISH_ATTEMPTS):
        try:
            beside.rename(folder)
            return
        except OSError:
            if read_entry("", folder) is not None:
                break
            # Renamed before it is removed, so that nobody ever finds half of it under its name.
            with place_beside(folder) as aside, contextlib.suppress(OSError):
                folder.rename(aside)


def _sweep(folder: Path) -> None:
    """Remove what builders of this entry left when they were killed."""
    for path in folder.parent.glob(f".*{folder.name}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED_S:
                remove(path)


def _mapped(path: Path) -> NDArray[Any]:
    return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]


MOST_ALIKE = 1.25
"""Voxels that are more than so many times larger or smaller along an axis are other voxels."""

VOXEL_SIZE = "spacing_mm"
"""Its name among the facts of a network."""

Spacing = tuple[float, float, float]
"""Voxel size along D, H, W, mm."""


def median_voxel_size(cases: Sequence[Case]) -> Spacing:
    """The median of prepared scans along each axis, mm; at least one scan."""
    middle = np.median([case.spacing_mm for case in cases], axis=0)
    return float(middle[0]), float(middle[1]), float(middle[2])


def stored_voxel_size(facts: Mapping[str, Any]) -> Spacing | None:
    """What a network's facts say of its training; None for networks that were made before they said it."""
    value = facts.get(VOXEL_SIZE)
    if not isinstance(value, list) or len(value) != 3:
        return None
    return float(value[0]), float(value[1]), float(value[2])


def is_unlike(scan: Spacing, trained: Spacing) -> bool:
    """Whether a scan's voxels differ by more than `MOST_ALIKE` along any axis."""
    return any(max(a / b, b / a) > MOST_ALIKE for a, b in zip(scan, trained, strict=True))
