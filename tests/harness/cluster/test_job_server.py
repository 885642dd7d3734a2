"""A wrong address, a token that is missing or refused, another Ray: each is told for what it is, at once."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest

from dwp_sweep.errors import InputError
from dwp_sweep.harness.cluster.submission import connect

TOKEN = "right-token"
Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts what answers ``/api/version``; gives its address."""
    servers = []

    def start(body: bytes = b"", asks: bool = False) -> str:
        seen: list[str | None] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                given = self.headers.get("Authorization")
                seen.append(given)
                status = 200 if not asks or given == f"Bearer {TOKEN}" else 403 if given else 401
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body if status == 200 else b"")

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.seen = seen  # type: ignore[attr-defined]
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    start.servers = servers  # type: ignore[attr-defined]
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def answer(ray: str) -> bytes:
    return json.dumps({"version": "4", "ray_version": ray}).encode()


def problem(address: str) -> str:
    with pytest.raises(InputError) as found:
        connect(address)
    return str(found.value)


def test_an_address_where_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert "nothing answers there: " in problem(f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("address", ["ray://head:10001", "head:6379", "auto"])
def test_an_address_of_another_kind(address: str) -> None:
    found = problem(address)
    assert "is no http address" in found
    assert "http://" in found and ":8265" in found


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}"])
def test_something_else_that_answers(serve: Serve, body: bytes) -> None:
    assert "no job server of Ray" in problem(serve(body))


def test_a_cluster_of_another_version(serve: Serve) -> None:
    found = problem(serve(answer("2.9.3")))
    assert f"the cluster runs Ray 2.9.3, this is Ray {version('ray')}" in found
    assert "install ray==2.9.3 here" in found


def test_a_cluster_that_asks_for_a_token_where_there_is_none(serve: Serve) -> None:
    assert "the cluster asks for a token" in problem(serve(answer(version("ray")), asks=True))


def test_a_token_that_is_refused_is_named_by_its_source_only(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("wrong-token\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    found = problem(serve(answer(version("ray")), asks=True))
    assert f"refuses the token of RAY_AUTH_TOKEN_PATH={tmp_path / 'token'}" in found
    assert "wrong-token" not in found


def test_a_token_file_that_is_not_there(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    assert "none holds none" in problem(serve(answer(version("ray")), asks=True))


def test_a_token_is_sent_only_to_a_cluster_that_asks(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    problem(serve(answer("2.9.3")))
    problem(serve(answer("2.9.3"), asks=True))
    open_one, asking = serve.servers  # type: ignore[attr-defined]
    assert open_one.seen == [None]
    assert asking.seen == [None, f"Bearer {TOKEN}"]


def test_the_address_that_is_given_counts_not_one_of_the_environment(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    address = serve(answer(version("ray")), asks=True)
    assert connect(address + "/").get_address() == address
