"""What there is to say of one subject, and what is worth keeping of the look at it.

Part of the check of a data set. Preparing a scan costs seconds: with a cache its voxels go where training
looks for them, and what was found is remembered by the content of the files.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dwp_sweep.data.cache.entry import CACHE_VERSION, entry_folder, publish_entry
from dwp_sweep.data.cache.memory import file_hashes, memory_file, recall, remember
from dwp_sweep.data.check.suspicions import Suspicion, at_border, empty_mask, lost_foreground, saturated
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.layouts import Subject
from dwp_sweep.data.pair import Pair, foreground_of, read_pair
from dwp_sweep.data.preprocess import Prepared, preprocess
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.strict import keyed_values

CHECK_VERSION = 1
"""Raised by hand when other things are found in the same scan."""


@dataclass(frozen=True)
class SubjectRow:
    """What was read of one subject.

    Attributes:
        id: Of the subject.
        shape: Voxels, in the file's own axes.
        spacing_mm: Voxel size along these axes.
        foreground_share: Foreground voxels of all voxels, 0 to 1.
        labels: Distinct values of the mask, rising.
        input_shape: Channels and voxels of what the network would get.
        suspicions: What to look at, a few words each; the report's warnings say them in full.
    """

    id: str
    shape: tuple[int, ...]
    spacing_mm: tuple[float, float, float]
    foreground_share: float
    labels: tuple[int, ...]
    input_shape: tuple[int, ...] = ()
    suspicions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """A row, what is suspicious in it, and the hashes of its images' voxels."""

    row: SubjectRow
    suspicions: tuple[Suspicion, ...]
    hashes: tuple[str, ...]


@dataclass(frozen=True)
class Keep:
    """Where to keep what is made of scans, and the hashes of their files."""

    cache_dir: Path
    hashes: Mapping[Path, str]


def keep_in(cache_dir: Path | None, subjects: Sequence[Subject]) -> Keep | None:
    """Keep what is made of the subjects below a folder; None where there is none, or a file is unreadable."""
    if cache_dir is None:
        return None
    try:
        paths = [path for one in subjects for path in one.files]
        return Keep(cache_dir, file_hashes(paths, cache_dir))
    except InputError:
        return None  # a file that cannot be read is told with its subject


def examine(
    subject: Subject, config: DatasetConfig, label_set: frozenset[int] | None, keep: Keep | None = None
) -> Finding | InputError:
    """Read and prepare one subject, or recall what was found; an error is what stands against using it.

    Args:
        subject: Its files.
        config: Of the data set.
        label_set: Values that the mask may hold; None allows any.
        keep: Where to keep what is made; None keeps nothing.
    """
    memory = _memory(subject, config, label_set, keep) if keep is not None else None
    known = _recalled(memory) if memory is not None else None
    if known is not None:
        return known
    try:
        pair = read_pair(subject, config, label_set)
        prepared = preprocess(pair, config)
    except InputError as error:
        return error
    if keep is not None:
        hashes = [keep.hashes[path] for path in subject.files]
        with contextlib.suppress(OSError):  # a full disk is no fault of the scans; training tells it
            publish_entry(prepared, entry_folder(config, hashes, keep.cache_dir))
    finding = _finding(subject, config, pair, prepared)
    if memory is not None:
        remember(memory, asdict(finding))
    return finding


def _finding(subject: Subject, config: DatasetConfig, pair: Pair, prepared: Prepared) -> Finding:
    foreground = foreground_of(pair.labels, config.labels)
    share = float(foreground.mean())
    row = SubjectRow(
        subject.id, pair.labels.shape, pair.image.spacing_mm, share, pair.label_values, prepared.image.shape
    )
    if share == 0.0:
        suspicions: tuple[Suspicion, ...] = (empty_mask(subject, pair.label_values, config),)
    else:
        suspicions = (*lost_foreground(subject, prepared), *at_border(subject, foreground))
    hashes = tuple(hashlib.sha256(image.data.tobytes()).hexdigest() for image in pair.images)
    return Finding(row, (*suspicions, *saturated(subject, pair.images, config)), hashes)


def _memory(subject: Subject, config: DatasetConfig, label_set: frozenset[int] | None, keep: Keep) -> Path:
    files = [(str(path), keep.hashes[path]) for path in subject.files]
    settings = [keyed_values(config.preprocess), config.labels, config.channel]
    labels = sorted(label_set) if label_set is not None else None
    identity = [CHECK_VERSION, CACHE_VERSION, subject.id, files, settings, labels]
    return memory_file(keep.cache_dir / "checks" / "scans", identity)


def _recalled(memory: Path) -> Finding | None:
    values = recall(memory)
    if values is None:
        return None
    try:
        row: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values["row"].items()
        }
        suspicions = [
            Suspicion(subject, words, Problem(**warning)) for subject, words, warning in values["suspicions"]
        ]
        return Finding(SubjectRow(**row), tuple(suspicions), tuple(values["hashes"]))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None  # damaged
