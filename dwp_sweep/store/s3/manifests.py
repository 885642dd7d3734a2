"""The manifests in a bucket: which nodes are published, with which files, and which are damaged.

A stage's folder holds one manifest per published node and little else; a manifest that was read is kept on
this machine under its etag: one listing of a stage suffices for all nodes that have not changed. A mark
beside a manifest records for all machines that its files are damaged.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dwp_sweep.atomic_write import write_whole
from dwp_sweep.errors import CorruptArtifactError
from dwp_sweep.store.protocol import DAMAGED, FILES, Item
from dwp_sweep.store.record import MANIFEST, UNREADABLE
from dwp_sweep.store.s3 import bundle
from dwp_sweep.store.s3.bucket import Bucket, Entry, side_by_side
from dwp_sweep.store.s3.bundle import Bundle, attempt_folder, manifest_name
from dwp_sweep.strict import json_of

_MANIFEST = re.compile(rf"[^/]+/([\w-]+)/{re.escape(MANIFEST)}")
"""Name of a node's manifest; the pattern is strict, as the key becomes a folder name on this machine."""


class ListingCache:
    """Listings of a bucket, each made when it is first needed.

    Args:
        bucket: The bucket.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._stages: dict[str, dict[str, Entry]] = {}
        self._work: frozenset[str] | None = None

    def has(self, stage: str, key: str) -> bool:
        """Whether a node is published."""
        return f"{stage}/{key}/{MANIFEST}" in self._listed(stage)

    def tag(self, stage: str, key: str) -> str | None:
        """The etag of a node's manifest; None: it is not published."""
        entry = self._listed(stage).get(f"{stage}/{key}/{MANIFEST}")
        return None if entry is None else entry.etag

    def is_marked(self, stage: str, key: str) -> bool:
        """Whether a node was found to be damaged."""
        return f"{stage}/{key}/{DAMAGED}" in self._listed(stage)

    def published(self, stage: str) -> list[tuple[float, str]]:
        """(Unix time, key) of the published nodes, oldest first."""
        matches = [(_MANIFEST.fullmatch(name), entry) for name, entry in self._listed(stage).items()]
        return sorted((entry.modified_s, match[1]) for match, entry in matches if match)

    def has_work(self, name: str) -> bool:
        """Whether there is a file in a working folder."""
        if self._work is None:
            self._work = frozenset(entry.name for entry in self._bucket.entries("work/"))
        return name in self._work

    def forget(self, stage: str) -> None:
        """Drop what is known of a stage, so that the next question lists it anew."""
        self._stages.pop(stage, None)
        self._work = None

    def _listed(self, stage: str) -> dict[str, Entry]:
        if stage not in self._stages:
            self._stages[stage] = {entry.name: entry for entry in self._bucket.entries(f"{stage}/")}
        return self._stages[stage]


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

    def items(self) -> Iterator[Item]:
        """Everything in the bucket by node, see `Store.inventory`; uses one listing and the manifests."""
        entries = [(tuple(entry.name.split("/")), entry) for entry in self._bucket.entries("")]

        def valid_attempt(node: tuple[str, ...]) -> str:
            """Folder of the valid files; empty where the manifest is unreadable."""
            with contextlib.suppress(CorruptArtifactError):
                if (manifest := self.get(node[0], node[1])) is not None:
                    return attempt_folder(manifest.name, manifest.attempt)
            return ""

        nodes = [parts[:2] for parts, _ in entries if parts[2:] == (MANIFEST,)]
        with self.snapshot():
            valid = set(side_by_side(valid_attempt, nodes))
        for parts, entry in entries:
            is_valid = parts[0] == FILES and "/".join((*parts[:4], "")) in valid
            yield Item((*parts[1:3], *parts[4:]) if is_valid else parts, entry.n_bytes, entry.age_s)

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
        try:
            values = json_of(text) if text else {}
            return {name: str(values[name]) for name in ("attempt", "why")} if values else {}
        except UNREADABLE:
            return {}
