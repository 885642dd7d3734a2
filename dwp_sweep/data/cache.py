"""Preprocessed scans on disk, mapped into memory when looked at, shared by all trials that use them.

An entry is keyed by the content of image and mask and by the settings, so it is never stale. Many
processes may build the same entry at once: each writes beside and renames, the first one wins.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.fingerprint import file_hashes
from dwp_sweep.data.layouts.listing import Subject
from dwp_sweep.data.pair import read_pair
from dwp_sweep.data.preprocess import Prepared, padding_value, preprocess
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.strict import keyed_values

CACHE_VERSION = 1
"""Raised by hand when preprocessing gives other voxels for the same settings."""

MOST_AT_ONCE = 8
"""Scans that are prepared at once, at most; fewer where the process has fewer cores."""

IMAGE, MASK, META = "image.npy", "mask.npy", "meta.json"
_PUBLISH_ATTEMPTS = 3


@dataclass(frozen=True, eq=False)
class Case:
    """One subject as the network sees it.

    Attributes:
        id: The subject's id.
        image: (C, D, H, W) float32; of a cached case a read-only memory map.
        mask: (D, H, W) uint8, 1 is foreground; likewise.
        spacing_mm: Voxel size along D, H, W.
        background: Value of the image where there is no scan; what pads it.
    """

    id: str
    image: NDArray[np.float32]
    mask: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    background: float = 0.0


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


def load_cases(
    config: DatasetConfig,
    subjects: Sequence[Subject],
    cache_dir: Path,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Case, ...]:
    """Cases of the subjects, in their order; what is not in the cache is built.

    Args:
        config: `preprocess`, `labels` and `channel` are read.
        subjects: Any of the data set.
        cache_dir: Folder of the cache; made if missing.
        progress: Called with (done, total).

    Raises:
        InputError: With the problems of all scans that cannot be used.
    """
    hashes = file_hashes((path for one in subjects for path in one.files), cache_dir)
    folders = [cache_dir / "volumes" / _key(config, [hashes[path] for path in one.files]) for one in subjects]
    tell = _Counter(len(subjects), progress)
    background = padding_value(config.preprocess)

    def case(subject: Subject, folder: Path) -> Case:
        found = _load(subject.id, folder, background) or _build(subject, config, folder)
        tell.one_more()
        return found

    # Reading and resampling mostly leave Python's lock; each scan in work takes the memory of some volumes.
    with ThreadPoolExecutor(min(MOST_AT_ONCE, torch.get_num_threads(), max(1, len(subjects)))) as pool:
        futures = [pool.submit(case, *pair) for pair in zip(subjects, folders, strict=True)]
        return _all_of(futures)


class _Counter:
    """Tells a progress callback how many are done, one call at a time."""

    def __init__(self, total: int, progress: Callable[[int, int], None] | None) -> None:
        self._done, self._total, self._progress = 0, total, progress
        self._lock = threading.Lock()

    def one_more(self) -> None:
        with self._lock:
            self._done += 1
            if self._progress is not None:
                self._progress(self._done, self._total)


def _all_of(futures: Sequence[Future[Case]]) -> tuple[Case, ...]:
    """The results in order; the problems of all scans together where some cannot be used."""
    problems: list[Problem] = []
    cases = []
    try:
        for future in futures:
            try:
                cases.append(future.result())
            except InputError as error:
                problems += error.problems
    finally:
        for future in futures:
            future.cancel()  # after an error of another kind nothing new begins
    if problems:
        raise InputError(problems)
    return tuple(cases)


def _key(config: DatasetConfig, hashes: Sequence[str]) -> str:
    labels = sorted(set(config.labels)) if config.labels is not None else None
    settings = keyed_values(config.preprocess)
    identity = [CACHE_VERSION, *hashes, settings, labels, config.channel or 0]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def _load(subject_id: str, folder: Path, background: float = 0.0) -> Case | None:
    """The entry, or None where it is missing or damaged."""
    try:
        spacing_mm = json.loads((folder / META).read_text())["spacing_mm"]
        image, mask = _mapped(folder / IMAGE), _mapped(folder / MASK)
    except (OSError, ValueError, KeyError, EOFError):
        return None
    if image.dtype != np.float32 or mask.dtype != np.uint8 or image.shape[1:] != mask.shape:
        return None
    return StoredCase(subject_id, folder, tuple(spacing_mm), background)


def _mapped(path: Path) -> NDArray[Any]:
    return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]


def _build(subject: Subject, config: DatasetConfig, folder: Path) -> Case:
    prepared = preprocess(read_pair(subject, config), config)
    beside = folder.with_name(f".{uuid.uuid4().hex}")
    beside.mkdir(parents=True)
    _write(beside, prepared)
    _publish(beside, folder)
    case = _load(subject.id, folder, padding_value(config.preprocess))
    if case is None:
        raise OSError(f"the cache entry {folder} was written but cannot be read back; is the disk full?")
    return case


def _write(folder: Path, prepared: Prepared) -> None:
    meta = json.dumps({"spacing_mm": prepared.spacing_mm})
    writers: dict[str, Callable[[Any], object]] = {
        IMAGE: lambda file: np.save(file, prepared.image),
        MASK: lambda file: np.save(file, prepared.mask),
        META: lambda file: file.write(meta.encode()),
    }
    for name, write in writers.items():
        with (folder / name).open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())


def _publish(beside: Path, folder: Path) -> None:
    """Rename into place; where another process was first, its entry stays unless it is damaged."""
    for _ in range(_PUBLISH_ATTEMPTS):
        try:
            beside.rename(folder)
            return
        except OSError:
            if _load("", folder) is not None:
                break
            _set_aside(folder)
    shutil.rmtree(beside, ignore_errors=True)


def _set_aside(damaged: Path) -> None:
    # Renamed before it is removed, so that nobody ever finds half of it under its name.
    aside = damaged.with_name(f".{uuid.uuid4().hex}")
    with contextlib.suppress(OSError):
        damaged.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)
