"""Which runs are working on a storage now: a small file each, kept fresh while the run lives.

``sweeps/<name>/run-<id>.json`` says who runs and what is in hand. Another terminal reads it to show, to
stop or to leave the storage alone. A run that was killed leaves its file; it is then recognised by its
process, or from another machine by its age. Who can look more than once tells better, by whether the file
goes on changing (`lease.RunWatch`): no clock of another machine takes part in that.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from dwp_sweep.errors import StorageError
from dwp_sweep.store.protocol import Mark, Store
from dwp_sweep.store.record import UNREADABLE, json_text

STALE_S = 120.0
"""A run on another machine whose file is older has ended; clocks of two machines may differ by some."""
_CLOCK_S = 5.0
_RUN = re.compile(r"run-.*\.json")


@dataclass(frozen=True)
class LiveRun:
    """A run, as its file tells.

    Attributes:
        sweep: Name of the sweep.
        run: Name of the run; part of its stop file and of its folder among Ray's.
        host: Machine of its driver.
        pid: Process of its driver.
        started_ms: Unix time.
        n_slots: Nodes at once; 0 before the cluster is known.
        in_hand: One entry a running node: ``key``, ``epoch``, ``n_epochs``, ``reading``, ``started_ms``.
        space: Of process numbers, which containers of one machine do not share; empty: unknown.
        process: What tells the driver's process from a later one of the same number; empty: unknown.
        beat: Counts how often the file was refreshed.
    """

    sweep: str
    run: str
    host: str
    pid: int
    started_ms: int
    n_slots: int = 0
    in_hand: tuple[Mapping[str, Any], ...] = ()
    space: str = ""
    process: str = ""
    beat: int = 0


@dataclass
class Heartbeat:
    """Context in which a run's file exists and is kept fresh by a thread.

    Args:
        store: The storage.
        sweep: Name of the sweep.
        run: Unique name of the run.
        facts: ``n_slots`` and ``in_hand`` as they are now; must not raise and may be called by a thread.
    """

    store: Store
    sweep: str
    run: str
    facts: Callable[[], Mapping[str, Any]] = dict
    _end: threading.Event = field(default_factory=threading.Event)
    _started_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    _thread: threading.Thread | None = None
    _beat: int = 0

    @property
    def path(self) -> Path:
        """The run's file, where the storage is a folder."""
        return self.store.root / self._name

    @property
    def _name(self) -> str:
        return run_name(self.sweep, self.run)

    def __enter__(self) -> Heartbeat:
        self._write()
        self._thread = threading.Thread(target=self._keep, name="presence", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        with contextlib.suppress(StorageError):  # it will be too old soon
            self.store.files.remove(self._name)

    def _keep(self) -> None:
        while not self._end.wait(self.store.files.fresh_every_s):
            with contextlib.suppress(OSError):  # a full or slow disk, or network, must not end the run
                self._write()

    def _write(self) -> None:
        self._beat += 1
        values = {
            "sweep": self.sweep,
            "run": self.run,
            **this_process(),
            "started_ms": self._started_ms,
            "beat": self._beat,
        }
        self.store.files.write(self._name, json_text({**values, **self.facts()}))


def this_process() -> dict[str, Any]:
    """What a file of presence says of its process, so that others can tell whether it lives."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "process": _mark(pid), "space": _space()}


def live_runs(store: Store, sweep: str | None = None) -> list[LiveRun]:
    """Runs that are working now, of one sweep or of all."""
    runs = (read_alive(store, name) for name in run_names(store, sweep))
    return [run for run in runs if run is not None]


def run_name(sweep: str, run: str) -> str:
    """Name on the storage of a run's file."""
    return f"sweeps/{sweep}/run-{run}.json"


def run_names(store: Store, sweep: str | None = None) -> list[str]:
    """Names of the files of presence of one sweep or of all; some may be of runs that have died."""
    sweeps = [sweep] if sweep is not None else store.sweeps()
    names = (name for one in sweeps for name in store.files.names(f"sweeps/{one}"))
    return [name for name in names if _RUN.fullmatch(name.rpartition("/")[2])]


def read_alive(store: Store, name: str) -> LiveRun | None:
    """Who wrote a file of presence; None where there is none or its process has ended."""
    run = _read(store, name)
    return run if run is not None and _is_alive(run, store, name) else None


def has_ended_here(store: Store, name: str) -> bool:
    """Whether a file of presence is of a process of this machine that is no more."""
    run = _read(store, name)
    return run is not None and _is_here(run) and not _is_process_of(run)


def stop_name(sweep: str, run: str) -> str:
    """Name on the storage of the mark that asks a run to leave at its nodes' checkpoints."""
    return f"sweeps/{sweep}/stop-{run}"


def hold_name(sweep: str, run: str) -> str:
    """Name on the storage of the mark that tells a run's workers to begin nothing more."""
    return f"sweeps/{sweep}/hold-{run}"


def stop_file(store: Store, sweep: str, run: str) -> Mark:
    """The mark that asks a run to leave at its nodes' checkpoints."""
    return store.mark(stop_name(sweep, run))


def hold_file(store: Store, sweep: str, run: str) -> Mark:
    """The mark that tells a run's workers to begin nothing more."""
    return store.mark(hold_name(sweep, run))


def _read(store: Store, name: str) -> LiveRun | None:
    try:
        values = json.loads(store.files.read(name) or "")
        run = LiveRun(**{**values, "in_hand": tuple(values.get("in_hand", ()))})
        return run if isinstance(run.pid + run.started_ms, int) else None
    except (OSError, *UNREADABLE):
        return None


def _is_alive(run: LiveRun, store: Store, name: str) -> bool:
    if not _is_here(run):
        with contextlib.suppress(OSError):
            age_s = store.files.age_s(name)
            return age_s is not None and age_s < STALE_S
        return False
    return _is_process_of(run)


def _is_here(run: LiveRun) -> bool:
    """Whether a run's process would be seen from here; containers may share a host's name."""
    return run.host == socket.gethostname() and run.space in ("", _space())


def _space() -> str:
    """The space of process numbers of this process; empty where there is no /proc."""
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - a name, no file
    except OSError:
        return ""


def _is_process_of(run: LiveRun) -> bool:
    """Whether a run of this machine still has its process."""
    mark = _mark(run.pid)
    if run.process and mark:
        return mark == run.process
    import psutil  # type: ignore[import-untyped]

    try:
        process = psutil.Process(run.pid)
        born_s = float(process.create_time())
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
    except (psutil.Error, ValueError, OverflowError):  # a number that no process can have
        return False
    # Of a number that another process has by now, that one is younger than the run.
    return born_s <= run.started_ms / 1000 + _CLOCK_S


def _mark(pid: int) -> str:
    """Boot of the machine and ticks from there to the start of a process; empty where there is no /proc.

    The Unix time of a start is not enough: it moves with the machine's clock.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        state, ticks = values[0], values[19]
    except (OSError, IndexError):
        return ""
    return f"{boot}/{ticks}" if state not in "ZX" else ""  # one that has ended and was not waited for
