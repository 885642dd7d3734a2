"""Servers of the cluster tests: started as processes of their own, waited for, and always ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parents[2]

PLAIN = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("RAY_", "MLFLOW_", "DWP_SWEEP_", "AWS_"))
} | {
    "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    "PYTHONPATH": os.environ["PYTHONPATH"],
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
"""The environment of this process without what points to servers."""


@contextmanager
def running(
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    log: Path,
    is_ready: Callable[[], bool],
    stop_by: int = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that is ready; ended with all that is left in its session.

    Args:
        command: Stays in the foreground.
        environment: Of the process, whole.
        log: Gets its output.
        is_ready: Asked until it says so; pytest's timeout ends a wait that never succeeds.
        stop_by: The signal that ends it in order.
    """
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        while not is_ready():
            assert process.poll() is None, f"{command[0]} ended:\n{log.read_text()[-3_000:]}"
            time.sleep(0.3)
        yield process
    finally:
        end(process, stop_by)


def end(process: subprocess.Popen[bytes], stop_by: int = signal.SIGTERM) -> None:
    """End a server in order, or not; nothing of its session is left."""
    with suppress(ProcessLookupError):
        process.send_signal(stop_by)
    with suppress(subprocess.TimeoutExpired):
        process.wait(30)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def finished(
    command: Sequence[str | Path], environment: Mapping[str, str], timeout_s: float = 900.0
) -> subprocess.CompletedProcess[str]:
    """A command that has ended, with what it printed."""
    return subprocess.run(
        command,
        env=environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
