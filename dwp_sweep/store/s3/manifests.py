"""The manifests in a bucket: which nodes are published, with which files, and which are damaged.

A manifest that was read is kept on this machine under its etag, so that one listing of a stage suffices for
all nodes that have not changed. A mark beside a manifest records for all machines that its files are damaged.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dwp_sweep.atomic_write import write_whole
from dwp_sweep.errors import CorruptArtifactError
from dwp_sweep.store.protocol import DAMAGED
from dwp_sweep.store.s3 import bundle
from dwp_sweep.store.s3.bucket import Bucket, side_by_side
from dwp_sweep.store.s3.bundle import Bundle, manifest_name
from dwp_sweep.store.s3.listing_cache import ListingCache


class Manifests:
    """The manifests of a bucket.

    Args:
        bucket: Where they lie.
        known: Folder of this machine for those that were read.
    """

    def __init__(self, bucket: Bucket, known: Path) -> None:
        self._bucket, self._known = bucket, known
        self._listing: ListingCache | None = None

    @contextlib.contextmanager
    def snapshot(self, nodes: Iterable[tuple[str, str]] = ()) -> Iterator[None]:
        """Context in which each stage is listed once; see `Store.snapshot`."""
        outer = self._listing
        self._listing = outer or ListingCache(self._bucket)
        try:
            side_by_side(self._read, nodes)
            yield
        finally:
            self._listing = outer

    def is_published(self, stage: str, key: str) -> bool:
        """Whether there is a manifest of a node."""
        if self._listing is not None:
            return self._listing.has(stage, key)
        return self._bucket.stat(manifest_name(f"{stage}/{key}")) is not None

    def published(self, stage: str) -> list[tuple[float, str]]:
        """(Unix time, key) of the published nodes of a stage, oldest first."""
        return (self._listing or ListingCache(self._bucket)).published(stage)

    def may_have_work(self, name: str) -> bool:
        """Whether a file of a working folder may be there; False: the listing lacks it."""
        return self._listing is None or self._listing.has_work(name)

    def forget(self, stage: str) -> None:
        """Drop the listing of a stage, which is out of date."""
        if self._listing is not None:
            self._listing.forget(stage)

    def get(self, stage: str, key: str) -> Bundle | None:
        """A node's manifest, from this machine where its etag has not changed; None: there is none.

        Raises:
            CorruptArtifactError: It is unreadable.
        """
        if self._listing is None:
            return self._download(stage, key)
        tag = self._listing.tag(stage, key)
        if tag is None:
            return None
        with contextlib.suppress(FileNotFoundError):
            return bundle.parse(f"{stage}/{key}", self._known_path(stage, key, tag).read_bytes())
        return self._download(stage, key)

    def require(self, stage: str, key: str) -> Bundle:
        """The manifest of a node that is not marked as damaged.

        Raises:
            CorruptArtifactError: It is missing or unreadable, or its files are damaged.
        """
        try:
            manifest = self.get(stage, key)
        except CorruptArtifactError as error:
            self.mark_damaged(f"{stage}/{key}", "", error)
            raise
        damage = self.damage(stage, key)
        if manifest is None or damage is not None:
            raise CorruptArtifactError(damage or self.missing(stage, key))
        return manifest

    def missing(self, stage: str, key: str) -> str:
        """Message that a node has no manifest."""
        return f"{self._bucket.url}/{manifest_name(f'{stage}/{key}')} is missing"

    def damage(self, stage: str, key: str) -> str | None:
        """The recorded damage of a node's present files; None: there is none."""
        if self._listing is not None and not self._listing.is_marked(stage, key):
            return None
        mark = self._mark(stage, key)
        if not mark:
            return None
        try:
            manifest = self._download(stage, key)
        except CorruptArtifactError as error:
            return str(error)
        is_current = manifest is not None and manifest.attempt == mark["attempt"]
        return str(mark["why"]) if is_current else None

    def mark_damaged(self, name: str, attempt: str, error: CorruptArtifactError) -> None:
        """Record for all machines that the files of an attempt are damaged."""
        text = json.dumps({"attempt": attempt, "why": str(error)})
        self._bucket.write(f"{name}/{DAMAGED}", text.encode())
        self.forget(name.partition("/")[0])

    def remove(self, stage: str, key: str) -> None:
        """Remove a damaged node's mark and manifest, so that it can be built again.

        Raises:
            FileNotFoundError: There is no manifest: another run has removed it.
        """
        name = manifest_name(f"{stage}/{key}")
        if not self.is_published(stage, key):
            raise FileNotFoundError(f"{self._bucket.url}/{name}")
        # Another run may have removed the node and rebuilt it: the new one is sound.
        is_old_mark = bool(self._mark(stage, key)) and self.damage(stage, key) is None
        self._bucket.remove([f"{stage}/{key}/{DAMAGED}"] + ([] if is_old_mark else [name]))
        self.forget(stage)

    def _read(self, node: tuple[str, str]) -> None:
        with contextlib.suppress(CorruptArtifactError):
            self.get(*node)

    def _download(self, stage: str, key: str) -> Bundle | None:
        answer = self._bucket.read_tagged(manifest_name(f"{stage}/{key}"))
        if answer is None:
            return None
        text, tag = answer
        known = self._known_path(stage, key, tag)
        known.parent.mkdir(parents=True, exist_ok=True)
        write_whole(known, text, durable=False)
        return bundle.parse(f"{stage}/{key}", text)

    def _known_path(self, stage: str, key: str, tag: str) -> Path:
        return self._known / stage / f"{key}-{tag.strip(chr(34))}.json"

    def _mark(self, stage: str, key: str) -> dict[str, Any]:
        text = self._bucket.read(f"{stage}/{key}/{DAMAGED}")
        return json.loads(text) if text else {}
