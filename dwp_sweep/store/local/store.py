"""The store in a folder that all machines see, under the same path."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dwp_sweep import atomic_write
from dwp_sweep.atomic_write import sync_file
from dwp_sweep.store.local.files import FolderFiles
from dwp_sweep.store.manifest import compare, entries_of
from dwp_sweep.store.protocol import MANIFEST, NODE, RECORD, Item, Store, work_name
from dwp_sweep.store.record import Record, json_text, read_record, record_values, write_json, write_record


class LocalStore(Store):
    """Published nodes under one root folder.

    Args:
        root: The storage folder (``--storage``); made on first use.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root).resolve()
        self.place = str(self.root)
        self.files = FolderFiles(self.root)
        self.shared_folder = self.root

    def environment(self) -> dict[str, str]:
        """See `Store`: none, the path is enough."""
        return {}

    def snapshot(self, nodes: Iterable[tuple[str, str]] = ()) -> contextlib.AbstractContextManager[None]:
        """See `Store`: a look at a folder is cheap."""
        return contextlib.nullcontext()

    def brief(self) -> contextlib.AbstractContextManager[None]:
        """See `Store`: nothing is ever waited for."""
        return contextlib.nullcontext()

    def published(self, stage: str) -> list[tuple[float, str]]:
        """See `Store`."""
        folder = self.root / stage
        if not folder.is_dir():
            return []
        with os.scandir(folder) as entries:
            there = [entry for entry in entries if not entry.name.startswith(".")]
            return sorted(
                (entry.stat().st_mtime, entry.name) for entry in there if self.is_published(stage, entry.name)
            )

    def stages(self) -> list[str]:
        """See `Store`."""
        nodes = (path.parent for path in self.root.glob(f"*/*/{MANIFEST}"))
        return sorted({node.parent.name for node in nodes if not node.name.startswith(".")})

    def is_published(self, stage: str, key: str) -> bool:
        """See `Store`."""
        return (self.node_dir(stage, key) / MANIFEST).is_file()

    def publish(self, out_dir: Path, record: Record) -> Path:
        """See `Store`: record, manifest, fsync, rename."""
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
        """See `Store`."""
        if check:
            self.verify(stage, key)
        return self.node_dir(stage, key)

    def fetch_file(self, stage: str, key: str, name: str) -> Path | None:
        """See `Store`."""
        path = self.node_dir(stage, key) / name
        return path if path.is_file() else None

    def verify(self, stage: str, key: str) -> None:
        """See `Store`."""
        compare(self.node_dir(stage, key))

    def set_aside(self, stage: str, key: str) -> Path:
        """See `Store`."""
        folder = self.node_dir(stage, key)
        aside = folder.with_name(f".damaged-{key}-{uuid.uuid4().hex[:8]}")
        folder.rename(aside)
        return aside

    def record(self, stage: str, key: str) -> Record | None:
        """See `Store`."""
        for path in (self.node_dir(stage, key) / RECORD, self.root / work_name(stage, key, RECORD)):
            try:
                return read_record(path)
            except (FileNotFoundError, ValueError):
                continue
        return None

    def write_failure(self, record: Record) -> None:
        """See `Store`."""
        self.files.write(work_name(record.stage, record.key, RECORD), json_text(record_values(record)))

    def hand_over(self, stage: str, key: str, values: Mapping[str, Any]) -> None:
        """See `Store`."""
        write_json(self.work_dir(stage, key) / NODE, values, durable=False)

    def handed_over(self, stage: str, key: str) -> dict[str, Any]:
        """See `Store`."""
        values: dict[str, Any] = json.loads((self.root / work_name(stage, key, NODE)).read_text())
        return values

    def take_work(self, stage: str, key: str) -> None:
        """See `Store`: it is there."""

    def keep_work(self, stage: str, key: str, at_once: bool = False) -> None:
        """See `Store`: it outlives the machine already."""

    def drop_work(self, stage: str, key: str) -> None:
        """See `Store`."""
        shutil.rmtree(self.root / work_name(stage, key, ""), ignore_errors=True)

    def inventory(self, folder: str = "") -> Iterator[Item]:
        """See `Store`; of one folder only, where it is named."""
        parts = tuple(folder.split("/")) if folder else ()
        yield from _items(self.root / folder, parts, time.time())

    def remove(self, name: str) -> bool:
        """See `Store`."""
        path = self.root / name
        if path == self.root or not path.is_relative_to(self.root) or ".." in path.parts:
            raise ValueError(f"{path} is not in the storage {self.root}")
        atomic_write.remove(path)
        return not path.exists() and not path.is_symlink()

    def located(self, name: str) -> Path:
        """See `Store`."""
        return self.root / name


def _items(folder: Path, parts: tuple[str, ...], now_s: float) -> Iterator[Item]:
    """All below a folder; a link in the storage's own folder may lead to another disk, deeper ones count."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        with contextlib.suppress(FileNotFoundError):
            status, name = entry.stat(follow_symlinks=False), (*parts, entry.name)
            is_folder = entry.is_dir(follow_symlinks=not parts)
            yield Item(name, 0 if is_folder else status.st_size, now_s - status.st_mtime, is_folder)
            if is_folder:
                yield from _items(folder / entry.name, name, now_s)
