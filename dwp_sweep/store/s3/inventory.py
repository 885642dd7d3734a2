"""All that lies in a bucket, told by node, and taking things away."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from dwp_sweep.errors import CorruptArtifactError
from dwp_sweep.store.protocol import FILES, MANIFEST, Item
from dwp_sweep.store.s3.bucket import Bucket, side_by_side
from dwp_sweep.store.s3.bundle import attempt_folder, manifest_name
from dwp_sweep.store.s3.manifests import Manifests


def inventory(bucket: Bucket, manifests: Manifests) -> Iterator[Item]:
    """See `Store.inventory`; from one listing of everything, and the manifests."""
    entries = [(tuple(entry.name.split("/")), entry) for entry in bucket.entries("")]

    def valid_attempt(node: tuple[str, ...]) -> str:
        """Folder whose files count; a manifest that cannot be read makes none count."""
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
    """Remove an object, or all whose names lie below it. Of a node the manifest goes first, then its files.

    Without its manifest a node is gone: its files must not go before.
    """
    bucket.remove([manifest_name(name)])
    for start in (f"{FILES}/{name}", name):
        names = (entry.name for entry in bucket.entries(start))
        bucket.remove(n for n in names if n == start or n.startswith(f"{start}/"))
