"""Listing of everything in a bucket by node, and removal from it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from dwp_sweep.errors import CorruptArtifactError
from dwp_sweep.store.protocol import FILES, MANIFEST, Item
from dwp_sweep.store.s3.bucket import Bucket, side_by_side
from dwp_sweep.store.s3.bundle import attempt_folder, manifest_name
from dwp_sweep.store.s3.manifests import Manifests


def inventory(bucket: Bucket, manifests: Manifests) -> Iterator[Item]:
    """See `Store.inventory`; uses one listing of everything and the manifests."""
    entries = [(tuple(entry.name.split("/")), entry) for entry in bucket.entries("")]

    def valid_attempt(node: tuple[str, ...]) -> str:
        """Folder of the valid files; empty where the manifest is unreadable."""
        with contextlib.suppress(CorruptArtifactError):
            if (manifest := manifests.get(node[0], node[1])) is not None:
                return attempt_folder(manifest.name, manifest.attempt)
        return ""

    nodes = [parts[:2] for parts, _ in entries if parts[2:] == (MANIFEST,)]
    with manifests.snapshot():
        valid = set(side_by_side(valid_attempt, nodes))
    for parts, entry in entries:
        is_valid = parts[0] == FILES and "/".join((*parts[:4], "")) in valid
        yield Item((*parts[1:3], *parts[4:]) if is_valid else parts, entry.n_bytes, entry.age_s)


def remove(bucket: Bucket, name: str) -> None:
    """Remove an object, or all objects below a name; of a node the manifest first, then its files.

    A manifest makes a node valid: it must not outlive the files.
    """
    bucket.remove([manifest_name(name)])
    for start in (f"{FILES}/{name}", name):
        names = (entry.name for entry in bucket.entries(start))
        bucket.remove(below for below in names if below == start or below.startswith(f"{start}/"))
