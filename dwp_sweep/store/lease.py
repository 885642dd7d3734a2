"""Leases: which of the runs on one storage builds a node, so that two drivers do not build it twice.

A run takes a node's lease before it hands the node to a worker. The lease covers all attempts of that run, so
that a retry does not wait for it. Leases lie in the node's working folder as ``lease-1.json``,
``lease-2.json``, ...: the one with the highest number counts. Creating a file that exists fails, in a folder
and in a bucket, so that each number is taken once. A run that takes a lease over takes the next number: of
several runs that see the holder die, one succeeds. A run is alive while the content of its heartbeat file
changes, measured by the monotonic clock of the observer; no wall clock is used. Publishing a node removes its
working folder and with it the leases.
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
from dwp_sweep.strict import json_of

GRACE_S = 5.0
"""Workers of a killed driver end within this time; after it another run may take its leases over."""
_NAME = re.compile(r"^lease-(\d+)\.json$")


@dataclass(frozen=True)
class Holder:
    """The run that has a node's lease.

    Attributes:
        run: Unique name of the run; empty: the lease was released.
        sweep: Sweep of the run.
        host: Machine of its driver.
    """

    run: str = ""
    sweep: str = ""
    host: str = ""


@dataclass
class _Observed:
    """What an observer knows of a heartbeat file; times are of the observer's clock."""

    content: str
    changed_s: float
    ended_s: float | None = None


class RunWatch:
    """Decides whether other runs are alive, by reading their heartbeat files repeatedly.

    Args:
        store: The storage.
        ttl_s: A run whose file has not changed for this time is dead; far above the interval of its beats.
        clock: A monotonic clock in seconds.
    """

    def __init__(
        self, store: Store, ttl_s: float = STALE_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._ttl_s, self._clock = store, ttl_s, clock
        self._observed: dict[str, _Observed] = {}
        # Read each file now, so that the wait for a dead run does not start only at its first lease.
        for name in run_names(store):
            self._lives(name)

    def is_alive(self, holder: Holder) -> bool:
        """Whether the run that holds a lease is alive, as far as this observer knows."""
        names = (holder.sweep, holder.run)
        if not all(names) or any(Path(name).name != name for name in names):
            return False
        return self._lives(run_name(holder.sweep, holder.run))

    def _lives(self, name: str) -> bool:
        now = self._clock()
        known = self._observed.get(name)
        try:
            content = self._store.files.read(name)
        except OSError:
            # A storage that fails tells nothing about the run, which could not write its beats either.
            self._observed[name] = _Observed(known.content if known else "", now)
            return True
        if content is None:
            return False
        if known is None or content != known.content:
            known = self._observed[name] = _Observed(content, now)
        if has_ended_here(self._store, name):
            known.ended_s = now if known.ended_s is None else known.ended_s
            return now - known.ended_s < GRACE_S
        return now - known.changed_s < self._ttl_s


class Leases:
    """The leases of one run; used by its driver alone.

    Args:
        store: The storage.
        sweep: Name of the sweep.
        run: Unique name of the run, whose `Heartbeat` is there.
        watch: Decides whether other runs are alive; None: a new one.
    """

    def __init__(self, store: Store, sweep: str, run: str, watch: RunWatch | None = None) -> None:
        self._store = store
        self._own = Holder(run, sweep, socket.gethostname())
        self._watch = watch or RunWatch(store)
        self._held: dict[tuple[str, str], str] = {}

    def take(self, stage: str, key: str) -> Holder | None:
        """Take a node's lease, or take over the lease of a run that has died or released it.

        Returns:
            The live run that has it; None: this run has it now.
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
                    numbers = _numbers(self._store, stage, key)
                    self._store.files.remove(*(older for n, older in numbers.items() if n < number))
                    return None
                # Other runs took and released it after `number` was read: the higher number counts.
                self._store.files.remove(name)
                number = _newest(self._store, stage, key)

    def other(self, stage: str, key: str) -> Holder | None:
        """The other live run that has a node's lease; None: there is none."""
        holder = holder_of(self._store, stage, key)
        is_other = holder is not None and holder.run != self._own.run and self._watch.is_alive(holder)
        return holder if is_other else None

    def release(self, stage: str, key: str) -> None:
        """Release a lease, if this run still has it."""
        name = self._held.pop((stage, key), None)
        if name is None:
            return
        # Where this cannot be written (a full disk), the lease ends with the run.
        with contextlib.suppress(OSError):
            if self._store.is_published(stage, key):  # the folder is not needed any more
                self._store.drop_work(stage, key)
            elif _read(self._store, name) == self._own:
                self._store.files.write(name, _text(Holder()))

    def close(self) -> None:
        """Release all leases: the run ends."""
        for stage, key in list(self._held):
            self.release(stage, key)


def holder_of(store: Store, stage: str, key: str) -> Holder | None:
    """The run that took a node's lease last, alive or not; None: no run has it."""
    number = _newest(store, stage, key)
    holder = _read(store, _name(stage, key, number)) if number else None
    return holder if holder is not None and holder.run else None


def holds(store: Store, stage: str, key: str, run: str) -> bool:
    """Whether a run still has a node's lease; its workers stop where it has not."""
    try:
        holder = holder_of(store, stage, key)
    except OSError:
        # A failing storage stops no worker: a second builder is wasteful, never wrong.
        return True
    return holder is not None and holder.run == run


def watched(store: Store, stage: str, key: str, run: str) -> Callable[[], bool]:
    """`holds` as a function to call after every epoch; it reads the storage every `look_every_s` at most."""
    looked_s, is_held = float("-inf"), True

    def still_holds() -> bool:
        nonlocal looked_s, is_held
        if time.monotonic() - looked_s >= store.files.look_every_s:
            with store.brief():  # the next epoch repeats it
                is_held = holds(store, stage, key, run)
            looked_s = time.monotonic()
        return is_held

    return still_holds


def _name(stage: str, key: str, number: int) -> str:
    return work_name(stage, key, f"lease-{number}.json")


def _numbers(store: Store, stage: str, key: str) -> dict[int, str]:
    names = store.files.names(work_name(stage, key, "").rstrip("/"))
    matches = ((_NAME.match(name.rpartition("/")[2]), name) for name in names)
    return {int(match[1]): name for match, name in matches if match}


def _newest(store: Store, stage: str, key: str) -> int:
    """The highest number of a lease in a working folder; 0: there is none."""
    return max(_numbers(store, stage, key), default=0)


def _read(store: Store, name: str) -> Holder | None:
    """The holder in a lease file; an empty one where the file is broken (a power loss); None: no file."""
    try:
        text = store.files.read(name)
        if text is None:
            return None
        values = json_of(text)
        return Holder(str(values["run"]), str(values["sweep"]), str(values["host"]))
    except UNREADABLE:
        return Holder()


def _text(holder: Holder) -> str:
    return json.dumps(asdict(holder))
