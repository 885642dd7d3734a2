"""Listings of a bucket, kept while a command asks about many nodes: one listing per stage.

A stage's folder holds one manifest per published node and little else, so that one request lists a thousand
nodes.
"""

from __future__ import annotations

import re

from dwp_sweep.store.protocol import DAMAGED, MANIFEST
from dwp_sweep.store.s3.bucket import Bucket, Entry

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
