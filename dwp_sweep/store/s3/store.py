"""The store on S3: nodes, working folders and shared files in a bucket, with a mirror on this machine.

The bucket is the truth about what is done. Stages and reports see local paths: what they read is fetched
into the mirror whole, checked, and only then put in place. A mirror may be deleted at any time while
nothing runs. Behaves as `Store` does; callers know no difference.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from dwp_sweep.atomic_write import replacing, sync_file, write_whole
from dwp_sweep.errors import CorruptArtifactError
from dwp_sweep.store.protocol import MANIFEST, NODE, PRUNE, RECORD, Store, work_name
from dwp_sweep.store.record import UNREADABLE, Record, json_text, record_of, record_values, write_json
from dwp_sweep.store.retries import brief
from dwp_sweep.store.s3 import bundle
from dwp_sweep.store.s3.bucket import Bucket, side_by_side
from dwp_sweep.store.s3.bundle import Bundle
from dwp_sweep.store.s3.files import BucketFiles
from dwp_sweep.store.s3.listing_cache import ListingCache
from dwp_sweep.store.s3.work_folder import WorkFolder
from dwp_sweep.store.shared_files import Mark

DAMAGED = "damaged"
"""Beside a manifest: its files were found to differ from it."""
SHARED_FOLDERS = ("phantom", "brought")
"""Folders of a storage that workers read besides inputs."""


class BucketStore(Store):
    """Published nodes under ``s3://bucket/prefix``.

    Args:
        bucket: Where they lie.
        mirror: A folder of this machine.
    """

    def __init__(self, bucket: Bucket, mirror: Path) -> None:
        super().__init__(mirror)
        self.bucket = bucket
        self.place = bucket.url
        self.files = BucketFiles(bucket)
        self._seen: ListingCache | None = None
        self._work: dict[tuple[str, str], WorkFolder] = {}
        self._is_shared: set[tuple[str, str]] = set()
        self._prune: dict[tuple[str, str], Mark] = {}

    @contextlib.contextmanager
    def snapshot(self, nodes: Iterable[tuple[str, str]] = ()) -> Iterator[None]:
        """See `Store`: one listing a stage answers for all its nodes."""
        outer = self._seen
        self._seen = outer or ListingCache(self.bucket)
        try:
            side_by_side(self._learn, nodes)
            yield
        finally:
            self._seen = outer

    def brief(self) -> contextlib.AbstractContextManager[None]:
        """See `Store`."""
        return brief()

    def is_published(self, stage: str, key: str) -> bool:
        """Whether the node's manifest is in the bucket."""
        if self._seen is not None:
            return self._seen.has(stage, key)
        return self.bucket.stat(bundle.manifest_name(f"{stage}/{key}")) is not None

    def published(self, stage: str) -> list[tuple[float, str]]:
        """See `Store`."""
        return (self._seen or ListingCache(self.bucket)).published(stage)

    def stages(self) -> list[str]:
        """See `Store`."""
        return sorted(name for name in self.bucket.folders(bundle.FILES + "/") if name not in SHARED_FOLDERS)

    def publish(self, out_dir: Path, record: Record) -> Path:
        """Upload, create the manifest in the bucket, then put the folder in place here.

        Where another builder was first, ``out_dir`` is dropped and the other one's files are fetched.
        """
        values = self._portable(record_values(record))
        write_json(out_dir / RECORD, values, durable=False)
        name = f"{record.stage}/{record.key}"
        uploaded = bundle.upload(self.bucket, name, out_dir, values)
        self.forget(record.stage, record.key)
        if uploaded is None:
            shutil.rmtree(out_dir)
            folder = self.fetch(record.stage, record.key)
        else:
            with self._lock(record.stage, record.key):
                folder = self._put_in_place(out_dir, uploaded, self.node_dir(record.stage, record.key))
        self.drop_work(record.stage, record.key)
        return folder

    def verify(self, stage: str, key: str) -> None:
        """See `Store`; contents are compared when they are fetched, and what was found then is told here."""
        damage = self._damage(stage, key)
        if damage is not None:
            raise CorruptArtifactError(damage)
        if not self.is_published(stage, key):
            raise CorruptArtifactError(f"{self.place}/{bundle.manifest_name(f'{stage}/{key}')} is missing")

    def fetch(self, stage: str, key: str, check: bool = True) -> Path:
        """See `Store`: downloads what this machine lacks, once more where a file arrives damaged."""
        with self._lock(stage, key):
            found = self._require(stage, key)
            folder = self.node_dir(stage, key)
            if self._is_copy(folder, found) and not (check and self._differs(stage, key)):
                return folder
            out_dir = self.new_out_dir(stage, key)
            try:
                self._twice(found, lambda: bundle.download(self.bucket, found, out_dir))
                return self._put_in_place(out_dir, found, folder)
            finally:
                shutil.rmtree(out_dir, ignore_errors=True)

    def fetch_file(self, stage: str, key: str, name: str) -> Path | None:
        """See `Store`: of a node that is not here only this file is downloaded."""
        found = self._bundle(stage, key)
        if found is None or name not in found.files:
            return None
        if self._is_copy(self.node_dir(stage, key), found):
            return self.node_dir(stage, key) / name
        path = self.root / "known" / stage / f"{key}-{found.attempt}" / name
        if not path.is_file():
            with replacing(path, durable=False) as beside:
                self._twice(found, lambda: bundle.download_file(self.bucket, found, name, beside))
        return path

    def set_aside(self, stage: str, key: str) -> Path:
        """Take a damaged node's manifest away, so that the node can be built again; `gc` takes its files.

        Raises:
            FileNotFoundError: There is none: another run has just done it.
        """
        name = bundle.manifest_name(f"{stage}/{key}")
        if not self.is_published(stage, key):
            raise FileNotFoundError(f"{self.place}/{name}")
        # Another run may have done this and built it again meanwhile: that one is sound.
        is_old_mark = bool(self._mark(stage, key)) and self._damage(stage, key) is None
        self.bucket.remove([f"{stage}/{key}/{DAMAGED}"] + ([] if is_old_mark else [name]))
        self.forget(stage, key)
        folder = self.node_dir(stage, key)
        return super().set_aside(stage, key) if folder.is_dir() else folder

    def record(self, stage: str, key: str) -> Record | None:
        """See `Store`."""
        with contextlib.suppress(CorruptArtifactError, ValueError):
            found = self._bundle(stage, key)
            if found is not None:
                return record_of(self._local(found.record), f"{self.place}/{found.name}")
        name = work_name(stage, key, RECORD)
        if self._seen is not None and not self._seen.has_work(name):
            return None
        text = self.files.read(name)
        try:
            return None if text is None else record_of(self._local(json.loads(text)), name)
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
        for folder in self._shared(places_in(values, str(self.root))):
            self._share(folder)
        self.files.write(work_name(stage, key, NODE), json_text(self._portable(values)))

    def handed_over(self, stage: str, key: str) -> dict[str, Any]:
        """See `Store`; folders named there are fetched where this machine lacks them."""
        text = self.files.read(work_name(stage, key, NODE))
        if text is None:
            raise FileNotFoundError(f"{self.place}/{work_name(stage, key, NODE)}")
        values = json.loads(text)
        for folder in self._shared(places_in(values, self.place)):
            self._fetch_shared(folder)
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
        super().drop_work(stage, key)

    def read_work(self, stage: str, key: str, name: str) -> str | None:
        """See `Store`."""
        place = work_name(stage, key, name)
        return None if self._seen is not None and not self._seen.has_work(place) else self.files.read(place)

    def forget(self, stage: str, key: str) -> None:
        """What a snapshot saw of a node is out of date."""
        if self._seen is not None:
            self._seen.forget(stage)

    def _work_folder(self, stage: str, key: str) -> WorkFolder:
        folder = WorkFolder(self.bucket, work_name(stage, key, ""), self.work_dir(stage, key))
        return self._work.setdefault((stage, key), folder)

    def _require(self, stage: str, key: str) -> Bundle:
        try:
            found = self._bundle(stage, key)
        except CorruptArtifactError as error:
            self._write_mark(f"{stage}/{key}", "", error)
            raise
        damage = self._damage(stage, key)
        if found is None or damage is not None:
            missing = f"{self.place}/{bundle.manifest_name(f'{stage}/{key}')} is missing"
            raise CorruptArtifactError(damage or missing)
        return found

    def _learn(self, node: tuple[str, str]) -> None:
        with contextlib.suppress(CorruptArtifactError):
            self._bundle(*node)

    def _bundle(self, stage: str, key: str) -> Bundle | None:
        """A node's manifest, from this machine where the listing says that it is the same."""
        tag = self._seen.tag(stage, key) if self._seen is not None else None
        if self._seen is not None and tag is None:
            return None
        known = self.root / "known" / stage / f"{key}-{(tag or '').strip(chr(34))}.json"
        with contextlib.suppress(FileNotFoundError):
            if tag is not None:
                return bundle.parse(f"{stage}/{key}", known.read_bytes())
        return self._stored(stage, key)

    def _stored(self, stage: str, key: str) -> Bundle | None:
        answer = self.bucket.read_tagged(bundle.manifest_name(f"{stage}/{key}"))
        if answer is None:
            return None
        text, tag = answer
        known = self.root / "known" / stage / f"{key}-{tag.strip(chr(34))}.json"
        known.parent.mkdir(parents=True, exist_ok=True)
        write_whole(known, text, durable=False)
        return bundle.parse(f"{stage}/{key}", text)

    def _is_copy(self, folder: Path, found: Bundle) -> bool:
        try:
            return bool(json.loads((folder / MANIFEST).read_text())["attempt"] == found.attempt)
        except (OSError, *UNREADABLE):
            return False

    def _differs(self, stage: str, key: str) -> bool:
        try:
            super().verify(stage, key)
        except CorruptArtifactError:
            return True
        return False

    def _put_in_place(self, out_dir: Path, found: Bundle, folder: Path) -> Path:
        stage, _, key = found.name.partition("/")
        files = {name: {"size": size, "sha256": digest} for name, (size, digest) in found.files.items()}
        write_json(out_dir / MANIFEST, {"key": key, "stage": stage, "attempt": found.attempt, "files": files})
        sync_file(out_dir)
        if folder.exists():
            shutil.rmtree(super().set_aside(stage, key), ignore_errors=True)
        out_dir.rename(folder)
        return folder

    def _twice(self, found: Bundle, download: Any) -> None:
        """Try again what arrived damaged; what is damaged twice is marked, so that a run builds it again."""
        try:
            download()
        except CorruptArtifactError:
            try:
                download()
            except CorruptArtifactError as error:
                self._write_mark(found.name, found.attempt, error)
                raise

    def _damage(self, stage: str, key: str) -> str | None:
        if self._seen is not None and not self._seen.is_marked(stage, key):
            return None
        mark = self._mark(stage, key)
        if not mark:
            return None
        try:
            found = self._stored(stage, key)
        except CorruptArtifactError as error:
            return str(error)
        return str(mark["why"]) if found is not None and found.attempt == mark["attempt"] else None

    def _write_mark(self, name: str, attempt: str, error: CorruptArtifactError) -> None:
        self.files.write(f"{name}/{DAMAGED}", json.dumps({"attempt": attempt, "why": str(error)}))
        self.forget(*name.split("/"))

    def _mark(self, stage: str, key: str) -> dict[str, Any]:
        text = self.files.read(f"{stage}/{key}/{DAMAGED}")
        return json.loads(text) if text else {}

    def _portable(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return replaced(values, str(self.root), self.place)

    def _local(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return replaced(values, self.place, str(self.root))

    def _shared(self, places: Iterable[str]) -> set[tuple[str, str]]:
        parts = (place.split("/") for place in places)
        return {(part[0], part[1]) for part in parts if part[0] in SHARED_FOLDERS and len(part) > 1}

    def _share(self, folder: tuple[str, str]) -> None:
        name = "/".join(folder)
        if folder in self._is_shared:
            return
        self._is_shared.add(folder)
        if self.bucket.stat(bundle.manifest_name(name)) is None and (self.root / name).is_dir():
            bundle.upload(self.bucket, name, self.root / name, {})

    def _fetch_shared(self, folder: tuple[str, str]) -> None:
        if not self.node_dir(*folder).is_dir():
            self.fetch(*folder)

    def _lock(self, stage: str, key: str) -> FileLock:
        """One process of this machine at a time: several workers need the same input at the same moment."""
        path = self.root / "locks" / f"{stage}-{key}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path, fallback_to_soft=False)


def replaced(values: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    """Values with ``new`` instead of ``old`` at the start of every path, at any depth."""
    return {name: _replaced(value, old, new) for name, value in values.items()}


def places_in(values: Any, root: str) -> Iterator[str]:
    """Paths below ``root`` that stand in values at any depth, relative to it."""
    if isinstance(values, str):
        if values.startswith(f"{root}/"):
            yield values[len(root) + 1 :]
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from places_in(value, root)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from places_in(value, root)


def _replaced(value: Any, old: str, new: str) -> Any:
    if isinstance(value, str) and (value == old or value.startswith(f"{old}/")):
        return new + value[len(old) :]
    if isinstance(value, Mapping):
        return replaced(value, old, new)
    if isinstance(value, list | tuple):
        return type(value)(_replaced(item, old, new) for item in value)
    return value
