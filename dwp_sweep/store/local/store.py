"""The store in a folder that all machines see, under the same path; its small files are files there."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from typing_extensions import override

from dwp_sweep import atomic_write
from dwp_sweep.atomic_write import place_beside, sync_file, write_whole
from dwp_sweep.store.protocol import NODE, RECORD, Item, Mark, SharedFiles, Store, work_name
from dwp_sweep.store.record import (
    MANIFEST,
    Record,
    check_files,
    entries_of,
    json_text,
    read_record,
    record_values,
    write_json,
    write_record,
)
from dwp_sweep.strict import json_of

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""Errors of file systems without hard links: some Windows shares, some mounted buckets."""


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

    @override
    def environment(self) -> dict[str, str]:
        """No variables: the path of the folder is enough."""
        return {}

    @override
    def snapshot(self, nodes: Iterable[tuple[str, str]] = ()) -> contextlib.AbstractContextManager[None]:
        """An empty context: reading a folder is cheap."""
        return contextlib.nullcontext()

    @override
    def brief(self) -> contextlib.AbstractContextManager[None]:
        """An empty context: a folder has no retries."""
        return contextlib.nullcontext()

    @override
    def published(self, stage: str) -> list[tuple[float, str]]:
        return sorted((node.stat().st_mtime, node.name) for node in self._nodes(stage))

    @override
    def stages(self) -> list[str]:
        stages = []
        for folder in self.files.folders(""):
            with contextlib.suppress(PermissionError):  # of a folder that is no stage
                if next(self._nodes(folder), None) is not None:
                    stages.append(folder)
        return stages

    @override
    def is_published(self, stage: str, key: str) -> bool:
        return _is_file(f"{self.root}/{stage}/{key}/{MANIFEST}")

    @override
    def publish(self, out_dir: Path, record: Record) -> Path:
        """Write the record and the manifest, sync, and rename the folder."""
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

    @override
    def fetch(self, stage: str, key: str, check: bool = True) -> Path:
        if check:
            self.verify(stage, key)
        return self.node_dir(stage, key)

    @override
    def fetch_file(self, stage: str, key: str, name: str) -> Path | None:
        path = self.node_dir(stage, key) / name
        return path if path.is_file() else None

    @override
    def verify(self, stage: str, key: str) -> None:
        check_files(self.node_dir(stage, key))

    @override
    def set_aside(self, stage: str, key: str) -> Path:
        folder = self.node_dir(stage, key)
        aside = folder.with_name(f".damaged-{key}-{uuid.uuid4().hex[:8]}")
        folder.rename(aside)
        return aside

    @override
    def record(self, stage: str, key: str) -> Record | None:
        for path in (self.node_dir(stage, key) / RECORD, self.root / work_name(stage, key, RECORD)):
            try:
                return read_record(path)
            except (FileNotFoundError, ValueError):
                continue
        return None

    @override
    def write_failure(self, record: Record) -> None:
        self.files.write(work_name(record.stage, record.key, RECORD), json_text(record_values(record)))

    @override
    def hand_over(self, stage: str, key: str, values: Mapping[str, Any]) -> None:
        write_json(self.work_dir(stage, key) / NODE, values, durable=False)

    @override
    def handed_over(self, stage: str, key: str) -> dict[str, Any]:
        values: dict[str, Any] = json_of((self.root / work_name(stage, key, NODE)).read_text())
        return values

    @override
    def take_work(self, stage: str, key: str) -> None:
        """Nothing to do: the working folder lies on the storage."""

    @override
    def keep_work(self, stage: str, key: str, at_once: bool = False) -> None:
        """Nothing to do: the working folder lies on the storage."""

    @override
    def drop_work(self, stage: str, key: str) -> None:
        shutil.rmtree(self.root / work_name(stage, key, ""), ignore_errors=True)

    @override
    def inventory(self, folder: str = "") -> Iterator[Item]:
        """Everything in the storage, or in one folder of it."""
        parts = tuple(folder.split("/")) if folder else ()
        yield from _items(self.root / folder, parts, time.time())

    @override
    def remove(self, name: str) -> bool:
        path = self.root / name
        if path == self.root or not path.is_relative_to(self.root) or ".." in path.parts:
            raise ValueError(f"{path} is not in the storage {self.root}")
        atomic_write.remove(path)
        return not path.exists() and not path.is_symlink()

    @override
    def located(self, name: str) -> Path:
        return self.root / name

    def _nodes(self, stage: str) -> Iterator[os.DirEntry[str]]:
        """The folders of the published nodes of a stage."""
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            os.scandir(self.root / stage) as entries,
        ):
            for entry in entries:
                if not entry.name.startswith(".") and _is_file(f"{entry.path}/{MANIFEST}"):
                    yield entry


class FolderFiles(SharedFiles):
    """Files in a folder that all machines mount.

    Args:
        root: The storage folder.
    """

    fresh_every_s = 2.0
    look_every_s = 0.0

    def __init__(self, root: Path) -> None:
        self._root = root

    @override
    def read(self, name: str) -> str | None:
        try:
            return (self._root / name).read_text(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return None

    @override
    def write(self, name: str, text: str) -> None:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)

    @override
    def create(self, name: str, text: str) -> bool:
        path = self._root / name
        while True:
            with contextlib.suppress(FileNotFoundError):  # its folder has just been removed
                path.parent.mkdir(parents=True, exist_ok=True)
                with place_beside(path) as beside:
                    beside.write_text(text)
                    try:
                        os.link(beside, path)
                        return True
                    except FileExistsError:
                        return False
                    except OSError as error:
                        if error.errno not in _NO_LINKS:
                            raise
                        return _made(path, text)

    @override
    def refresh(self, name: str) -> None:
        os.utime(self._root / name)

    @override
    def remove(self, *names: str) -> None:
        for name in names:
            (self._root / name).unlink(missing_ok=True)

    @override
    def age_s(self, name: str) -> float | None:
        try:
            return time.time() - (self._root / name).stat().st_mtime
        except OSError:
            return None

    @override
    def names(self, folder: str) -> list[str]:
        try:
            with os.scandir(self._root / folder) as entries:
                return sorted(f"{folder}/{entry.name}" for entry in entries if entry.is_file())
        except (FileNotFoundError, NotADirectoryError):
            return []

    @override
    def folders(self, folder: str) -> list[str]:
        try:
            with os.scandir(self._root / folder) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    @override
    def has_log(self, name: str) -> bool:
        return (self._root / name).is_file()

    @override
    def read_log(self, name: str) -> str | None:
        return self.read(name)

    @override
    def append_log(self, name: str, text: str) -> None:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(text)

    @override
    def rewrite_log(self, name: str, change: Callable[[str], str]) -> None:
        self.write(name, change(self.read(name) or ""))

    @override
    def mark(self, name: str) -> Mark:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _is_file(path: str) -> bool:
    """Whether there is a file; on strings, since `Path` is slow for tens of thousands of nodes.

    A disk that fails raises, as `Path.is_file` does: it must not say that a node is missing.
    """
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return False


def _items(folder: Path, parts: tuple[str, ...], now_s: float) -> Iterator[Item]:
    """Everything below a folder; links to folders are followed in the storage's own folder alone."""
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


def _made(path: Path, text: str) -> bool:
    """Make a file on a file system without links: readers may see it empty for a moment."""
    try:
        with path.open("x") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True
