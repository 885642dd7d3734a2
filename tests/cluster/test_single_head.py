"""The head of the quick start, attacked: without a token, as another user, from another machine."""

from __future__ import annotations

import ipaddress
import json
import os
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
import pytest

from tests.benchmarks.servers import running
from tests.cluster import hosts as namespaces
from tests.cluster.heads import ROOT, free_ports, started_head
from tests.cluster.hosts import everything_gone, joined_hosts
from tests.cluster.processes import BIN, PLAIN, finished

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(480)]

ASKED = {
    "the head": "/ray.rpc.NodeInfoGcsService/GetClusterId",
    "values of all programs": "/ray.rpc.InternalKVGcsService/InternalKVKeys",
    "the raylet": "/ray.rpc.NodeManagerService/GetNodeStats",
    "Ray's client": "/ray.rpc.RayletDriver/ClusterInfo",
    "the agent": "/ray.rpc.ReporterService/GetTraceback",
}
"""A method of each of Ray's servers."""


@dataclass(frozen=True)
class QuickHead:
    """A head as the README starts it, for a user who never had a token.

    Attributes:
        address: Of its dashboard.
        home: Of that user.
        pid: Of the script.
    """

    address: str
    home: Path
    pid: int

    @property
    def token_file(self) -> Path:
        return self.home / ".ray" / "auth_token"


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QuickHead]:
    folder = tmp_path_factory.mktemp("quick")
    before = set(psutil.Process().children())  # servers of other tests in this process
    with started_head(folder, PLAIN | {"HOME": str(folder)}, "/api/gcs_healthz") as address:
        (script,) = set(psutil.Process().children()) - before
        settled(script.pid)
        yield QuickHead(address, folder, script.pid)


def listening(pid: int) -> set[tuple[str, int]]:
    """Where a process and all that it started listen, or take datagrams, in whatever network they are."""
    places = set()
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with suppress(OSError):  # it has ended
            folder = Path("/proc", str(process.pid))
            own = {str(link.readlink()) for link in (folder / "fd").iterdir()}
            for table in ("tcp", "tcp6", "udp", "udp6"):
                lines = [line.split() for line in (folder / "net" / table).read_text().splitlines()[1:]]
                places |= {
                    place(line[1])
                    for line in lines
                    if f"socket:[{line[9]}]" in own and line[3] in ("0A", "07")  # listens; takes datagrams
                }
    return places


def place(text: str) -> tuple[str, int]:
    """Address and port of a line of /proc/net: words of 32 bits in the machine's order."""
    address, _, port = text.partition(":")
    words = [bytes.fromhex(address[n : n + 8])[::-1] for n in range(0, len(address), 8)]
    return str(ipaddress.ip_address(b"".join(words))), int(port, 16)


def settled(pid: int) -> set[tuple[str, int]]:
    """All places, once all of Ray's servers are there."""
    # Head, raylet, object manager, agent (3), environments, dashboard, client.
    for _ in range(240):
        if len(places := listening(pid)) >= 9:
            return places
        time.sleep(0.5)
    raise AssertionError(places)


def test_a_token_was_drawn_for_the_user_alone(head: QuickHead) -> None:
    assert stat.S_IMODE(head.token_file.stat().st_mode) == 0o600
    assert len(head.token_file.read_text()) == 64


def is_loopback(ip: str) -> bool:
    address = ipaddress.ip_address(ip)
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def test_every_socket_is_on_the_loopback(head: QuickHead) -> None:
    assert [ip for ip, _ in listening(head.pid) if not is_loopback(ip)] == []


def status_of(address: str, headers: dict[str, str], data: bytes | None = None) -> int:
    request = urllib.request.Request(address, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize("headers", [{}, {"Authorization": f"Bearer {'0' * 64}"}], ids=["none", "wrong"])
def test_the_job_server_takes_no_job_without_the_token(head: QuickHead, headers: dict[str, str]) -> None:
    job = json.dumps({"entrypoint": "id"}).encode()
    assert status_of(f"{head.address}/api/jobs/", headers) in (401, 403)
    assert status_of(f"{head.address}/api/jobs/", headers | {"Content-Type": "application/json"}, job) in (
        401,
        403,
    )
    right = {"Authorization": f"Bearer {head.token_file.read_text()}"}
    assert status_of(f"{head.address}/api/jobs/", right) == 200


def grpc_answers(port: int, metadata: list[tuple[str, str]]) -> dict[str, str]:
    """What a port answers to a method of each of Ray's servers."""
    answers = {}
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for name, method in ASKED.items():
            try:
                channel.unary_unary(method)(b"", metadata=metadata, timeout=10)
                answers[name] = "OK"
            except grpc.RpcError as error:
                answers[name] = error.code().name  # type: ignore[attr-defined]
    return answers


def test_no_port_does_anything_without_the_token(head: QuickHead) -> None:
    ports = {port for _, port in listening(head.pid)}
    answers = {port: grpc_answers(port, []) for port in ports}
    assert [port for port in answers if "OK" in answers[port].values()] == []
    assert sum("UNAUTHENTICATED" in one.values() for one in answers.values()) >= 3
    token = [("authorization", f"Bearer {head.token_file.read_text()}")]
    assert any("OK" in grpc_answers(port, token).values() for port in ports)


AS_ANOTHER_USER = """
import json, os, sys, urllib.error, urllib.request
got = []
for path in sys.argv[2:]:
    try:
        os.listdir(path) if os.path.isdir(path) else open(path).read()
        got.append(path)
    except PermissionError:
        pass
try:
    urllib.request.urlopen(sys.argv[1] + "/api/jobs/", timeout=20)
    got.append("jobs")
except urllib.error.HTTPError as error:
    assert error.code in (401, 403), error
print(json.dumps(got))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_of_the_machine_gets_nothing(head: QuickHead) -> None:
    session = Path(f"/tmp/dwp_sweep-{os.getuid()}/ray/session_latest")
    paths = [head.token_file, session, session / "sockets" / "raylet", session / "runtime_resources"]
    assert all(path.exists() for path in paths)
    for folder in (head.home, *list(head.home.parents)[:2]):
        folder.chmod(0o755)  # the test's own folders, which pytest closes to others
    done = subprocess.run(
        ["/usr/bin/python3", "-c", AS_ANOTHER_USER, head.address, *paths],
        user=65534,
        group=65534,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_a_run_on_this_machine_gets_in_with_the_token(head: QuickHead, tmp_path: Path) -> None:
    token = [("authorization", f"Bearer {head.token_file.read_text()}")]
    ports = {port for _, port in listening(head.pid)}
    (port,) = [port for port in ports if grpc_answers(port, token)["the head"] == "OK"]
    values = json.dumps({"storage": str(tmp_path / "runs"), "address": f"127.0.0.1:{port}"})
    environment = PLAIN | {"HOME": str(head.home)}
    done = finished([sys.executable, "-m", "tests.cluster.toy_driver", values], environment)
    assert "exit code 0" in done.stdout, done.stdout + done.stderr


KNOCK = """
import socket, sys
opened = []
for port in sys.argv[2:]:
    try:
        socket.create_connection((sys.argv[1], int(port)), 2).close()
        opened.append(port)
    except OSError:
        pass
print(opened)
"""


def test_another_machine_reaches_no_port(tmp_path: Path) -> None:
    if reason := namespaces.why_not():
        pytest.skip(reason)
    hosts: list[namespaces.Host] = []
    try:
        with joined_hosts(2) as hosts:
            here, other = hosts
            agent, client = free_ports(2)
            options = ["--num-cpus", "1", "--dashboard-agent-listen-port", str(agent)]
            options += ["--ray-client-server-port", str(client)]
            command = here.command(ROOT / "deploy" / "single_head.sh", *options)
            environment = PLAIN | {"HOME": str(tmp_path), "DWP_SWEEP_BIN": str(BIN)}
            log = tmp_path / "head.log"
            with running(
                command, environment, log, lambda: "Ray runtime started" in log.read_text()
            ) as process:
                ports = [str(port) for _, port in sorted(settled(process.pid))]
                knock = ["/usr/bin/python3", "-c", KNOCK, here.address, *ports]
                knocked = subprocess.run([*other.inside, *knock], capture_output=True, text=True, check=True)
                assert knocked.stdout.strip() == "[]"
                knock[3] = "127.0.0.1"
                mine = subprocess.run([*here.inside, *knock], capture_output=True, text=True, check=True)
                assert mine.stdout.strip() != "[]"
    finally:
        assert everything_gone(hosts)
