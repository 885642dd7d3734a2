"""Preprocessed scans on disk, memory-mapped, shared by all trials that use them.

An entry is keyed by the content of image and mask and by the settings, so it is never stale. Many
processes may build the same entry at once: each writes beside and renames, the first one wins.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.fingerprint import file_hashes
from dwp_sweep.data.layouts.listing import Subject
from dwp_sweep.data.pair import read_pair
from dwp_sweep.data.preprocess import Prepared, preprocess

CACHE_VERSION = 1
"""Raised by hand when preprocessing gives other voxels for the same settings."""

_PUBLISH_ATTEMPTS = 3


@dataclass(frozen=True, eq=False)
class Case:
    """One subject as the network sees it.

    Attributes:
        id: The subject's id.
        image: (1, D, H, W) float32, read-only memory map.
        mask: (D, H, W) uint8, 1 is foreground, read-only memory map.
        spacing_mm: Voxel size along D, H, W.
    """

    id: str
    image: NDArray[np.float32]
    mask: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)


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
        InputError: A scan that cannot be used.
    """
    hashes = file_hashes((path for one in subjects for path in (one.image, one.mask)), cache_dir)
    cases = []
    for done, subject in enumerate(subjects, start=1):
        folder = cache_dir / "volumes" / _key(config, hashes[subject.image], hashes[subject.mask])
        cases.append(_load(subject.id, folder) or _build(subject, config, folder))
        if progress is not None:
            progress(done, len(subjects))
    return tuple(cases)


def _key(config: DatasetConfig, image_hash: str, mask_hash: str) -> str:
    labels = sorted(set(config.labels)) if config.labels is not None else None
    settings = config.preprocess.model_dump(mode="json")
    identity = [CACHE_VERSION, image_hash, mask_hash, settings, labels, config.channel or 0]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def _load(subject_id: str, folder: Path) -> Case | None:
    """The entry, or None where it is missing or damaged."""
    try:
        spacing_mm = json.loads((folder / "meta.json").read_text())["spacing_mm"]
        image = np.load(folder / "image.npy", mmap_mode="r", allow_pickle=False)
        mask = np.load(folder / "mask.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError, EOFError):
        return None
    if image.dtype != np.float32 or mask.dtype != np.uint8 or image.shape != (1, *mask.shape):
        return None
    return Case(subject_id, image, mask, tuple(spacing_mm))


def _build(subject: Subject, config: DatasetConfig, folder: Path) -> Case:
    prepared = preprocess(read_pair(subject, config), config)
    beside = folder.with_name(f".{uuid.uuid4().hex}")
    beside.mkdir(parents=True)
    _write(beside, prepared)
    _publish(beside, folder)
    case = _load(subject.id, folder)
    if case is None:
        raise OSError(f"the cache entry {folder} was written but cannot be read back; is the disk full?")
    return case


def _write(folder: Path, prepared: Prepared) -> None:
    meta = json.dumps({"spacing_mm": prepared.spacing_mm})
    writers: dict[str, Callable[[Any], object]] = {
        "image.npy": lambda file: np.save(file, prepared.image),
        "mask.npy": lambda file: np.save(file, prepared.mask),
        "meta.json": lambda file: file.write(meta.encode()),
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
