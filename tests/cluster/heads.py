"""Starts the head of a Ray cluster by ``deploy/single_head.sh``, on ports of its own, and ends it again."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


@contextmanager
def started_head(folder: Path, environment: Mapping[str, str], page: str) -> Iterator[str]:
    """A running head; gives the address of its job server.

    Args:
        folder: For its log; its jobs write to ``runs`` in it.
        environment: Of the head, without what says where it listens and writes; ``RAY_AUTH_MODE=disabled``
            becomes the script's option.
        page: Of its dashboard; the head is ready when that answers without a token.
    """
    dashboard, gcs, agent, client = free_ports(4)
    own = {
        "DWP_SWEEP_BIN": str(BIN),
        "DWP_SWEEP_STORAGE": str(folder / "runs"),
        "DWP_SWEEP_DASHBOARD_PORT": str(dashboard),
        "DWP_SWEEP_RAY_PORT": str(gcs),
    }
    options = ["--num-cpus", "2", "--dashboard-agent-listen-port", str(agent)]
    options += ["--ray-client-server-port", str(client)]
    if environment.get("RAY_AUTH_MODE") == "disabled":
        options.insert(0, "--without-token")
    command: list[str | Path] = [ROOT / "deploy" / "single_head.sh", *options]
    log = folder / "head.log"
    with log.open("w") as out:
        head = subprocess.Popen(
            command, env={**environment, **own}, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        address = f"http://127.0.0.1:{dashboard}"
        _wait_for(address + page, head, log)
        yield address
    finally:
        _end(head)


def free_ports(n: int) -> list[int]:
    """Ports that were free a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _wait_for(url: str, head: subprocess.Popen[bytes], log: Path) -> None:
    while True:
        assert head.poll() is None, f"the head ended:\n{log.read_text()}"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)  # pytest's timeout ends a wait that never succeeds


def _end(head: subprocess.Popen[bytes]) -> None:
    # The head ends all that it started; `ray stop` would end every Ray of the machine.
    head.terminate()
    try:
        head.wait(60)
    except subprocess.TimeoutExpired:
        head.kill()
        raise
