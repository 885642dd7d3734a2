"""The store in a bucket: nodes, working folders and shared files, with a mirror on this machine.

The bucket is the truth about what is done. Stages and reports see local paths: what they read is fetched
into the mirror whole, checked, and only then put in place. A mirror may be deleted at any time while
nothing runs.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from dwp_sweep.atomic_write import replacing, sync_file
from dwp_sweep.errors import CorruptArtifactError
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.manifest import compare
from dwp_sweep.store.protocol import FILES, MANIFEST, NODE, PRUNE, RECORD, Item, Mark, Store, work_name
from dwp_sweep.store.record import UNREADABLE, Record, json_text, record_of, record_values, write_json
from dwp_sweep.store.retries import brief
from dwp_sweep.store.s3 import bundle, inventory
from dwp_sweep.store.s3.bucket import Bucket, address
from dwp_sweep.store.s3.bundle import Bundle, manifest_name
from dwp_sweep.store.s3.files import BucketFiles
from dwp_sweep.store.s3.manifests import Manifests
from dwp_sweep.store.s3.portable import places_in, replaced
from dwp_sweep.store.s3.work_folder import WorkFolder

SHARED_FOLDERS = ("phantom", "brought")
"""Folders of a storage that workers read besides inputs."""
_ONLY_HERE = ("ray", "cache")
"""Folders that lie in the mirror alone, and are not fetched again where they are removed."""


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

    def environment(self) -> dict[str, str]:
        """See `Store`: where the bucket is."""
        return address()

    def snapshot(self, nodes: Iterable[tuple[str, str]] = ()) -> contextlib.AbstractContextManager[None]:
        """See `Store`: one listing a stage answers for all its nodes."""
        return self._manifests.snapshot(nodes)

    def brief(self) -> contextlib.AbstractContextManager[None]:
        """See `Store`."""
        return brief()

    def is_published(self, stage: str, key: str) -> bool:
        """See `Store`: whether the node's manifest is in the bucket."""
        return self._manifests.is_published(stage, key)

    def published(self, stage: str) -> list[tuple[float, str]]:
        """See `Store`."""
        return self._manifests.published(stage)

    def stages(self) -> list[str]:
        """See `Store`."""
        return sorted(name for name in self.bucket.folders(f"{FILES}/") if name not in SHARED_FOLDERS)

    def publish(self, out_dir: Path, record: Record) -> Path:
        """See `Store`: upload, create the manifest in the bucket, then put the folder in place here.

        Where another builder was first, the other one's files are fetched.
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

    def verify(self, stage: str, key: str) -> None:
        """See `Store`; contents are compared when they are fetched, and what was found then is told here."""
        damage = self._manifests.damage(stage, key)
        if damage is not None:
            raise CorruptArtifactError(damage)
        if not self.is_published(stage, key):
            raise CorruptArtifactError(self._manifests.missing(stage, key))

    def fetch(self, stage: str, key: str, check: bool = True) -> Path:
        """See `Store`: downloads what this machine lacks, once more where a file arrives damaged."""
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

    def fetch_file(self, stage: str, key: str, name: str) -> Path | None:
        """See `Store`: of a node that is not here only this file is downloaded."""
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

    def set_aside(self, stage: str, key: str) -> Path:
        """See `Store`: the manifest goes, `gc` takes the files in the bucket."""
        self._manifests.remove(stage, key)
        folder = self.node_dir(stage, key)
        return self.mirror.set_aside(stage, key) if folder.is_dir() else folder

    def record(self, stage: str, key: str) -> Record | None:
        """See `Store`."""
        with contextlib.suppress(CorruptArtifactError, ValueError):
            manifest = self._manifests.get(stage, key)
            if manifest is not None:
                return record_of(self._local(manifest.record), f"{self.place}/{manifest.name}")
        text = self.read_work(stage, key, RECORD)
        try:
            return None if text is None else record_of(self._local(json.loads(text)), f"{stage}/{key}")
        except ValueError:
            return None

    def write_failure(self, record: Record) -> None:
        """See `Store`."""
        text = json_text(self._portable(record_values(record)))
        self.files.write(work_name(record.stage, record.key, RECORD), text)

    def prune_reason(self, stage: str, key: str) -> str | None:
        """See `Store`; that nobody asked is an answer of up to two seconds ago."""
        mark = self._prune.setdefault((stage, key), self.mark(work_name(stage, key, PRUNE)))
        return super().prune_reason(stage, key) if mark.exists() else None

    def clear_failure(self, stage: str, key: str) -> None:
        """See `Store`."""
        super().clear_failure(stage, key)
        self._prune.pop((stage, key), None)

    def hand_over(self, stage: str, key: str, values: Mapping[str, Any]) -> None:
        """See `Store`; folders named there that no worker may have are uploaded once."""
        for folder in _shared(places_in(values, str(self.root))):
            self._share(folder)
        self.files.write(work_name(stage, key, NODE), json_text(self._portable(values)))

    def handed_over(self, stage: str, key: str) -> dict[str, Any]:
        """See `Store`; folders named there are fetched where this machine lacks them."""
        text = self.files.read(work_name(stage, key, NODE))
        if text is None:
            raise FileNotFoundError(f"{self.place}/{work_name(stage, key, NODE)}")
        values = json.loads(text)
        for folder in _shared(places_in(values, self.place)):
            if not self.node_dir(*folder).is_dir():
                self.fetch(*folder)
        return self._local(values)

    def take_work(self, stage: str, key: str) -> None:
        """See `Store`."""
        self._work_folder(stage, key).take()

    def keep_work(self, stage: str, key: str, at_once: bool = False) -> None:
        """See `Store`; takes at most a tenth of the time, unless ``at_once``."""
        with contextlib.nullcontext() if at_once else self.brief():
            self._work_folder(stage, key).keep(at_once)

    def drop_work(self, stage: str, key: str) -> None:
        """See `Store`."""
        self.bucket.remove_folder(work_name(stage, key, ""))
        self.mirror.drop_work(stage, key)

    def read_work(self, stage: str, key: str, name: str) -> str | None:
        """See `Store`."""
        file = work_name(stage, key, name)
        return self.files.read(file) if self._manifests.may_have_work(file) else None

    def inventory(self) -> Iterator[Item]:
        """See `Store`."""
        everywhere = inventory.inventory(self.bucket, self._manifests)
        yield from (item for item in everywhere if item.parts[0] not in _ONLY_HERE)
        for folder in _ONLY_HERE:
            yield from (item._replace(is_only_here=True) for item in self.mirror.inventory(folder))

    def remove(self, name: str) -> bool:
        """See `Store`."""
        if name.startswith(tuple(f"{folder}/" for folder in _ONLY_HERE)):
            return self.mirror.remove(name)
        inventory.remove(self.bucket, name)
        self._manifests.forget(name.partition("/")[0])
        return True

    def located(self, name: str) -> Path:
        """See `Store`."""
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
        """Try once more what arrived damaged; what is damaged twice is marked, and a run builds it again."""
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
        """One process of this machine at a time: several workers need the same input at the same moment."""
        path = self.root / "locks" / f"{stage}-{key}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path, fallback_to_soft=False)


def _is_copy(folder: Path, manifest: Bundle) -> bool:
    try:
        return bool(json.loads((folder / MANIFEST).read_text())["attempt"] == manifest.attempt)
    except (OSError, *UNREADABLE):
        return False


def _differs(folder: Path) -> bool:
    try:
        compare(folder)
    except CorruptArtifactError:
        return True
    return False


def _shared(places: Iterable[str]) -> set[tuple[str, str]]:
    parts = (place.split("/") for place in places)
    return {(part[0], part[1]) for part in parts if part[0] in SHARED_FOLDERS and len(part) > 1}
