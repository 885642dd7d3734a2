"""What is remembered of scans: content hashes of files by size and time, and answers to questions about them.

A node's key holds the data set's fingerprint, so that changed scans are never mistaken for old ones
and moved or copied ones are recognised. Work on several scans runs in threads here: reading, unpacking and
resampling mostly release Python's lock, and nothing is copied between processes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

import torch

from dwp_sweep.atomic_write import write_whole
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.files.names import home_path
from dwp_sweep.data.layouts.listing import Subject
from dwp_sweep.data.patients import patient_by_name
from dwp_sweep.errors import InputError, Problem

MEMORY_FILE = "file_hashes.json"


def dataset_fingerprint(
    config: DatasetConfig, subjects: Sequence[Subject], memory: Path | None = None
) -> str:
    """Hash of ids, of the bytes of images, masks and the user's split file, and of patients; 64 hex digits.

    Patients whom the subjects' names tell are left out: the names are in the hash.

    Args:
        config: `split_file` is read.
        subjects: The selected ones, in any order.
        memory: Folder that remembers hashes by path, size and time, so that large sets are read once.

    Raises:
        InputError: A file that cannot be read.
    """
    hashes = file_hashes((path for subject in subjects for path in subject.files), memory)
    rows = sorted(
        (subject.id, *(hashes[path] for path in subject.files), *_listed_patient(subject, config))
        for subject in subjects
    )
    split_file = _sha256(home_path(config.split_file)) if config.split_file else ""
    return hashlib.sha256(json.dumps([rows, split_file]).encode()).hexdigest()


def file_hashes(paths: Iterable[Path], memory: Path | None = None) -> dict[Path, str]:
    """SHA-256 of each file, several at once; `memory` answers for unchanged ones (path, size, time)."""
    # A memory that is lost or damaged only costs time.
    known = (recall(memory / MEMORY_FILE) or {}) if memory is not None else {}
    names = {path: _identity(path) for path in paths}
    unread = {name: path for path, name in names.items() if name not in known}
    order = list(unread)
    fresh = {order[place]: digest for place, digest in side_by_side(_sha256, list(unread.values()))}
    if memory is not None and fresh:
        remember(memory / MEMORY_FILE, {**(recall(memory / MEMORY_FILE) or {}), **fresh})
    return {path: fresh.get(name) or known[name] for path, name in names.items()}


def _listed_patient(subject: Subject, config: DatasetConfig) -> tuple[str, ...]:
    """The patient where a table tells it; the setting itself is in the keys beside the fingerprint."""
    is_told = config.patients == "auto" and subject.patient not in ("", patient_by_name(subject.id))
    return (subject.patient,) if is_told else ()


def _identity(path: Path) -> str:
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(Problem(str(path), f"cannot be read: {error.strerror}", "check the path")) from None
    return f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(Problem(str(path), f"cannot be read: {error.strerror}", "check the path")) from None


def memory_file(folder: Path, identity: object) -> Path:
    """Where the answer to a question lies.

    Args:
        folder: Of the answers.
        identity: All that the answer depends on, as JSON can hold it.
    """
    name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    return folder / f"{name}.json"


def recall(path: Path) -> Mapping[str, Any] | None:
    """The answer, or None where there is none."""
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def remember(path: Path, values: Mapping[str, Any]) -> None:
    """Keep an answer: written beside and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(values), durable=False)


MOST_AT_ONCE = 8
"""Scans that are worked on at once, at most; fewer where the process has fewer cores or memory holds fewer
(`dwp_sweep.data.files.free_memory.memory_turns`)."""

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(work: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, R]]:
    """Apply the work to each item; yields (place in the items, result) in the order of completion.

    What the work raises is raised here, and nothing new begins after it; the same where the caller leaves.
    """
    n_threads = min(MOST_AT_ONCE, torch.get_num_threads(), max(1, len(items)))
    with ThreadPoolExecutor(n_threads, thread_name_prefix="scans") as pool:
        places = {pool.submit(work, item): place for place, item in enumerate(items)}
        try:
            for future in as_completed(places):
                yield places[future], future.result()
        finally:
            for future in places:
                future.cancel()
