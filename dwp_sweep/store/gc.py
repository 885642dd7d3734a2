"""What lies on a storage, what no sweep needs any more, and taking that away.

Nothing that a recorded sweep refers to is ever named as garbage, and nothing is removed while a run is
working on the storage. Knows only folders and keys, not what is in them.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.store import bucket_gc
from dwp_sweep.store.bucket_store import BucketStore
from dwp_sweep.store.garbage import RUN_FILE, Garbage, Survey, Usage
from dwp_sweep.store.live_run import live_runs
from dwp_sweep.store.store import Store
from dwp_sweep.store.sweep_record import is_recorded, recorded_nodes
from dwp_sweep.store.tidying import forbid_while_live, tidying

__all__ = ["Garbage", "Survey", "Usage", "collect", "forbid_while_live", "size_of", "survey"]

_KEY = re.compile(r"^[0-9a-f]{20}$")
_LEFT_OVER = re.compile(r"^\.([0-9a-f]{20})\.[0-9a-f]{8}$")
_DAMAGED = re.compile(r"^\.damaged-([0-9a-f]{20})-[0-9a-f]{8}$")
_NOT_STAGES = frozenset({"work", "sweeps", "ray", "cache", "brought", "mlartifacts", "phantom"})


def survey(store: Store, forget: Collection[str] = ()) -> Survey:
    """Look at everything on a storage; removes nothing.

    Args:
        store: The storage.
        forget: Sweeps that count as gone; their own folders are then garbage, too.

    Raises:
        InputError: A sweep to forget is not there.
    """
    _require(store, forget)
    unknown = _unrecorded(store, forget)
    found = _garbage(store, forget)
    notes = []
    if unknown:
        notes.append(
            f"published nodes all stay: what {', '.join(unknown)} needs was never recorded; "
            "run it again, or forget it"
        )
    return Survey(tuple(_usage(store)), tuple(found), tuple(notes), tuple(forget))


def collect(store: Store, found: Survey) -> int:
    """Remove what a survey named as garbage and still is; returns the bytes that are free again.

    Runs that are started meanwhile wait. What was garbage when the survey was made may be needed by a sweep
    that came between: it stays.

    Raises:
        InputError: A run is working on this storage, or another one is removing things.
    """
    freed = 0
    with tidying(store) as still_here:
        forgotten = [name for name in found.forgotten if name in store.sweeps()]
        still_garbage = {one.path for one in _garbage(store, forgotten)}
        for one in found.garbage:
            if one.path in still_garbage:
                still_here()
                freed += (
                    bucket_gc.remove(store, one) if isinstance(store, BucketStore) else _remove(store, one)
                )
    return freed


def _remove(store: Store, one: Garbage) -> int:
    if not one.path.is_relative_to(store.root) or one.path == store.root:
        raise ValueError(f"{one.path} is not in the storage {store.root}")
    if one.path.is_dir() and not one.path.is_symlink():
        shutil.rmtree(one.path, ignore_errors=True)
    else:
        one.path.unlink(missing_ok=True)
    return 0 if one.path.exists() else one.n_bytes


def _unrecorded(store: Store, forget: Collection[str]) -> list[str]:
    return [name for name in store.sweeps() if name not in forget and not is_recorded(store, name)]


def _garbage(store: Store, forget: Collection[str]) -> list[Garbage]:
    may_drop_nodes = not _unrecorded(store, forget)
    kept = _referred(store, forget)
    if isinstance(store, BucketStore):
        return [*bucket_gc.garbage(store, kept, may_drop_nodes, forget), *_of_ray(store)]
    found: list[Garbage] = []
    for stage in _stages(store):
        found += _of_stage(store.root / stage, kept, may_drop_nodes)
    found += _of_work(store, kept, may_drop_nodes)
    found += _of_ray(store)
    found += _of_sweeps(store, forget)
    return found


def _require(store: Store, names: Collection[str]) -> None:
    known = store.sweeps()
    missing = [name for name in names if name not in known]
    if missing:
        fix = "sweeps there: " + (", ".join(known) or "none")
        raise InputError(Problem(store.place, f"no sweep named {name!r}", fix) for name in missing)


def _referred(store: Store, forget: Collection[str]) -> frozenset[str]:
    names = [name for name in store.sweeps() if name not in forget]
    entries = [entry for name in names for entry in recorded_nodes(store, name)]
    return frozenset(
        key for entry in entries for key in (entry.key, *(parent for _, parent in entry.parents))
    )


def _stages(store: Store) -> list[str]:
    if not store.root.is_dir():
        return []
    return sorted(
        path.name
        for path in store.root.iterdir()
        if path.is_dir()
        and path.name not in _NOT_STAGES
        and not path.name.startswith(".")
        and _has_nodes(path)
    )


def _has_nodes(folder: Path) -> bool:
    return any(
        _KEY.match(path.name) or _LEFT_OVER.match(path.name) or _DAMAGED.match(path.name)
        for path in folder.iterdir()
    )


def _of_stage(folder: Path, kept: Collection[str], may_drop_nodes: bool) -> Iterator[Garbage]:
    for path in sorted(folder.iterdir()):
        if _DAMAGED.match(path.name):
            yield Garbage(path, size_of(path), "damaged, set aside when it was built again")
        elif _LEFT_OVER.match(path.name):
            yield Garbage(path, size_of(path), "half written by a worker that is gone")
        elif may_drop_nodes and _KEY.match(path.name) and path.name not in kept:
            yield Garbage(path, size_of(path), "no sweep refers to it")


def _of_work(store: Store, kept: Collection[str], may_drop_nodes: bool) -> Iterator[Garbage]:
    for path in sorted((store.root / "work").glob("*/*")):
        if not _KEY.match(path.name):
            continue
        if store.is_published(path.parent.name, path.name):
            yield Garbage(path, size_of(path), "working folder of a node that is published")
        elif may_drop_nodes and path.name not in kept:
            yield Garbage(path, size_of(path), "working folder of a node that no sweep refers to")


def _of_ray(store: Store) -> Iterator[Garbage]:
    live = tuple(f"-{run.run}" for run in live_runs(store))
    folder = store.root / "ray"
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not (live and path.name.endswith(live)):
            yield Garbage(path, size_of(path), "what Ray wrote in a run that has ended")


def _of_sweeps(store: Store, forget: Collection[str]) -> Iterator[Garbage]:
    live = {run.run for run in live_runs(store)}
    for name in store.sweeps():
        folder = store.root / "sweeps" / name
        if name in forget:
            yield Garbage(folder, size_of(folder), "record of a sweep to be forgotten")
            continue
        for path in sorted(folder.iterdir()):
            if RUN_FILE.match(path.name) and not any(run in path.name for run in live):
                yield Garbage(path, size_of(path), "left by a run that has ended")


def _usage(store: Store) -> Iterator[Usage]:
    if isinstance(store, BucketStore):
        yield from bucket_gc.usage(store)
        return
    stages = _stages(store)
    folders = sorted(path for path in store.root.iterdir() if path.is_dir()) if store.root.is_dir() else []
    rows = [Usage(path.name, _n_nodes(path) if path.name in stages else 0, size_of(path)) for path in folders]
    yield from sorted(rows, key=lambda row: (row.name not in stages, -row.n_bytes))


def _n_nodes(folder: Path) -> int:
    return sum(bool(_KEY.match(path.name)) for path in folder.iterdir())


def size_of(path: Path) -> int:
    """Bytes on the disk of a file or of all files in a folder; links count as themselves."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size if path.exists() or path.is_symlink() else 0
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += (Path(folder) / name).lstat().st_size
            except FileNotFoundError:
                continue
    return total
