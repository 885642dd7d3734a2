"""Garbage collection of a storage: what lies on it, what no sweep needs, and the removal of that.

One listing of a storage of any kind gives the sizes; the names in it decide what is garbage. What a recorded
sweep refers to is never garbage, and nothing is removed while a run is working on the storage.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from dwp_sweep.atomic_write import is_left_over
from dwp_sweep.errors import InputError
from dwp_sweep.store.heartbeat import gc_lock, live_runs
from dwp_sweep.store.protocol import DAMAGED, FILES, Item, Store
from dwp_sweep.store.record import MANIFEST
from dwp_sweep.store.sweep_record import is_recorded, recorded_nodes, unknown_sweep

_KEY = re.compile(r"^[0-9a-f]{20}$")
_HALF_WRITTEN = re.compile(r"^\.([0-9a-f]{20})\.[0-9a-f]{8}$")
_SET_ASIDE = re.compile(r"^\.damaged-([0-9a-f]{20})-[0-9a-f]{8}$")
_RUN_FILE = re.compile(r"^(run-.+\.json|stop-.+|hold-.+)$")
"""What a run leaves in its sweep's folder."""
_NO_STAGES = frozenset({FILES, "work", "sweeps", "ray", "cache", "brought", "mlartifacts", "phantom"})
_TEMPORARY = "temporary, of a writer that is gone"
_WITH_TEMPORARY = frozenset({"work", "sweeps", "cache", "brought", "phantom"})


@dataclass(frozen=True)
class Garbage:
    """A file or folder that may be removed.

    Attributes:
        name: Its name on the storage.
        path: Folder or file; in a bucket its name.
        n_bytes: Its size.
        why: Why it may be removed, for people.
    """

    name: str
    path: Path
    n_bytes: int
    why: str


@dataclass(frozen=True)
class Usage:
    """Disk use of one part of a storage.

    Attributes:
        name: A stage, or another folder of the storage.
        n_nodes: Number of published nodes; 0 where it is no stage.
        n_bytes: Size of everything in it.
    """

    name: str
    n_nodes: int
    n_bytes: int


@dataclass(frozen=True)
class Survey:
    """What lies on a storage.

    Attributes:
        usage: Stages first, then the other folders; the largest of each first.
        garbage: What may be removed.
        notes: Remarks for people, e.g. why no published node may be removed.
        forgotten: Sweeps that the survey treated as removed.
    """

    usage: tuple[Usage, ...]
    garbage: tuple[Garbage, ...]
    notes: tuple[str, ...] = ()
    forgotten: tuple[str, ...] = ()

    @property
    def n_bytes_garbage(self) -> int:
        """Bytes that a removal would free."""
        return sum(part.n_bytes for part in self.garbage)


def survey(store: Store, forget: Collection[str] = ()) -> Survey:
    """List everything on a storage; removes nothing.

    Args:
        store: The storage.
        forget: Sweeps to treat as removed; their own folders are then garbage, too.

    Raises:
        InputError: A sweep to forget does not exist.
    """
    known = store.sweeps()
    if missing := [name for name in forget if name not in known]:
        raise InputError(unknown_sweep(store.place, name, known, "sweeps there: none") for name in missing)
    notes = []
    if unrecorded := _unrecorded(store, forget):
        notes.append(
            f"published nodes all stay: what {', '.join(unrecorded)} needs was never recorded; "
            "run it again, or forget it"
        )
    items = list(store.inventory())
    return Survey(tuple(_usage(items)), tuple(_garbage(store, items, forget)), tuple(notes), tuple(forget))


def collect(store: Store, earlier: Survey) -> int:
    """Remove the garbage of a survey, as far as it is still garbage; returns the number of bytes freed.

    Runs that start in this time wait. What a sweep has come to need since the survey stays.

    Raises:
        InputError: A run is working on this storage, or another one is removing things.
    """
    freed = 0
    with gc_lock(store) as still_here:
        forgotten = [name for name in earlier.forgotten if name in store.sweeps()]
        still_garbage = {part.name for part in _garbage(store, store.inventory(), forgotten)}
        for part in earlier.garbage:
            if part.name in still_garbage:
                still_here()
                freed += part.n_bytes if store.remove(part.name) else 0
    return freed


def _unrecorded(store: Store, forget: Collection[str]) -> list[str]:
    return [name for name in store.sweeps() if name not in forget and not is_recorded(store, name)]


def _usage(items: Iterable[Item]) -> list[Usage]:
    sizes: Counter[str] = Counter()
    nodes: set[tuple[str, str]] = set()
    for item in items:
        parts = item.parts
        if item.is_only_here or (len(parts) == 1 and not item.is_folder):
            continue
        sizes[parts[1] if parts[0] == FILES else parts[0]] += item.n_bytes
        if parts[0] not in _NO_STAGES and len(parts) > 1 and _KEY.match(parts[1]) and parts[2:] != (DAMAGED,):
            nodes.add((parts[0], parts[1]))
    n_nodes = Counter(stage for stage, _ in nodes)
    rows = [Usage(name, n_nodes[name], n_bytes) for name, n_bytes in sizes.items()]
    return sorted(rows, key=lambda row: (not row.n_nodes, -row.n_bytes, row.name))


def _garbage(store: Store, items: Iterable[Item], forget: Collection[str]) -> list[Garbage]:
    """The garbage: nodes first, then working folders, then the rest."""
    items = list(items)
    rules = _Rules(
        published=frozenset(item.parts[:2] for item in items if item.parts[2:] == (MANIFEST,)),
        kept=_referred(store, forget),
        may_drop_nodes=not _unrecorded(store, forget),
        forget=frozenset(forget),
        live=tuple(run.run for run in live_runs(store)),
    )
    sizes: Counter[tuple[str, str]] = Counter()
    youngest_s: dict[str, float] = {}
    for item in items:
        if (reason := rules.reason(item.parts)) is not None:
            depth, why = reason
            name = "/".join(item.parts[:depth])
            sizes[name, why] += item.n_bytes
            youngest_s[name] = min(item.age_s, youngest_s.get(name, item.age_s))
    return [
        Garbage(name, store.located(name), n_bytes, why)
        for (name, why), n_bytes in sorted(sizes.items(), key=lambda row: _place(row[0][0]))
        if why != _TEMPORARY or is_left_over(name.rpartition("/")[2], youngest_s[name])
    ]


@dataclass(frozen=True)
class _Rules:
    """Decides by its name why something may be removed.

    Attributes:
        published: (stage, key) of the published nodes.
        kept: Keys of the nodes that sweeps refer to.
        may_drop_nodes: Whether the nodes of every sweep are recorded.
        forget: Sweeps to treat as removed.
        live: Names of the runs that are working.
    """

    published: frozenset[tuple[str, ...]]
    kept: frozenset[str]
    may_drop_nodes: bool
    forget: frozenset[str]
    live: tuple[str, ...]

    def reason(self, parts: tuple[str, ...]) -> tuple[int, str] | None:
        """How many leading parts of the name are removed as one, and why; None: it stays."""
        top, n_parts = parts[0], len(parts)
        if top == FILES:
            return (4, "half uploaded, or damaged and built again") if n_parts > 4 else None
        if n_parts < 2 or top.startswith("."):
            return None
        if top not in _NO_STAGES:
            return self._of_stage(parts)
        if top == "ray":
            is_live = parts[1].endswith(tuple(f"-{run}" for run in self.live))
            return None if is_live else (2, "what Ray wrote in a run that has ended")
        reason = None
        if top == "work" and n_parts > 2:
            reason = self._of_work(parts)
        elif top == "sweeps":
            reason = self._of_sweep(parts)
        if reason is None and top in _WITH_TEMPORARY:
            depth = next((at for at, part in enumerate(parts) if is_left_over(part, math.inf)), None)
            reason = None if depth is None else (depth + 1, _TEMPORARY)
        return reason

    def _of_stage(self, parts: tuple[str, ...]) -> tuple[int, str] | None:
        name = parts[1]
        if _SET_ASIDE.match(name):
            return 2, "damaged, set aside when it was built again"
        if _HALF_WRITTEN.match(name):
            return 2, "half written by a worker that is gone"
        if parts[2:] == (DAMAGED,) and parts[:2] not in self.published:
            return 3, "mark of a damaged node that is gone"
        return (2, "no sweep refers to it") if self._is_unneeded(name) else None

    def _of_work(self, parts: tuple[str, ...]) -> tuple[int, str] | None:
        if parts[1:3] in self.published:
            return 3, "working folder of a node that is published"
        is_unneeded = self._is_unneeded(parts[2])
        return (3, "working folder of a node that no sweep refers to") if is_unneeded else None

    def _of_sweep(self, parts: tuple[str, ...]) -> tuple[int, str] | None:
        if parts[1] in self.forget:
            return 2, "record of a sweep to be forgotten"
        is_of_run = len(parts) == 3 and _RUN_FILE.match(parts[2])
        if is_of_run and not any(run in parts[2] for run in self.live):
            return 3, "left by a run that has ended"
        return None

    def _is_unneeded(self, key: str) -> bool:
        return self.may_drop_nodes and key not in self.kept and _KEY.match(key) is not None


def _place(name: str) -> tuple[int, str]:
    """Key that sorts the garbage."""
    top = name.partition("/")[0]
    order = (FILES, "work", "ray", "sweeps")
    return (order.index(top) + 1 if top in order else len(order) + 1 if top in _NO_STAGES else 0), name


def _referred(store: Store, forget: Collection[str]) -> frozenset[str]:
    names = [name for name in store.sweeps() if name not in forget]
    entries = [entry for name in names for entry in recorded_nodes(store, name)]
    return frozenset(
        key for entry in entries for key in (entry.key, *(parent for _, parent in entry.parents))
    )
