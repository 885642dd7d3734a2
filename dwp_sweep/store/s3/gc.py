"""What lies on a storage on S3, and what of it may go: from one listing of everything.

Beside `gc`, which knows what sweeps need and whether somebody is at work. Knows only names and sizes.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from dwp_sweep.errors import CorruptArtifactError
from dwp_sweep.store.garbage import RUN_FILE, Garbage, Usage
from dwp_sweep.store.heartbeat import live_runs
from dwp_sweep.store.protocol import MANIFEST
from dwp_sweep.store.s3.bucket import Entry, side_by_side
from dwp_sweep.store.s3.bundle import FILES, attempt_folder, manifest_name, parse
from dwp_sweep.store.s3.manifests import DAMAGED
from dwp_sweep.store.s3.store import SHARED_FOLDERS, BucketStore

Node = tuple[str, str]
"""(stage, key)."""


def garbage(
    store: BucketStore, kept: Collection[str], may_drop_nodes: bool, forget: Collection[str]
) -> Iterator[Garbage]:
    """What may go.

    Args:
        store: The storage.
        kept: Keys of the nodes that sweeps refer to.
        may_drop_nodes: Whether it is known of every sweep what it refers to.
        forget: Sweeps that count as gone.
    """
    entries = store.bucket.entries("")
    published = _published(entries)
    unkept = {node for node in published if may_drop_nodes and node[1] not in kept}
    unkept = {node for node in unkept if node[0] not in SHARED_FOLDERS}
    yield from _of_nodes(entries, unkept)
    yield from _of_attempts(entries, unkept, _attempts(store, published))
    yield from _of_marks(entries, published)
    yield from _of_work(entries, published, kept, may_drop_nodes)
    yield from _of_sweeps(entries, forget, {run.run for run in live_runs(store)})


def usage(store: BucketStore) -> Iterator[Usage]:
    """Bytes by stage, then by other folder; the largest of each first."""
    entries = store.bucket.entries("")
    nodes = Counter(stage for stage, _ in _published(entries) if stage not in SHARED_FOLDERS)
    sizes: Counter[str] = Counter()
    for entry in entries:
        parts = entry.name.split("/")
        sizes[parts[1] if parts[0] == FILES else parts[0]] += entry.n_bytes
    rows = [Usage(name, nodes[name], n_bytes) for name, n_bytes in sizes.items()]
    yield from sorted(rows, key=lambda row: (not row.n_nodes, -row.n_bytes))


def remove(store: BucketStore, one: Garbage) -> int:
    """Remove something that `garbage` named, from the bucket or from the mirror; returns its bytes."""
    if one.path.is_absolute():
        if one.path.is_relative_to(store.root) and one.path != store.root:
            shutil.rmtree(one.path, ignore_errors=True)
        return one.n_bytes
    name, parts = one.path.as_posix(), one.path.parts
    if len(parts) == 3 and parts[0] != "work":
        store.bucket.remove([name])
        return one.n_bytes
    if len(parts) == 2 and parts[0] != "sweeps":
        # Without its manifest a node is gone: its files must not go before.
        store.bucket.remove([manifest_name(name)])
        store.bucket.remove_folder(f"{FILES}/{name}/")
    store.bucket.remove_folder(f"{name}/")
    return one.n_bytes


def _published(entries: Iterable[Entry]) -> set[Node]:
    parts = (entry.name.split("/") for entry in entries)
    return {(part[0], part[1]) for part in parts if len(part) == 3 and part[2] == MANIFEST}


def _attempts(store: BucketStore, published: Iterable[Node]) -> set[str]:
    """Folders whose files count; a manifest that cannot be read makes none count."""

    def attempt(node: Node) -> str:
        name = "/".join(node)
        content = store.bucket.read(manifest_name(name))
        try:
            return attempt_folder(name, parse(name, content or b"").attempt)
        except CorruptArtifactError:
            return ""

    return set(side_by_side(attempt, published))


def _of_nodes(entries: Iterable[Entry], unkept: Collection[Node]) -> Iterator[Garbage]:
    sizes = Counter(dict.fromkeys(unkept, 0))
    for entry in entries:
        parts = entry.name.removeprefix(f"{FILES}/").split("/")
        if len(parts) > 2 and (parts[0], parts[1]) in unkept:
            sizes[parts[0], parts[1]] += entry.n_bytes
    for node in sorted(sizes):
        yield Garbage(Path(*node), sizes[node], "no sweep refers to it")


def _of_attempts(
    entries: Iterable[Entry], unkept: Collection[Node], valid: Collection[str]
) -> Iterator[Garbage]:
    sizes: Counter[str] = Counter()
    for entry in entries:
        parts = entry.name.split("/")
        if parts[0] == FILES and len(parts) > 4 and (parts[1], parts[2]) not in unkept:
            sizes["/".join(parts[:4])] += entry.n_bytes
    for name in sorted(sizes):
        if f"{name}/" not in valid:
            yield Garbage(Path(name), sizes[name], "half uploaded, or damaged and built again")


def _of_marks(entries: Iterable[Entry], published: Collection[Node]) -> Iterator[Garbage]:
    for entry in entries:
        parts = entry.name.split("/")
        if len(parts) == 3 and parts[2] == DAMAGED and (parts[0], parts[1]) not in published:
            yield Garbage(Path(entry.name), entry.n_bytes, "mark of a damaged node that is gone")


def _of_work(
    entries: Iterable[Entry], published: Collection[Node], kept: Collection[str], may_drop_nodes: bool
) -> Iterator[Garbage]:
    sizes: Counter[Node] = Counter()
    for entry in entries:
        parts = entry.name.split("/")
        if parts[0] == "work" and len(parts) > 3:
            sizes[parts[1], parts[2]] += entry.n_bytes
    for node in sorted(sizes):
        if node in published:
            yield Garbage(Path("work", *node), sizes[node], "working folder of a node that is published")
        elif may_drop_nodes and node[1] not in kept:
            yield Garbage(
                Path("work", *node), sizes[node], "working folder of a node that no sweep refers to"
            )


def _of_sweeps(entries: Iterable[Entry], forget: Collection[str], live: Collection[str]) -> Iterator[Garbage]:
    forgotten = Counter(dict.fromkeys(forget, 0))
    for entry in entries:
        parts = entry.name.split("/")
        if parts[0] != "sweeps" or len(parts) < 3:
            continue
        if parts[1] in forget:
            forgotten[parts[1]] += entry.n_bytes
        elif RUN_FILE.match(parts[2]) and not any(run in parts[2] for run in live):
            yield Garbage(Path(entry.name), entry.n_bytes, "left by a run that has ended")
    for name in forget:
        yield Garbage(Path("sweeps", name), forgotten[name], "record of a sweep to be forgotten")
