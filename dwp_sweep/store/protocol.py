"""Content-addressed outputs of nodes on a storage: the truth about what is done.

``<root>/<stage>/<key>/`` holds a published node: its files, ``record.json`` and, written last,
``manifest.json`` with sizes and checksums. ``<root>/work/<stage>/<key>/`` is the node's stable
working folder (checkpoints, history, failed record), ``<root>/sweeps/<name>/`` what belongs to a
sweep. This is a storage in a folder that all machines see; `bucket_store` keeps the same in S3 behind the
same methods, and `open_store` chooses. Knows nothing of what the stages compute.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dwp_sweep.atomic_write import sync_file
from dwp_sweep.errors import CorruptArtifactError
from dwp_sweep.store.record import (
    UNREADABLE,
    Record,
    json_text,
    read_record,
    record_values,
    write_json,
    write_record,
)
from dwp_sweep.store.shared_files import FolderFiles, Mark, SharedFiles

MANIFEST = "manifest.json"
RECORD = "record.json"
NODE = "node.json"
PRUNE = "prune"


class Store:
    """Published nodes under one root folder.

    Args:
        root: The storage folder (``--storage``); made on first use.

    Attributes:
        root: A folder of this machine; caches and other things that need not be shared lie there, too.
        place: The storage as its user names it.
        files: Small files that all machines see.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root).resolve()
        self.place = str(self.root)
        self.files: SharedFiles = FolderFiles(self.root)

    def node_dir(self, stage: str, key: str) -> Path:
        """Where a node is (or will be) published."""
        return self.root / stage / key

    def work_dir(self, stage: str, key: str) -> Path:
        """The node's working folder, made if missing: checkpoints outlive worker and machine here."""
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
        """A file that says something by being there; an absolute path is taken as it is."""
        return self.files.mark(name)

    @contextlib.contextmanager
    def snapshot(self, nodes: Iterable[tuple[str, str]] = ()) -> Iterator[None]:
        """Context for asking about many nodes: answers may be as old as its beginning.

        Args:
            nodes: (stage, key) of nodes whose records will be read.
        """
        yield

    def brief(self) -> contextlib.AbstractContextManager[None]:
        """Context in which an outage of the storage is told at once, and not waited for."""
        return contextlib.nullcontext()

    def published(self, stage: str) -> list[tuple[float, str]]:
        """(Unix time, key) of the published nodes of a stage, oldest first."""
        folder = self.root / stage
        if not folder.is_dir():
            return []
        with os.scandir(folder) as entries:
            there = [one for one in entries if not one.name.startswith(".")]
            return sorted(
                (one.stat().st_mtime, one.name) for one in there if self.is_published(stage, one.name)
            )

    def stages(self) -> list[str]:
        """Names of the stages that have published nodes."""
        manifests = self.root.glob(f"*/*/{MANIFEST}")
        return sorted({one.parent.parent.name for one in manifests if not one.parent.name.startswith(".")})

    def is_published(self, stage: str, key: str) -> bool:
        """Whether the node's manifest exists (written last, so its files do too)."""
        return (self.node_dir(stage, key) / MANIFEST).is_file()

    def new_out_dir(self, stage: str, key: str) -> Path:
        """A fresh private folder on the same file system to write outputs into."""
        path = self.root / stage / f".{key}.{uuid.uuid4().hex[:8]}"
        path.mkdir(parents=True)
        return path

    def publish(self, out_dir: Path, record: Record) -> Path:
        """Make ``out_dir`` the node's published folder: record, manifest, fsync, rename.

        A second builder is wasteful, never wrong: when the node is there already, ``out_dir`` is dropped.

        Returns:
            The published folder.
        """
        write_record(record, out_dir / RECORD, durable=False)  # `entries_of` syncs all files
        write_json(
            out_dir / MANIFEST, {"key": record.key, "stage": record.stage, "files": entries_of(out_dir)}
        )
        sync_file(out_dir)
        final = self.node_dir(record.stage, record.key)
        try:
            out_dir.rename(final)
        except OSError:
            if not self.is_published(record.stage, record.key):
                self.set_aside(record.stage, record.key)
                out_dir.rename(final)
            else:
                shutil.rmtree(out_dir)
        sync_file(final.parent)
        self.drop_work(record.stage, record.key)
        return final

    def fetch(self, stage: str, key: str, check: bool = True) -> Path:
        """The folder of a published node on this machine, to be read.

        Args:
            stage: Its stage.
            key: Its key.
            check: Compare its files with the manifest, where that was not done while they were fetched.

        Raises:
            CorruptArtifactError: As `verify`.
        """
        if check:
            self.verify(stage, key)
        return self.node_dir(stage, key)

    def fetch_file(self, stage: str, key: str, name: str) -> Path | None:
        """One file of a published node on this machine; None where the node is not published or lacks it.

        Raises:
            CorruptArtifactError: It was fetched and differs from the manifest.
        """
        path = self.node_dir(stage, key) / name
        return path if path.is_file() else None

    def hand_over(self, stage: str, key: str, values: Mapping[str, Any]) -> None:
        """Leave what a worker needs to know about a node, and see that it finds the folders named there."""
        write_json(self.work_dir(stage, key) / NODE, values, durable=False)

    def handed_over(self, stage: str, key: str) -> dict[str, Any]:
        """What was left for the worker of a node.

        Raises:
            FileNotFoundError: Nothing was.
        """
        values: dict[str, Any] = json.loads((self.root / "work" / stage / key / NODE).read_text())
        return values

    def take_work(self, stage: str, key: str) -> None:
        """Bring the working folder to this machine, as the last attempt left it; call it at a start."""

    def keep_work(self, stage: str, key: str, at_once: bool = False) -> None:
        """Let the working folder outlive this machine, as it is now; call it when something has changed.

        Args:
            stage: Of the node.
            key: Of the node.
            at_once: Now; else when the time that keeping takes is small beside the work.
        """

    def drop_work(self, stage: str, key: str) -> None:
        """Remove the working folder of a node that is published."""
        shutil.rmtree(self.root / work_name(stage, key, ""), ignore_errors=True)

    def read_work(self, stage: str, key: str, name: str) -> str | None:
        """The text of a file in a node's working folder, wherever it is at work; None: there is none."""
        return self.files.read(work_name(stage, key, name))

    def verify(self, stage: str, key: str) -> None:
        """Compare a published node with its manifest.

        Raises:
            CorruptArtifactError: Names the first file that is missing or differs.
        """
        folder = self.node_dir(stage, key)
        try:
            files = json.loads((folder / MANIFEST).read_text())["files"]
            expected = {
                str(name): (int(entry["size"]), str(entry["sha256"])) for name, entry in files.items()
            }
        except (OSError, *UNREADABLE) as error:
            raise CorruptArtifactError(f"{folder / MANIFEST} is no manifest: {error}") from error
        for name, (size, digest) in expected.items():
            path = folder / name
            if not path.resolve().is_relative_to(folder.resolve()):
                raise CorruptArtifactError(f"{folder / MANIFEST} names a file outside its folder: {name}")
            if not path.is_file():
                raise CorruptArtifactError(f"{path} is missing")
            if path.stat().st_size != size or file_sha256(path) != digest:
                raise CorruptArtifactError(f"{path} differs from its checksum in {MANIFEST}")

    def set_aside(self, stage: str, key: str) -> Path:
        """Move a damaged published folder out of the way, so that the node can be built again."""
        folder = self.node_dir(stage, key)
        aside = folder.with_name(f".damaged-{key}-{uuid.uuid4().hex[:8]}")
        folder.rename(aside)
        return aside

    def record(self, stage: str, key: str) -> Record | None:
        """The record of a published node, else of one that failed or was pruned, else None."""
        for path in (self.node_dir(stage, key) / RECORD, self.root / work_name(stage, key, RECORD)):
            try:
                return read_record(path)
            except (FileNotFoundError, ValueError):
                continue
        return None

    def write_failure(self, record: Record) -> None:
        """Keep the record of a failed or pruned attempt in the node's working folder."""
        self.files.write(work_name(record.stage, record.key, RECORD), json_text(record_values(record)))

    def clear_failure(self, stage: str, key: str) -> None:
        """Forget an earlier failure or pruning: the node is tried again."""
        self.files.remove(*(work_name(stage, key, name) for name in (RECORD, PRUNE)))

    def ask_to_prune(self, stage: str, key: str, reason: str) -> None:
        """Ask the worker of a node to give it up after its present epoch."""
        self.files.write(work_name(stage, key, PRUNE), reason)

    def prune_reason(self, stage: str, key: str) -> str | None:
        """Why a node shall be given up; None: it shall not."""
        reason = self.files.read(work_name(stage, key, PRUNE))
        return reason if reason is None else reason or "given up"


def work_name(stage: str, key: str, name: str) -> str:
    """Name of a file in a node's working folder, relative to the storage."""
    return f"work/{stage}/{key}/{name}"


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def entries_of(folder: Path) -> dict[str, dict[str, int | str]]:
    """Size and checksum of every file but the manifest, by name; waits until the disk holds the files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    for path in files:
        sync_file(path)
    return {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": file_sha256(path)}
        for path in files
    }
