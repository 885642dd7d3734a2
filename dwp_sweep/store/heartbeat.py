"""What works on a storage now: runs with their heartbeats, and garbage collection, which excludes them.

A heartbeat is a small file on the storage, refreshed while the run lives.

``sweeps/<name>/run-<id>.json`` names the run and its running nodes. Other commands read it to show the run,
to stop it, or to leave the storage alone. A run that was killed leaves its file: the process shows on the
same machine that it has ended, the age of the file shows it on another one. `lease.RunWatch` reads the file
repeatedly and needs no clock of another machine. ``gc.json`` names the process that removes in the same way.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from dwp_sweep.errors import InputError, Problem, StorageError
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import UNREADABLE, json_text, whole_number
from dwp_sweep.strict import json_of

STALE_S = 120.0
"""A run on another machine whose file is older has ended; the margin covers clocks that differ."""
_CLOCK_S = 5.0
_GC = "gc.json"
_GC_WAIT_S = 60.0
_LOOK_EVERY_S = 0.2
_RUN = re.compile(r"run-.*\.json")


@dataclass(frozen=True)
class LiveRun:
    """A run, as its file describes it.

    Attributes:
        sweep: Name of the sweep.
        run: Name of the run; its stop file and its folder of Ray contain it.
        host: Machine of its driver.
        pid: Process of its driver.
        started_ms: Unix time.
        n_slots: Nodes at once; 0 before the cluster is known.
        in_hand: One entry a running node: ``key``, ``epoch``, ``n_epochs``, ``reading``, ``started_ms``.
        failures: One entry a host where attempts failed: ``host``, ``counts`` by kind, ``is_avoided``.
        space: PID namespace of the driver, which containers of one machine do not share; empty: unknown.
        process: Start of the driver's process, which a later one of the same number does not share; empty:
            unknown.
        beat: Number of times that the file was written.
        mlflow: What MLflow lacks of the run while it is away, in words; empty: nothing.
    """

    sweep: str
    run: str
    host: str
    pid: int
    started_ms: int
    n_slots: int = 0
    in_hand: tuple[Mapping[str, Any], ...] = ()
    failures: tuple[Mapping[str, Any], ...] = ()
    space: str = ""
    process: str = ""
    beat: int = 0
    mlflow: str = ""


@dataclass
class Heartbeat:
    """Context in which a run's file exists and a thread refreshes it.

    Args:
        store: The storage.
        sweep: Name of the sweep.
        run: Unique name of the run.
        facts: Returns the present ``n_slots`` and ``in_hand``; must not raise, and a thread calls it.
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
        self._thread = threading.Thread(target=self._keep, name="heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        with contextlib.suppress(StorageError):  # a file that stays is soon too old
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
    """What identifies this process in a heartbeat file, for other processes."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "process": _mark(pid), "space": _space()}


def live_runs(store: Store, sweep: str | None = None) -> list[LiveRun]:
    """Runs that are working now, of one sweep or of all."""
    runs = (read_alive(store, name) for name in run_names(store, sweep))
    return [run for run in runs if run is not None]


def keys_in_hand(store: Store) -> frozenset[str]:
    """Keys of the nodes that live runs are at: their workers send what they measure themselves."""
    return frozenset(str(work["key"]) for run in live_runs(store) for work in run.in_hand)


def run_name(sweep: str, run: str) -> str:
    """Name on the storage of a run's file."""
    return f"sweeps/{sweep}/run-{run}.json"


def run_names(store: Store, sweep: str | None = None) -> list[str]:
    """Names of the heartbeat files of one sweep or of all, those of dead runs included."""
    sweeps = [sweep] if sweep is not None else store.sweeps()
    names = (name for known in sweeps for name in store.files.names(f"sweeps/{known}"))
    return [name for name in names if _RUN.fullmatch(name.rpartition("/")[2])]


def read_alive(store: Store, name: str) -> LiveRun | None:
    """The run of a heartbeat file; None where there is no file or the process has ended."""
    run = _read(store, name)
    return run if run is not None and _is_alive(run, store, name) else None


def has_ended_here(store: Store, name: str) -> bool:
    """Whether the process of a heartbeat file was on this machine and has ended."""
    run = _read(store, name)
    return run is not None and _is_here(run) and not _is_process_of(run)


def stop_name(sweep: str, run: str) -> str:
    """Name on the storage of the mark that asks a run to leave at its nodes' checkpoints."""
    return f"sweeps/{sweep}/stop-{run}"


def now_name(sweep: str, run: str) -> str:
    """Name on the storage of the mark that asks a run that is asked to stop to end at once."""
    return f"sweeps/{sweep}/now-{run}"


def hold_name(sweep: str, run: str) -> str:
    """Name on the storage of the mark that tells a run's workers to begin nothing more."""
    return f"sweeps/{sweep}/hold-{run}"


@contextlib.contextmanager
def gc_lock(store: Store) -> Iterator[Callable[[], None]]:
    """Context in which things may be removed; runs that start in this time wait for its end.

    Yields:
        A function to call regularly: it refreshes the lock for other machines.

    Raises:
        InputError: A run or another garbage collection is working on this storage.
    """
    who = {"sweep": "", "run": "gc", **this_process(), "started_ms": time.time_ns() // 1_000_000}
    if gc_at_work(store) is None:
        store.files.remove(_GC)  # a process that was killed has left it
    if not store.files.create(_GC, json_text(who)):  # one of two processes is refused
        what = "another dwp-sweep gc is removing things there"
        raise InputError(Problem(store.place, what, "try again when it has ended"))
    try:
        forbid_while_live(store)
        yield lambda: store.files.refresh(_GC)
    finally:
        store.files.remove(_GC)


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


def wait_for_gc(store: Store, patience_s: float = _GC_WAIT_S) -> bool:
    """Wait until no garbage collection is running; call it after the `Heartbeat` has started.

    Args:
        store: The storage.
        patience_s: Longest time to wait.

    Returns:
        Whether there was one.

    Raises:
        InputError: It takes longer.
    """
    until_s = time.monotonic() + patience_s
    other = gc_at_work(store)
    was_busy = other is not None
    while other is not None:
        if time.monotonic() >= until_s:
            what = f"process {other.pid} on {other.host} is removing what no sweep needs (dwp-sweep gc)"
            raise InputError(Problem(store.place, what, "try again when it has ended"))
        time.sleep(_LOOK_EVERY_S)
        other = gc_at_work(store)
    return was_busy


def gc_at_work(store: Store) -> LiveRun | None:
    """The garbage collection that is running; None: there is none."""
    return read_alive(store, _GC)


def _mark(pid: int) -> str:
    """Boot id of the machine and start of a process in ticks since then; empty where there is no /proc.

    The Unix time of the start does not identify a process: it changes with the clock of the machine.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        state, ticks = values[0], values[19]
    except (OSError, IndexError):
        return ""
    return f"{boot}/{ticks}" if state not in "ZX" else ""  # a zombie has ended


def _space() -> str:
    """The PID namespace of this process; empty where there is no /proc."""
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - its target is a name, not a file
    except OSError:
        return ""


def _read(store: Store, name: str) -> LiveRun | None:
    try:
        values = json_of(store.files.read(name) or "")
        lists = {name: tuple(values.get(name, ())) for name in ("in_hand", "failures")}
        run = LiveRun(**{**values, **lists})
        numbers = (run.pid, run.started_ms, run.n_slots, run.beat)
        counts = [value for work in run.in_hand for value in work.values() if isinstance(value, int)]
        counts += [n for failed in run.failures for n in failed["counts"].values()]
        is_whole = all(whole_number(number) == number for number in (*numbers, *counts))
        is_named = all(isinstance(work["key"], str) for work in run.in_hand)
        return run if is_whole and is_named and isinstance(run.mlflow, str) else None
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
    """Whether this process can see the processes of a run's driver; containers may share a host name."""
    return run.host == socket.gethostname() and run.space in ("", _space())


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
    except (psutil.Error, ValueError, OverflowError):  # no such process, or an invalid number
        return False
    # A later process of the same number is younger than the run.
    return born_s <= run.started_ms / 1000 + _CLOCK_S
