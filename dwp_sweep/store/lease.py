"""Leases: which of the runs on one storage builds a node, so that two drivers do not build it twice.

A run takes a node's lease before it hands the node to a worker; all attempts of that run are under it, so
that a retry never waits for itself. Leases lie in the node's working folder as ``lease-1.json``,
``lease-2.json``, ...: the one with the highest number counts. Each name is given once, by a link that fails
where it exists, and whoever takes a lease over takes the next number, so that of several that see the same
run die only one follows it. A run lives while its file of presence (`live_run`) goes on changing as the
observer sees it, on the observer's own monotonic clock: no wall clock takes part. Publishing a node removes
its working folder and so its leases. Knows nothing of what is built.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from dwp_sweep.store.live_run import STALE_S, has_ended_here
from dwp_sweep.store.record import write_json
from dwp_sweep.store.store import Store

GRACE_S = 5.0
"""Workers of a driver that was killed end within this time; only then does another run follow it."""
_NAME = re.compile(r"^lease-(\d+)\.json$")


@dataclass(frozen=True)
class Holder:
    """Who has a node's lease.

    Attributes:
        run: Unique name of the run; empty: it has given the lease back.
        sweep: Its sweep.
        host: Machine of its driver.
    """

    run: str = ""
    sweep: str = ""
    host: str = ""


@dataclass
class _Seen:
    """What an observer knows of a run's file; times are of the observer's clock."""

    content: bytes
    changed_s: float
    ended_s: float | None = None


class RunWatch:
    """Tells whether other runs live, by looking at their files again and again.

    Args:
        store: The storage.
        ttl_s: A run whose file has not changed for so long is dead; far above the interval of its beats.
        clock: Seconds that only ever grow.
    """

    def __init__(
        self, store: Store, ttl_s: float = STALE_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._ttl_s, self._clock = store, ttl_s, clock
        self._seen: dict[Path, _Seen] = {}
        # Whatever is there is seen now: what turns out dead need not be watched from its first lease on.
        for path in (store.root / "sweeps").glob("*/run-*.json"):
            self._lives(path)

    def is_alive(self, holder: Holder) -> bool:
        """Whether the run that holds a lease is at work, as far as this observer has seen."""
        names = (holder.sweep, holder.run)
        if not all(names) or any(Path(name).name != name for name in names):
            return False
        return self._lives(self._store.root / "sweeps" / holder.sweep / f"run-{holder.run}.json")

    def _lives(self, path: Path) -> bool:
        now = self._clock()
        seen = self._seen.get(path)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return False
        except OSError:  # a storage that stutters says nothing about the run
            content = seen.content if seen else b""
        if seen is None or content != seen.content:
            seen = self._seen[path] = _Seen(content, now)
        if has_ended_here(path):
            seen.ended_s = now if seen.ended_s is None else seen.ended_s
            return now - seen.ended_s < GRACE_S
        return now - seen.changed_s < self._ttl_s


class Leases:
    """The leases of one run; used by its driver alone.

    Args:
        store: The storage.
        sweep: Name of the sweep.
        run: Unique name of the run, whose `Presence` is there.
        watch: Tells whether other runs live; None: a new one.
    """

    def __init__(self, store: Store, sweep: str, run: str, watch: RunWatch | None = None) -> None:
        self._store = store
        self._own = Holder(run, sweep, socket.gethostname())
        self._watch = watch or RunWatch(store)
        self._held: dict[tuple[str, str], Path] = {}

    def take(self, stage: str, key: str) -> Holder | None:
        """Take a node's lease; that of a run that has died or given it back is taken over.

        Returns:
            The live run that has it; None: it is this one's now, or was already.
        """
        folder = self._store.work_dir(stage, key)
        number = _newest(folder)
        while True:
            holder = _read(folder / _name(number))
            if holder is not None and holder.run == self._own.run:
                return None
            if holder is not None and self._watch.is_alive(holder):
                return holder
            number += 1
            if self._create(folder / _name(number)):
                if _newest(folder) == number:
                    self._held[stage, key] = folder / _name(number)
                    _remove_below(folder, number)
                    return None
                # Others took and left it between the look and the link: theirs counts.
                (folder / _name(number)).unlink(missing_ok=True)
                number = _newest(folder)

    def other(self, stage: str, key: str) -> Holder | None:
        """The other live run that has a node's lease; None: there is none."""
        found = holder_of(self._store, stage, key)
        is_other = found is not None and found.run != self._own.run and self._watch.is_alive(found)
        return found if is_other else None

    def release(self, stage: str, key: str) -> None:
        """Give a lease back, if this run still has it."""
        path = self._held.pop((stage, key), None)
        if path is None:
            return
        if self._store.is_published(stage, key):  # nobody needs the folder any more
            shutil.rmtree(path.parent, ignore_errors=True)
            return
        # Where that cannot be written (a full disk), the lease ends with the run.
        with contextlib.suppress(OSError):
            if _read(path) == self._own:
                write_json(path, asdict(Holder()), durable=False)

    def close(self) -> None:
        """Give all leases back: the run ends."""
        for stage, key in list(self._held):
            self.release(stage, key)

    def _create(self, path: Path) -> bool:
        """Whether this call made the file, which has its content from the start."""
        beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        while True:
            try:
                _write(beside, self._own)
                os.link(beside, path)
                return True
            except FileExistsError:
                return False
            except FileNotFoundError:  # the node was published: its folder has just been removed
                path.parent.mkdir(parents=True, exist_ok=True)
            finally:
                beside.unlink(missing_ok=True)


def holder_of(store: Store, stage: str, key: str) -> Holder | None:
    """Who took a node's lease last, alive or not; None: nobody has it."""
    folder = store.root / "work" / stage / key
    number = _newest(folder)
    found = _read(folder / _name(number)) if number else None
    return found if found is not None and found.run else None


def holds(store: Store, stage: str, key: str, run: str) -> bool:
    """Whether a run still has a node's lease: for its workers, who have been deposed where it has not."""
    try:
        found = holder_of(store, stage, key)
    except OSError:  # a storage that stutters deposes nobody; a second builder is wasteful, never wrong
        return True
    return found is not None and found.run == run


def _name(number: int) -> str:
    return f"lease-{number}.json"


def _newest(folder: Path) -> int:
    """The highest number of a lease in a working folder; 0: there is none."""
    try:
        found = [_NAME.match(name) for name in os.listdir(folder)]  # noqa: PTH208 - names are enough
    except FileNotFoundError:
        return 0
    return max((int(match[1]) for match in found if match), default=0)


def _remove_below(folder: Path, number: int) -> None:
    for path in folder.glob("lease-*.json"):
        match = _NAME.match(path.name)
        if match and int(match[1]) < number:
            path.unlink(missing_ok=True)


def _read(path: Path) -> Holder | None:
    """Who wrote a lease; nobody, where it holds no such thing (a machine lost power); None: no file."""
    try:
        values = json.loads(path.read_text())
        return Holder(str(values["run"]), str(values["sweep"]), str(values["host"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return Holder()


def _write(path: Path, holder: Holder) -> None:
    path.write_text(json.dumps(asdict(holder)))
