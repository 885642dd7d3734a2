"""What a storage offers, whatever its kind: published nodes, working folders, and small shared files.

``<stage>/<key>/`` holds a published node: its files, ``record.json`` and, written last, ``manifest.json``
with sizes and checksums. ``work/<stage>/<key>/`` is the node's stable working folder (checkpoints, history,
failed record), ``sweeps/<name>/`` what belongs to a sweep. `local.store` keeps them in a folder that all
machines see, `s3.store` in a bucket; `open_store` chooses.
"""

from __future__ import annotations

import contextlib
import uuid
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from dwp_sweep.store.record import Record

RECORD = "record.json"
NODE = "node.json"
PRUNE = "prune"
DAMAGED = "damaged"
"""Mark beside a manifest in a bucket whose files differ from it."""
FILES = "files"
"""Folder of a bucket with the files of the nodes, one folder per attempt."""


def work_name(stage: str, key: str, name: str) -> str:
    """Name of a file in a node's working folder, relative to the storage."""
    return f"work/{stage}/{key}/{name}"


class Mark(Protocol):
    """A flag that is set while its file exists; `pathlib.Path` is one."""

    def touch(self) -> None:
        """Set the flag."""

    def exists(self) -> bool:
        """Whether the flag is set."""

    def unlink(self, missing_ok: bool = False) -> None:
        """Clear the flag."""


class SharedFiles(Protocol):
    """Small files that all machines of a sweep see: heartbeats, requests to stop, records of sweeps.

    Names are relative to the storage.

    Attributes:
        fresh_every_s: Interval at which a heartbeat file is written.
        look_every_s: Shortest interval between two looks of a worker that asks after every epoch.
    """

    fresh_every_s: float
    look_every_s: float

    def read(self, name: str) -> str | None:
        """A file's text; None where there is none."""

    def write(self, name: str, text: str) -> None:
        """Write a file whole, over what was there: a reader sees the old text or the new one."""

    def create(self, name: str, text: str) -> bool:
        """Write a file unless there is one; one of several writers succeeds."""

    def refresh(self, name: str) -> None:
        """Reset the age of a file."""

    def remove(self, *names: str) -> None:
        """Remove files, as far as they exist."""

    def age_s(self, name: str) -> float | None:
        """Seconds since a file was written; None where there is none."""

    def names(self, folder: str) -> list[str]:
        """Names of the files directly in a folder, in order."""

    def folders(self, folder: str) -> list[str]:
        """Last parts of the names of the folders in a folder, in order."""

    def has_log(self, name: str) -> bool:
        """Whether there is a log."""

    def read_log(self, name: str) -> str | None:
        """All lines of a log; None where there is none."""

    def append_log(self, name: str, text: str) -> None:
        """Add lines to a log; the cost does not depend on its length."""

    def rewrite_log(self, name: str, change: Callable[[str], str]) -> None:
        """Replace a log by ``change(log)``, atomically."""

    def mark(self, name: str) -> Mark:
        """A file as a mark."""


class Item(NamedTuple):
    """A file or folder on a storage, as a listing describes it.

    Attributes:
        parts: Parts of its name, relative to the storage.
        n_bytes: Its size; links count as themselves, folders not at all.
        age_s: Seconds since it was written.
        is_folder: Whether it is a folder; a bucket has none.
        is_only_here: Whether it lies on this machine and not in the bucket.
    """

    parts: tuple[str, ...]
    n_bytes: int
    age_s: float
    is_folder: bool = False
    is_only_here: bool = False


class Store(Protocol):
    """A storage. The kinds of storage inherit the methods that need `root` and `files` alone.

    Attributes:
        root: A folder of this machine; caches and other files that are not shared lie there, too.
        place: The storage as the user names it.
        files: Small files that all machines see.
        shared_folder: The folder that all machines of a sweep must see under this path; None where the
            storage is no folder: workers get their inputs with the nodes.
    """

    root: Path
    place: str
    files: SharedFiles
    shared_folder: Path | None

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """Variables that a worker on another machine needs to open this storage; holds no secret."""

    @abstractmethod
    def snapshot(self, nodes: Iterable[tuple[str, str]] = ()) -> contextlib.AbstractContextManager[None]:
        """Context for asking about many nodes: answers may be as old as its beginning.

        Args:
            nodes: (stage, key) of nodes whose records will be read.
        """

    @abstractmethod
    def brief(self) -> contextlib.AbstractContextManager[None]:
        """Context in which an outage of the storage raises at once, without retries."""

    @abstractmethod
    def published(self, stage: str) -> list[tuple[float, str]]:
        """(Unix time, key) of the published nodes of a stage, oldest first."""

    @abstractmethod
    def stages(self) -> list[str]:
        """Names of the stages that have published nodes."""

    @abstractmethod
    def is_published(self, stage: str, key: str) -> bool:
        """Whether the node's manifest exists (written last, so its files do too)."""

    @abstractmethod
    def publish(self, out_dir: Path, record: Record) -> Path:
        """Make ``out_dir`` (of `new_out_dir`) the node's published folder, at once.

        A second builder is wasteful, never wrong: when the node is there already, ``out_dir`` is dropped.

        Returns:
            The published folder on this machine.
        """

    @abstractmethod
    def fetch(self, stage: str, key: str, check: bool = True) -> Path:
        """The folder of a published node on this machine, to be read.

        Args:
            stage: Its stage.
            key: Its key.
            check: Compare its files with the manifest, where that was not done while they were fetched.

        Raises:
            CorruptArtifactError: As `verify`.
        """

    @abstractmethod
    def fetch_file(self, stage: str, key: str, name: str) -> Path | None:
        """One file of a published node on this machine; None where the node is not published or lacks it.

        Raises:
            CorruptArtifactError: It was fetched and differs from the manifest.
        """

    @abstractmethod
    def verify(self, stage: str, key: str) -> None:
        """Compare a published node with its manifest.

        Raises:
            CorruptArtifactError: Names the first file that is missing or differs.
        """

    @abstractmethod
    def set_aside(self, stage: str, key: str) -> Path:
        """Move a damaged published folder aside, so that the node can be rebuilt.

        Raises:
            FileNotFoundError: There is none: another run has moved it.
        """

    @abstractmethod
    def record(self, stage: str, key: str) -> Record | None:
        """The record of a published node, or of a failed or pruned one; None where there is neither."""

    @abstractmethod
    def write_failure(self, record: Record) -> None:
        """Keep the record of a failed or pruned attempt in the node's working folder."""

    @abstractmethod
    def hand_over(self, stage: str, key: str, values: Mapping[str, Any]) -> None:
        """Write what a worker needs to know about a node; the worker finds the folders named in it."""

    @abstractmethod
    def handed_over(self, stage: str, key: str) -> dict[str, Any]:
        """What `hand_over` wrote for the worker of a node.

        Raises:
            FileNotFoundError: It wrote nothing.
        """

    @abstractmethod
    def take_work(self, stage: str, key: str) -> None:
        """Get the working folder of the last attempt onto this machine; call it when an attempt starts."""

    @abstractmethod
    def keep_work(self, stage: str, key: str, at_once: bool = False) -> None:
        """Save the working folder where it outlives this machine; call it when a file has changed.

        Args:
            stage: Of the node.
            key: Of the node.
            at_once: Save now; otherwise only when saving takes a small share of the time.
        """

    @abstractmethod
    def drop_work(self, stage: str, key: str) -> None:
        """Remove the working folder of a node that is published."""

    @abstractmethod
    def inventory(self) -> Iterator[Item]:
        """Everything on the storage, and what runs leave on this machine.

        In a bucket the files of a published node are listed as ``<stage>/<key>/...``, wherever they lie;
        other files there are listed below `FILES`.
        """

    @abstractmethod
    def remove(self, name: str) -> bool:
        """Remove a file or a whole folder; returns whether it no longer exists."""

    @abstractmethod
    def located(self, name: str) -> Path:
        """Path of a file or folder on this machine, or its name in a bucket."""

    def node_dir(self, stage: str, key: str) -> Path:
        """Where a node is (or will be) published on this machine."""
        return self.root / stage / key

    def new_out_dir(self, stage: str, key: str) -> Path:
        """A fresh private folder on the same file system to write outputs into."""
        path = self.root / stage / f".{key}.{uuid.uuid4().hex[:8]}"
        path.mkdir(parents=True)
        return path

    def work_dir(self, stage: str, key: str) -> Path:
        """The node's working folder, made if missing; checkpoints in it outlive the worker."""
        path = self.root / "work" / stage / key
        path.mkdir(parents=True, exist_ok=True)
        return path

    def sweep_dir(self, name: str) -> Path:
        """The folder of a sweep, made if missing."""
        path = self.root / "sweeps" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def sweeps(self) -> list[str]:
        """Names of the sweeps that this storage has seen."""
        return self.files.folders("sweeps")

    def mark(self, name: str) -> Mark:
        """A file as a mark; ``name`` may be an absolute path."""
        return self.files.mark(name)

    def read_work(self, stage: str, key: str, name: str) -> str | None:
        """The text of a file in a node's working folder on any machine; None: there is none."""
        return self.files.read(work_name(stage, key, name))

    def clear_failure(self, stage: str, key: str) -> None:
        """Remove the record of an earlier failure or pruning, so that the node is retried."""
        self.files.remove(*(work_name(stage, key, name) for name in (RECORD, PRUNE)))

    def ask_to_prune(self, stage: str, key: str, reason: str) -> None:
        """Ask the worker of a node to stop after its present epoch."""
        self.files.write(work_name(stage, key, PRUNE), reason)

    def prune_reason(self, stage: str, key: str) -> str | None:
        """Why a worker is asked to stop; None: it is not."""
        reason = self.files.read(work_name(stage, key, PRUNE))
        return reason if reason is None else reason or "pruned"
