"""Leases: which of the runs on one storage builds a node, so that two drivers do not build it twice.

A run takes a node's lease before it hands the node to a worker; all attempts of that run are under it, so
that a retry never waits for itself. Leases lie in the node's working folder as ``lease-1.json``,
``lease-2.json``, ...: the one with the highest number counts. Each name is given once, since making a file
that is there fails, in a folder as in a bucket. Whoever takes a lease over takes the next number, so that of
several that see the same run die only one follows it. A run lives while its file of presence (`live_run`)
goes on changing as the observer sees it, on the observer's own monotonic clock: no wall clock takes part.
Publishing a node removes its working folder and so its leases. Knows nothing of what is built.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from dwp_sweep.store.heartbeat import STALE_S, has_ended_here, run_name, run_names
from dwp_sweep.store.protocol import Store, work_name
from dwp_sweep.store.record import UNREADABLE

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

    content: str
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
        self._seen: dict[str, _Seen] = {}
        # Whatever is there is seen now: what turns out dead need not be watched from its first lease on.
        for name in run_names(store):
            self._lives(name)

    def is_alive(self, holder: Holder) -> bool:
        """Whether the run that holds a lease is at work, as far as this observer has seen."""
        names = (holder.sweep, holder.run)
        if not all(names) or any(Path(name).name != name for name in names):
            return False
        return self._lives(run_name(holder.sweep, holder.run))

    def _lives(self, name: str) -> bool:
        now = self._clock()
        seen = self._seen.get(name)
        try:
            content = self._store.files.read(name)
        except OSError:
            # A storage that stutters says nothing about the run, whose beats could not get there either.
            self._seen[name] = _Seen(seen.content if seen else "", now)
            return True
        if content is None:
            return False
        if seen is None or content != seen.content:
            seen = self._seen[name] = _Seen(content, now)
        if has_ended_here(self._store, name):
            seen.ended_s = now if seen.ended_s is None else seen.ended_s
            return now - seen.ended_s < GRACE_S
        return now - seen.changed_s < self._ttl_s


class Leases:
    """The leases of one run; used by its driver alone.

    Args:
        store: The storage.
        sweep: Name of the sweep.
        run: Unique name of the run, whose `Heartbeat` is there.
        watch: Tells whether other runs live; None: a new one.
    """

    def __init__(self, store: Store, sweep: str, run: str, watch: RunWatch | None = None) -> None:
        self._store = store
        self._own = Holder(run, sweep, socket.gethostname())
        self._watch = watch or RunWatch(store)
        self._held: dict[tuple[str, str], str] = {}

    def take(self, stage: str, key: str) -> Holder | None:
        """Take a node's lease; that of a run that has died or given it back is taken over.

        Returns:
            The live run that has it; None: it is this one's now, or was already.
        """
        number = _newest(self._store, stage, key)
        while True:
            holder = _read(self._store, _name(stage, key, number))
            if holder is not None and holder.run == self._own.run:
                return None
            if holder is not None and self._watch.is_alive(holder):
                return holder
            number += 1
            name = _name(stage, key, number)
            if self._store.files.create(name, _text(self._own)):
                if _newest(self._store, stage, key) == number:
                    self._held[stage, key] = name
                    _remove_below(self._store, stage, key, number)
                    return None
                # Others took and left it between the look and the making: theirs counts.
                self._store.files.remove(name)
                number = _newest(self._store, stage, key)

    def other(self, stage: str, key: str) -> Holder | None:
        """The other live run that has a node's lease; None: there is none."""
        found = holder_of(self._store, stage, key)
        is_other = found is not None and found.run != self._own.run and self._watch.is_alive(found)
        return found if is_other else None

    def release(self, stage: str, key: str) -> None:
        """Give a lease back, if this run still has it."""
        name = self._held.pop((stage, key), None)
        if name is None:
            return
        # Where that cannot be written (a full disk), the lease ends with the run.
        with contextlib.suppress(OSError):
            if self._store.is_published(stage, key):  # nobody needs the folder any more
                self._store.drop_work(stage, key)
            elif _read(self._store, name) == self._own:
                self._store.files.write(name, _text(Holder()))

    def close(self) -> None:
        """Give all leases back: the run ends."""
        for stage, key in list(self._held):
            self.release(stage, key)


def holder_of(store: Store, stage: str, key: str) -> Holder | None:
    """Who took a node's lease last, alive or not; None: nobody has it."""
    number = _newest(store, stage, key)
    found = _read(store, _name(stage, key, number)) if number else None
    return found if found is not None and found.run else None


def holds(store: Store, stage: str, key: str, run: str) -> bool:
    """Whether a run still has a node's lease: for its workers, who have been deposed where it has not."""
    try:
        found = holder_of(store, stage, key)
    except OSError:
        # A storage that stutters deposes nobody; a second builder is wasteful, never wrong.
        return True
    return found is not None and found.run == run


def watched(store: Store, stage: str, key: str, run: str) -> Callable[[], bool]:
    """`holds`, asked after every epoch: not more often than the storage bears."""
    looked_s, still = float("-inf"), True

    def ask() -> bool:
        nonlocal looked_s, still
        if time.monotonic() - looked_s >= store.files.look_every_s:
            with store.brief():  # asked again after the next epoch
                still = holds(store, stage, key, run)
            looked_s = time.monotonic()
        return still

    return ask


def _name(stage: str, key: str, number: int) -> str:
    return work_name(stage, key, f"lease-{number}.json")


def _numbers(store: Store, stage: str, key: str) -> dict[int, str]:
    names = store.files.names(work_name(stage, key, "").rstrip("/"))
    found = ((_NAME.match(name.rpartition("/")[2]), name) for name in names)
    return {int(match[1]): name for match, name in found if match}


def _newest(store: Store, stage: str, key: str) -> int:
    """The highest number of a lease in a working folder; 0: there is none."""
    return max(_numbers(store, stage, key), default=0)


def _remove_below(store: Store, stage: str, key: str, number: int) -> None:
    older = [name for one, name in _numbers(store, stage, key).items() if one < number]
    if older:
        store.files.remove(*older)


def _read(store: Store, name: str) -> Holder | None:
    """Who wrote a lease; nobody, where it holds no such thing (a machine lost power); None: no file."""
    try:
        text = store.files.read(name)
        if text is None:
            return None
        values = json.loads(text)
        return Holder(str(values["run"]), str(values["sweep"]), str(values["host"]))
    except UNREADABLE:
        return Holder()


def _text(holder: Holder) -> str:
    return json.dumps(asdict(holder))
