"""Servers for the time of a bench: started as processes of their own, waited for, always ended.

Knows nothing of what they serve.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_END_WITHIN_S = 30.0


@contextmanager
def running(
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    log: Path,
    is_ready: Callable[[], bool],
    stop_by: int = signal.SIGTERM,
    ready_within_s: float = 300.0,
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that is ready; ended with all that is left in its session.

    Args:
        command: Stays in the foreground.
        environment: Of the process, whole.
        log: Gets its output.
        is_ready: Asked until it says so.
        stop_by: The signal that ends it in order.
        ready_within_s: How long it may take.

    Raises:
        RuntimeError: It ended, or was not ready in time.
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
        end_s = time.monotonic() + ready_within_s
        while not is_ready():
            if process.poll() is not None or time.monotonic() > end_s:
                what = "is not ready" if process.poll() is None else "ended"
                raise RuntimeError(f"{command[0]} {what}:\n{log.read_text()[-3_000:]}")
            time.sleep(0.3)
        yield process
    finally:
        end(process, stop_by)


def end(process: subprocess.Popen[bytes], stop_by: int = signal.SIGTERM) -> None:
    """End a server in order, or not; nothing of its session is left."""
    with suppress(ProcessLookupError):
        process.send_signal(stop_by)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END_WITHIN_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def free_port() -> int:
    """A port of the loopback that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
