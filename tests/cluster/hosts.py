"""Several hosts on one machine: network namespaces with names of their own, joined by a switch.

Nothing of it touches the machine's own network. Needs root.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_NET = "10.77.0"


@dataclass(frozen=True)
class Host:
    """One of the hosts.

    Attributes:
        name: Of its namespace, and its host name.
        address: On the switch.
    """

    name: str
    address: str

    @property
    def inside(self) -> list[str]:
        """Words before a command that runs on this host."""
        return ["ip", "netns", "exec", self.name]

    def command(self, *words: str | Path) -> list[str | Path]:
        """A command that runs on this host, under its name, with a folder of Ray's own.

        Two of Ray's nodes that share the folder remove a job's files under each other's feet.
        """
        begin = f'hostname {self.name} && mount -t tmpfs none /tmp/ray && exec "$@"'
        return [*self.inside, "unshare", "--uts", "--mount", "sh", "-c", begin, "sh", *words]


def why_not() -> str:
    """Why there can be no such hosts here; empty where there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [name for name in ("ip", "unshare", "hostname") if shutil.which(name) is None]
    if missing:
        return f"there is no {', '.join(missing)} here"
    probe = f"dwp{os.getpid()}p"
    done = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", probe], capture_output=True, check=False)
    return f"ip netns: {done.stderr.strip()}" if done.returncode else ""


@contextmanager
def joined_hosts(n: int) -> Iterator[list[Host]]:
    """Hosts that reach each other; whatever still runs on them at the end is killed."""
    prefix = f"dwp{os.getpid()}"
    switch = f"{prefix}s"
    hosts = [Host(f"{prefix}h{number}", f"{_NET}.{number}") for number in range(1, n + 1)]
    Path("/tmp/ray").mkdir(exist_ok=True)
    try:
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        for number, host in enumerate(hosts, 1):
            _plug_in(host, switch, f"port{number}")
        yield hosts
    finally:
        for name in [*(host.name for host in hosts), switch]:
            _remove(name)


def _plug_in(host: Host, switch: str, port: str) -> None:
    _ip("netns", "add", host.name)
    _ip("-n", switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host.name)
    _ip("-n", switch, "link", "set", port, "master", "bridge", "up")
    _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
    for device in ("lo", "eth0"):
        _ip("-n", host.name, "link", "set", device, "up")
    # Ray looks for its own address on the way out; there need be nobody there.
    _ip("-n", host.name, "route", "add", "default", "via", f"{_NET}.1" if port != "port1" else f"{_NET}.254")


def _remove(name: str) -> None:
    for _ in range(5):
        found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
        if not found.stdout.split():
            break
        for pid in found.stdout.split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.2)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


def everything_gone(hosts: Sequence[Host]) -> bool:
    """Whether none of the namespaces is left."""
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout.split()
    return not any(host.name in left for host in hosts)
