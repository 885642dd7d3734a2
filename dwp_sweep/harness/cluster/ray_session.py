"""Ray for the time of a run: a small local one of our own, or the cluster that the user names.

A Ray that was there before is left running.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from dwp_sweep.atomic_write import can_be_made
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.harness.cluster.access import is_on_loopback_alone, not_connected, require_open_door
from dwp_sweep.harness.dag.resources import Resources
from dwp_sweep.harness.private_apis import (
    autoscaling_status,
    has_second_autoscaler,
    on_loopback,
    without_sigterm_handler,
)
from dwp_sweep.harness.trial import MALLOC_ENVIRONMENT
from dwp_sweep.stop_signals import rearm

DRIVER_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""Quiet, no handler of Tune's own, no log files and snapshots of Tune's state: the store is the truth."""

_OBJECT_STORE_BYTES = 128 * 1024 * 1024  # volumes come from a memory-mapped cache, not through Ray
_SOCKET_BYTES = 107
"""Longest path of a Unix socket."""
_SOCKET = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""How the path of Ray's longest socket ends."""
_MACHINES_EVERY_S = 2.0
_REARM_EVERY_S = 0.005
_N_STARTS, _SLOW_START = 3, "timed out during startup"
_STATUS_WITHIN_S = 10.0  # every head writes one within five seconds of its start
_OF_NO_TYPE = "node_"
"""Ray names machines so that it did not launch: a cluster that grows has types of its own."""


def require_short_sockets(address: str | None = None) -> None:
    """Make sure that a local Ray can make its sockets in the folder for temporary files.

    Args:
        address: Of an existing cluster, to which this does not apply.

    Raises:
        InputError: The folder's path is too long for them.
    """
    if address or os.environ.get("RAY_ADDRESS"):
        return
    name = next((name for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name)), None)
    n_bytes = len(os.fsencode(os.environ[name])) if name else 0
    n_most = _SOCKET_BYTES - len(_SOCKET)
    if name and n_bytes > n_most:
        what = (
            f"{os.environ[name]} has {n_bytes} bytes, and with more than {n_most} Ray cannot make its sockets"
        )
        fix = "set RAY_TMPDIR to a short folder, as in RAY_TMPDIR=/tmp, or compute without Ray: --here"
        raise InputError(Problem(name, what, fix))


@contextlib.contextmanager
def ray_session(address: str | None = None, n_cpus: int | None = None) -> Iterator[bool]:
    """Connect to Ray, or start a local one that ends with the context.

    Args:
        address: Of an existing cluster; None: the one in ``RAY_ADDRESS`` (set inside a Ray job), a Ray that
            this process has already initialised, else a new local one.
        n_cpus: Logical CPUs of a new local one, which listens on the loopback alone; None: as many as
            there are.

    Yields:
        Whether the Ray is our own local one.
    """
    for name, value in DRIVER_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield False
        return
    address = address or os.environ.get("RAY_ADDRESS")
    if address:
        require_open_door(address)
    with on_loopback() if not address or is_on_loopback_alone(address) else contextlib.nullcontext():
        with _own_signals():
            if address:
                _connect(address)
            else:
                _start_local(n_cpus)
        try:
            yield not address
        finally:
            _shut_down()


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep our handlers of signals while Ray starts, and Ray's processes at SIGHUP and SIGUSR1."""
    # Child processes inherit what is blocked; this one gets it afterwards.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGUSR1})
    try:
        with without_sigterm_handler():
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        rearm()  # Ray's native handler aborts the process at SIGTERM


def _shut_down() -> None:
    """End Ray; our handler returns at once where Ray gives SIGTERM back to the system, a second before."""
    import ray

    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(ray.shutdown)
        while not ended.done():
            rearm()
            time.sleep(_REARM_EVERY_S)
    rearm()
    ended.result()


class Machine(NamedTuple):
    """A machine of the connected cluster.

    Attributes:
        id: Ray's.
        name: For people.
        resources: What it has.
    """

    id: str
    name: str
    resources: Resources


def known_machines() -> Sequence[Machine]:
    """The machines of the connected cluster that are alive, as Ray sees them."""
    import ray

    known = []
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        if node["Alive"]:
            resources = _resources_of(node["Resources"])
            name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            known.append(Machine(node["NodeID"], name, resources))
    return known


def _resources_of(amounts: Mapping[str, float]) -> Resources:
    """A machine's resources by Ray's names; Ray's own, as the machine's address, are left out."""
    cpu, gpu, memory = (float(amounts.get(name, 0.0)) for name in ("CPU", "GPU", "memory"))
    own = {"CPU", "GPU", "memory", "object_store_memory"}
    other = {name: n for name, n in amounts.items() if name not in own and not name.startswith("node:")}
    return Resources(cpu, gpu, memory, tuple(sorted(other.items())))


def host_of(machine: str) -> str:
    """Host name of a machine by Ray's name of it, alive or not; empty for an unknown one."""
    import ray

    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return next((str(node["NodeManagerHostname"]) for node in nodes if node["NodeID"] == machine), "")


def other_machines() -> Sequence[Machine]:
    """The machines that are alive, without the one that this process runs on."""
    import ray

    own = ray.get_runtime_context().get_node_id()
    return [machine for machine in known_machines() if machine.id != own]


def machines() -> Sequence[Resources]:
    """What the machines that are alive have."""
    return [machine.resources for machine in known_machines()]


def cluster_grows() -> bool:
    """Whether the connected cluster adds machines by itself when work asks for them."""
    if has_second_autoscaler():
        return True
    patience_s = _STATUS_WITHIN_S
    while (status := autoscaling_status()) is None and patience_s > 0:
        patience_s -= 0.5
        time.sleep(0.5)
    return grows(status)


def grows(status: bytes | None) -> bool:
    """Whether the autoscaler's status, as Ray's key-value store has it, is of one that launches machines.

    Every head writes a status, also that of a cluster of fixed size.
    """
    try:
        report = json.loads(status or b"{}")["autoscaler_report"]
        types = {*(report["active_nodes"] or {}), *(report.get("idle_nodes") or {})}
        pending = [*(report.get("pending_nodes") or ()), *(report.get("pending_launches") or ())]
    except (ValueError, KeyError, TypeError):
        return False
    return bool(pending) or any(not name.startswith(_OF_NO_TYPE) for name in types)


class RememberedMachines:
    """`machines`, asked at most every two seconds."""

    def __init__(self) -> None:
        self._read_s = float("-inf")
        self._known: Sequence[Resources] = ()

    def __call__(self) -> Sequence[Resources]:
        """The machines as they were at most two seconds ago."""
        if time.monotonic() - self._read_s > _MACHINES_EVERY_S:
            self._known, self._read_s = machines(), time.monotonic()
        return self._known


def _connect(address: str) -> None:
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise not_connected(address, error) from error


def _start_local(n_cpus: int | None) -> None:
    import ray

    added = {name: value for name, value in MALLOC_ENVIRONMENT.items() if name not in os.environ}
    if not can_be_made(Path.home() / ".ray") and not os.environ.keys() & {
        "RAY_AUTH_TOKEN",
        "RAY_AUTH_TOKEN_PATH",
    }:
        added["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # Ray would keep a token of its own there
    os.environ.update(added)  # inherited by the workers; this process has read its own long ago
    try:
        for n_left in reversed(range(_N_STARTS)):
            try:
                ray.init(
                    address="local",
                    num_cpus=n_cpus,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    object_store_memory=_OBJECT_STORE_BYTES,
                )
                return
            except Exception as error:  # a plain one: Ray gives a start half a minute, whatever else runs
                if _SLOW_START not in str(error) or not n_left:
                    raise
                ray.shutdown()
    finally:
        for name in added:
            del os.environ[name]
