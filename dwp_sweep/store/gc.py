"""What lies on a storage, what no sweep needs any more, and taking that away.

Nothing that a recorded sweep refers to is ever named as garbage, and nothing is removed while a run is
working on the storage. Knows only folders and keys, not what is in them.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.store.garbage import RUN_FILE, Garbage, Survey, Usage
from dwp_sweep.store.heartbeat import LiveRun, live_runs, read_alive, this_process
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import json_text
from dwp_sweep.store.s3 import gc as bucket_gc
from dwp_sweep.store.s3.store import BucketStore
from dwp_sweep.store.sweep_record import is_recorded, recorded_nodes

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


_PATIENCE_S = 60.0
_LOOK_EVERY_S = 0.2
_NAME = "gc.json"


@contextlib.contextmanager
def tidying(store: Store) -> Iterator[Callable[[], None]]:
    """Context in which things may be removed; runs that are started meanwhile wait for its end.

    Yields:
        To be called now and then: tells other machines that this one is still at work.

    Raises:
        InputError: A run, or somebody else who removes, is working on this storage.
    """
    _announce(store)
    try:
        forbid_while_live(store)
        yield lambda: store.files.refresh(_NAME)
    finally:
        store.files.remove(_NAME)


def forbid_while_live(store: Store) -> None:
    """Make sure that no run is working on a storage.

    Raises:
        InputError: One is; names it.
    """
    runs = live_runs(store)
    if runs:
        who = ", ".join(f"{run.sweep} (process {run.pid} on {run.host})" for run in runs)
        what = f"a run is working on it: {who}"
        raise InputError(Problem(store.place, what, f"wait, or: dwp-sweep cancel {runs[0].sweep}"))


def wait_for_tidying(store: Store, patience_s: float = _PATIENCE_S) -> bool:
    """Wait until nobody removes anything from a storage; call it after announcing a run.

    Args:
        store: The storage.
        patience_s: Longest time to wait.

    Returns:
        Whether there was anybody to wait for.

    Raises:
        InputError: It takes longer.
    """
    until_s = time.monotonic() + patience_s
    other = tidier(store)
    was_busy = other is not None
    while other is not None:
        if time.monotonic() >= until_s:
            what = f"process {other.pid} on {other.host} is removing what no sweep needs (dwp-sweep gc)"
            raise InputError(Problem(store.place, what, "try again when it has ended"))
        time.sleep(_LOOK_EVERY_S)
        other = tidier(store)
    return was_busy


def tidier(store: Store) -> LiveRun | None:
    """Who is removing things from a storage now; None: nobody."""
    return read_alive(store, _NAME)


def _announce(store: Store) -> None:
    """Write who removes; of two at the same moment one is refused, since the file is made only once."""
    who = {"sweep": "", "run": "gc", **this_process(), "started_ms": time.time_ns() // 1_000_000}
    if tidier(store) is None:
        store.files.remove(_NAME)  # left by one that was killed
    if not store.files.create(_NAME, json_text(who)):
        what = "another dwp-sweep gc is removing things there"
        raise InputError(Problem(store.place, what, "try again when it has ended"))
