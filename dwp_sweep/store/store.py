"""Content-addressed outputs of nodes on a shared folder: the truth about what is done.

``<root>/<stage>/<key>/`` holds a published node: its files, ``record.json`` and, written last,
``manifest.json`` with sizes and checksums. ``<root>/work/<stage>/<key>/`` is the node's stable
working folder (checkpoints, history, failed record), ``<root>/sweeps/<name>/`` what belongs to a
sweep. Knows nothing of what the stages compute.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from pathlib import Path

from dwp_sweep.errors import CorruptArtifactError
from dwp_sweep.store.record import UNREADABLE, Record, read_record, write_json, write_record

MANIFEST = "manifest.json"
RECORD = "record.json"
_PRUNE = "prune"


class Store:
    """Published nodes under one root folder.

    Args:
        root: The storage folder (``--storage``); made on first use.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root).resolve()

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
        folder = self.root / "sweeps"
        return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []

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
        write_record(record, out_dir / RECORD, durable=False)  # `_entries` syncs all files
        write_json(out_dir / MANIFEST, {"key": record.key, "stage": record.stage, "files": _entries(out_dir)})
        _sync_folder(out_dir)
        final = self.node_dir(record.stage, record.key)
        try:
            out_dir.rename(final)
        except OSError:
            if not self.is_published(record.stage, record.key):
                self.set_aside(record.stage, record.key)
                out_dir.rename(final)
            else:
                shutil.rmtree(out_dir)
        _sync_folder(final.parent)
        shutil.rmtree(self.root / "work" / record.stage / record.key, ignore_errors=True)
        return final

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
        for path in (self.node_dir(stage, key) / RECORD, self.root / "work" / stage / key / RECORD):
            try:
                return read_record(path)
            except (FileNotFoundError, ValueError):
                continue
        return None

    def write_failure(self, record: Record) -> None:
        """Keep the record of a failed or pruned attempt in the node's working folder."""
        write_record(record, self.work_dir(record.stage, record.key) / RECORD)

    def clear_failure(self, stage: str, key: str) -> None:
        """Forget an earlier failure or pruning: the node is tried again."""
        for name in (RECORD, _PRUNE):
            (self.root / "work" / stage / key / name).unlink(missing_ok=True)

    def ask_to_prune(self, stage: str, key: str, reason: str) -> None:
        """Ask the worker of a node to give it up after its present epoch."""
        (self.work_dir(stage, key) / _PRUNE).write_text(reason)

    def prune_reason(self, stage: str, key: str) -> str | None:
        """Why a node shall be given up; None: it shall not."""
        try:
            return (self.root / "work" / stage / key / _PRUNE).read_text() or "given up"
        except FileNotFoundError:
            return None


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _entries(folder: Path) -> dict[str, dict[str, int | str]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    return {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": file_sha256(path)}
        for path in files
    }


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
