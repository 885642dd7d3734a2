"""Ray for the time of a run: a small local one of our own, or the cluster that the user names.

A Ray that was there before is left running. Knows nothing of nodes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator, Sequence

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.harness.slots import Shape
from dwp_sweep.harness.worker_process import MALLOC_ENVIRONMENT

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
_MACHINES_EVERY_S = 2.0
_N_STARTS, _SLOW_START = 3, "timed out during startup"


@contextlib.contextmanager
def ray_session(address: str | None = None, n_cpus: int | None = None) -> Iterator[bool]:
    """Connect to Ray, or start a local one that ends with the context.

    Args:
        address: Of an existing cluster; None: the one in ``RAY_ADDRESS`` (set inside a Ray job), a Ray that
            this process has already initialised, else a new local one.
        n_cpus: Logical CPUs of a new local one; None: as many as there are.

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
        _connect(address)
    else:
        _start_local(n_cpus)
    try:
        yield not address
    finally:
        ray.shutdown()


def _connect(address: str) -> None:
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        what = f"no Ray cluster answers there: {lines[0]}"
        fix = "start one (ray start --head), correct --address or RAY_ADDRESS, or leave both out"
        raise InputError(Problem(f"Ray address {address}", what, fix)) from error


def machines() -> Sequence[Shape]:
    """The machines of the connected cluster that are alive, as Ray sees them."""
    import ray

    return [
        Shape(float(node["Resources"].get("CPU", 0.0)), float(node["Resources"].get("GPU", 0.0)))
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    ]


class RememberedMachines:
    """`machines`, asked at most every two seconds."""

    def __init__(self) -> None:
        self._asked_s = float("-inf")
        self._known: Sequence[Shape] = ()

    def __call__(self) -> Sequence[Shape]:
        """The machines as they were at most two seconds ago."""
        if time.monotonic() - self._asked_s > _MACHINES_EVERY_S:
            self._known, self._asked_s = machines(), time.monotonic()
        return self._known


def _start_local(n_cpus: int | None) -> None:
    import ray

    added = {name: value for name, value in MALLOC_ENVIRONMENT.items() if name not in os.environ}
    os.environ.update(added)  # inherited by the workers; this process has read its own long ago
    try:
        for _ in range(_N_STARTS - 1):
            try:
                return _init_local(n_cpus)
            except (
                Exception
            ) as error:  # a plain one: Ray gives a start half a minute, whatever else runs here
                if _SLOW_START not in str(error):
                    raise
                ray.shutdown()
        _init_local(n_cpus)
    finally:
        for name in added:
            del os.environ[name]


def _init_local(n_cpus: int | None) -> None:
    import ray

    ray.init(
        address="local",
        num_cpus=n_cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=_OBJECT_STORE_BYTES,
    )
