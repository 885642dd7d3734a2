"""The store in a bucket: nodes, working folders and shared files, with a mirror on this machine.

The bucket decides which nodes are done. Stages and reports get local paths: a node is downloaded into the
mirror whole, checked, and then moved to its place. A mirror may be deleted while nothing runs.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock
from typing_extensions import override

from dwp_sweep.atomic_write import replacing, sync_file
from dwp_sweep.errors import CorruptArtifactError
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import FILES, NODE, PRUNE, RECORD, Item, Mark, Store, work_name
from dwp_sweep.store.record import (
    MANIFEST,
    UNREADABLE,
    Record,
    check_files,
    json_text,
    record_of,
    record_values,
    write_json,
)
from dwp_sweep.store.s3 import bundle
from dwp_sweep.store.s3.bucket import Bucket, address
from dwp_sweep.store.s3.bundle import Bundle, manifest_name
from dwp_sweep.store.s3.files import BucketFiles, places_in, replaced
from dwp_sweep.store.s3.manifests import Manifests
from dwp_sweep.store.s3.retries import brief
from dwp_sweep.store.s3.work_folder import WorkFolder
from dwp_sweep.strict import json_of

SHARED_FOLDERS = ("phantom", "brought")
"""Folders of a storage that workers read besides inputs."""
_ONLY_HERE = ("ray", "cache")
"""Folders that lie in the mirror alone; the bucket has no copy of them."""


class BucketStore(Store):
    """Published nodes under ``s3://bucket/prefix``.

    Args:
        bucket: Where they lie.
        mirror: A folder of this machine.
    """

    def __init__(self, bucket: Bucket, mirror: Path) -> None:
        self.bucket = bucket
        self.mirror = LocalStore(mirror)
        self.root = self.mirror.root
        self.place = bucket.url
        self.files = BucketFiles(bucket)
        self.shared_folder = None
        self._manifests = Manifests(bucket, self.root / "known")
        self._work: dict[tuple[str, str], WorkFolder] = {}
        self._is_shared: set[tuple[str, str]] = set()
        self._prune: dict[tuple[str, str], Mark] = {}

    @override
    def environment(self) -> dict[str, str]:
        """Address of the server and region of the bucket."""
        return address()

    @override
    def snapshot(self, nodes: Iterable[tuple[str, str]] = ()) -> contextlib.AbstractContextManager[None]:
        """Context in which one listing of a stage answers for all its nodes."""
        return self._manifests.snapshot(nodes)

    @override
    def brief(self) -> contextlib.AbstractContextManager[None]:
        return brief()

    @override
    def is_published(self, stage: str, key: str) -> bool:
        """Whether the node's manifest is in the bucket."""
        return self._manifests.is_published(stage, key)

    @override
    def published(self, stage: str) -> list[tuple[float, str]]:
        return self._manifests.published(stage)

    @override
    def stages(self) -> list[str]:
        return sorted(name for name in self.bucket.folders(f"{FILES}/") if name not in SHARED_FOLDERS)

    @override
    def publish(self, out_dir: Path, record: Record) -> Path:
        """Upload the folder, create the manifest in the bucket, and move the folder to its place here.

        Where another builder was first, its files are fetched.
        """
        stage, key = record.stage, record.key
        values = self._portable(record_values(record))
        write_json(out_dir / RECORD, values, durable=False)
        uploaded = bundle.upload(self.bucket, f"{stage}/{key}", out_dir, values)
        self._manifests.forget(stage)
        if uploaded is None:
            shutil.rmtree(out_dir)
            folder = self.fetch(stage, key)
        else:
            with self._lock(stage, key):
                folder = self._put_in_place(out_dir, uploaded, self.node_dir(stage, key))
        self.drop_work(stage, key)
        return folder

    @override
    def verify(self, stage: str, key: str) -> None:
        """Raise the damage that a fetch has recorded; only a fetch compares contents."""
        damage = self._manifests.damage(stage, key)
        if damage is not None:
            raise CorruptArtifactError(damage)
        if not self.is_published(stage, key):
            raise CorruptArtifactError(self._manifests.missing(stage, key))

    @override
    def fetch(self, stage: str, key: str, check: bool = True) -> Path:
        """Download what this machine lacks; a damaged file is downloaded a second time."""
        with self._lock(stage, key):
            manifest = self._manifests.require(stage, key)
            folder = self.node_dir(stage, key)
            if _is_copy(folder, manifest) and not (check and _differs(folder)):
                return folder
            out_dir = self.new_out_dir(stage, key)
            try:
                self._twice(manifest, lambda: bundle.download(self.bucket, manifest, out_dir))
                return self._put_in_place(out_dir, manifest, folder)
            finally:
                shutil.rmtree(out_dir, ignore_errors=True)

    @override
    def fetch_file(self, stage: str, key: str, name: str) -> Path | None:
        """One file; the other files of the node are not downloaded."""
        manifest = self._manifests.get(stage, key)
        if manifest is None or name not in manifest.files:
            return None
        if _is_copy(self.node_dir(stage, key), manifest):
            return self.node_dir(stage, key) / name
        path = self.root / "known" / stage / f"{key}-{manifest.attempt}" / name
        if not path.is_file():
            with replacing(path, durable=False) as beside:
                self._twice(manifest, lambda: bundle.download_file(self.bucket, manifest, name, beside))
        return path

    @override
    def set_aside(self, stage: str, key: str) -> Path:
        """Remove the manifest; `gc` removes the files in the bucket."""
        self._manifests.remove(stage, key)
        folder = self.node_dir(stage, key)
        return self.mirror.set_aside(stage, key) if folder.is_dir() else folder

    @override
    def record(self, stage: str, key: str) -> Record | None:
        with contextlib.suppress(CorruptArtifactError, ValueError):
            manifest = self._manifests.get(stage, key)
            if manifest is not None:
                return record_of(self._local(manifest.record), f"{self.place}/{manifest.name}")
        text = self.read_work(stage, key, RECORD)
        try:
            return None if text is None else record_of(self._local(json_of(text)), f"{stage}/{key}")
        except UNREADABLE:
            return None

    @override
    def write_failure(self, record: Record) -> None:
        text = json_text(self._portable(record_values(record)))
        self.files.write(work_name(record.stage, record.key, RECORD), text)

    @override
    def prune_reason(self, stage: str, key: str) -> str | None:
        """As in a folder, but a negative answer is up to two seconds old."""
        mark = self._prune.setdefault((stage, key), self.mark(work_name(stage, key, PRUNE)))
        return super().prune_reason(stage, key) if mark.exists() else None

    @override
    def clear_failure(self, stage: str, key: str) -> None:
        super().clear_failure(stage, key)
        self._prune.pop((stage, key), None)

    @override
    def hand_over(self, stage: str, key: str, values: Mapping[str, Any]) -> None:
        """Write the values; folders named there that workers may lack are uploaded once."""
        for folder in _shared(places_in(values, str(self.root))):
            self._share(folder)
        self.files.write(work_name(stage, key, NODE), json_text(self._portable(values)))

    @override
    def handed_over(self, stage: str, key: str) -> dict[str, Any]:
        """Read the values; folders named there are fetched where this machine lacks them."""
        text = self.files.read(work_name(stage, key, NODE))
        if text is None:
            raise FileNotFoundError(f"{self.place}/{work_name(stage, key, NODE)}")
        values = json_of(text)
        for folder in _shared(places_in(values, self.place)):
            if not self.node_dir(*folder).is_dir():
                self.fetch(*folder)
        return self._local(values)

    @override
    def take_work(self, stage: str, key: str) -> None:
        self._work_folder(stage, key).take()

    @override
    def keep_work(self, stage: str, key: str, at_once: bool = False) -> None:
        """Upload the changes; takes at most a tenth of the time, unless ``at_once``."""
        with contextlib.nullcontext() if at_once else self.brief():
            self._work_folder(stage, key).keep(at_once)

    @override
    def drop_work(self, stage: str, key: str) -> None:
        self.bucket.remove_folder(work_name(stage, key, ""))
        self.mirror.drop_work(stage, key)

    @override
    def read_work(self, stage: str, key: str, name: str) -> str | None:
        file = work_name(stage, key, name)
        return self.files.read(file) if self._manifests.may_have_work(file) else None

    @override
    def inventory(self) -> Iterator[Item]:
        yield from (item for item in self._manifests.items() if item.parts[0] not in _ONLY_HERE)
        for folder in _ONLY_HERE:
            yield from (item._replace(is_only_here=True) for item in self.mirror.inventory(folder))

    @override
    def remove(self, name: str) -> bool:
        if name.startswith(tuple(f"{folder}/" for folder in _ONLY_HERE)):
            return self.mirror.remove(name)
        # A manifest makes a node valid: it must not outlive the files.
        self.bucket.remove([manifest_name(name)])
        for start in (f"{FILES}/{name}", name):
            names = (entry.name for entry in self.bucket.entries(start))
            self.bucket.remove(below for below in names if below == start or below.startswith(f"{start}/"))
        self._manifests.forget(name.partition("/")[0])
        return True

    @override
    def located(self, name: str) -> Path:
        return self.root / name if name.partition("/")[0] in _ONLY_HERE else Path(name)

    def _work_folder(self, stage: str, key: str) -> WorkFolder:
        folder = WorkFolder(self.bucket, work_name(stage, key, ""), self.work_dir(stage, key))
        return self._work.setdefault((stage, key), folder)

    def _put_in_place(self, out_dir: Path, manifest: Bundle, folder: Path) -> Path:
        stage, _, key = manifest.name.partition("/")
        files = {name: {"size": size, "sha256": digest} for name, (size, digest) in manifest.files.items()}
        values = {"key": key, "stage": stage, "attempt": manifest.attempt, "files": files}
        write_json(out_dir / MANIFEST, values)
        sync_file(out_dir)
        if folder.exists():
            shutil.rmtree(self.mirror.set_aside(stage, key), ignore_errors=True)
        out_dir.rename(folder)
        return folder

    def _twice(self, manifest: Bundle, download: Callable[[], None]) -> None:
        """Repeat a download that arrived damaged; after the second failure the node is marked as damaged."""
        try:
            download()
        except CorruptArtifactError:
            try:
                download()
            except CorruptArtifactError as error:
                self._manifests.mark_damaged(manifest.name, manifest.attempt, error)
                raise

    def _portable(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return replaced(values, str(self.root), self.place)

    def _local(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return replaced(values, self.place, str(self.root))

    def _share(self, folder: tuple[str, str]) -> None:
        name = "/".join(folder)
        if folder in self._is_shared:
            return
        self._is_shared.add(folder)
        if self.bucket.stat(manifest_name(name)) is None and (self.root / name).is_dir():
            bundle.upload(self.bucket, name, self.root / name, {})

    def _lock(self, stage: str, key: str) -> FileLock:
        """Lock between the processes of this machine: several workers may need the same input at once."""
        path = self.root / "locks" / f"{stage}-{key}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path, fallback_to_soft=False)


def _is_copy(folder: Path, manifest: Bundle) -> bool:
    try:
        return bool(json_of((folder / MANIFEST).read_text())["attempt"] == manifest.attempt)
    except (OSError, *UNREADABLE):
        return False


def _differs(folder: Path) -> bool:
    try:
        check_files(folder)
    except CorruptArtifactError:
        return True
    return False


def _shared(places: Iterable[str]) -> set[tuple[str, str]]:
    parts = (place.split("/") for place in places)
    return {(part[0], part[1]) for part in parts if part[0] in SHARED_FOLDERS and len(part) > 1}
