"""Ray clusters of several nodes on one machine, each a process tree that can be killed as a whole."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from tests.chaos.servers import free_port

RAY = Path(sys.executable).parent / "ray"


class RayNode:
    """One node: the process that ``ray start --block`` is, and all that it started.

    Args:
        folder: For its log.
        name: Of the log.
        head: Address of the head to join; None: a head of its own.
        environment: Its processes' and its workers'.
    """

    def __init__(self, folder: Path, name: str, head: str | None, environment: Mapping[str, str]) -> None:
        self.log = folder / f"{name}.txt"
        port = free_port()
        self.address = head or f"127.0.0.1:{port}"
        where = (
            ["--address", head] if head else ["--head", "--port", str(port), "--include-dashboard", "false"]
        )
        command = [str(RAY), "start", *where, "--node-ip-address", "127.0.0.1", "--num-cpus", "1", "--block"]
        command += ["--object-store-memory", str(100 << 20), "--disable-usage-stats"]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                command, env=os.environ | dict(environment), stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, start_new_session=True,
            )  # fmt: skip
        self._wait()

    def pids(self) -> set[int]:
        """Everything that runs on it."""
        try:
            own = psutil.Process(self.process.pid)
            return {own.pid, *(child.pid for child in own.children(recursive=True))}
        except psutil.NoSuchProcess:
            return set()

    def kill(self) -> None:
        """As when the machine is switched off."""
        for pid in self.pids():
            try:
                psutil.Process(pid).kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait()

    def _wait(self) -> None:
        until_s = time.monotonic() + 120
        while "Ray runtime started" not in self.log.read_text():
            assert self.process.poll() is None and time.monotonic() < until_s, self.log.read_text()
            time.sleep(0.2)
