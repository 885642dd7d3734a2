"""Bad weather for MLflow's clients: a proxy that fails requests, and a PostgreSQL that can be restarted."""

from __future__ import annotations

import http.client
import os
import pwd
import random
import shutil
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
"""Where Debian puts them."""


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Proxy:
    """A real HTTP proxy in front of a server; while it is bad it fails a part of the requests.

    In one of three ways, drawn for each request: it answers 500 and tells the server nothing; it answers 500
    although the server has done what was asked; it lets the client wait for an answer until it gives up.

    Attributes:
        is_bad: Whether it is.
        loses: Part of a path: answers to such requests are lost, always.

    Args:
        port: Of the server.
        chance: Draws what fails.
        share: Of the requests that fail while it is bad.
        slow_s: How long a client waits in vain.
    """

    def __init__(self, port: int, chance: random.Random, share: float, slow_s: float) -> None:
        self.is_bad, self.n_failed, self.n_passed, self.loses = False, 0, 0, ""
        self._chance, self._share, self._slow_s, self._lock = chance, share, slow_s, threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(port))
        self._server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()

    def fate(self, path: str) -> str:
        """What becomes of a request."""
        with self._lock:
            if self.loses and self.loses in path:
                self.n_failed += 1
                return "answer lost"
            is_unlucky = self.is_bad and self._chance.random() < self._share
            fate = self._chance.choice(["refused", "answer lost", "no answer"]) if is_unlucky else "passed"
            self.n_failed += is_unlucky
            self.n_passed += not is_unlucky
            return fate

    def _handler(self, port: int) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fate = proxy.fate(self.path)
                if fate == "refused":
                    return self._answer(500, b"the weather is bad", {})
                if fate == "no answer":
                    time.sleep(proxy._slow_s)
                    self.close_connection = True
                    return None
                status, content, headers = self._ask(body)
                if fate == "answer lost":
                    return self._answer(500, b"the answer was lost", {})
                return self._answer(status, content, headers)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass

            def _ask(self, body: bytes) -> tuple[int, bytes, dict[str, str]]:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                headers = {
                    name: value for name, value in self.headers.items() if name.lower() != "connection"
                }
                connection.request(self.command, self.path, body, headers | {"Host": f"127.0.0.1:{port}"})
                answer = connection.getresponse()
                content = answer.read()
                connection.close()
                kept = {name: value for name, value in answer.getheaders() if name.lower() == "content-type"}
                return answer.status, content, kept

            def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:  # the client has given up
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                return None

        return Handler


class Postgres:
    """A temporary PostgreSQL cluster on the loopback, run by the user ``postgres`` where we are root.

    Args:
        folder: For its data; it must be empty, and is given to that user.
    """

    def __init__(self, folder: Path) -> None:
        pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'dwp-sweep[server]'")
        if not BINARIES:
            pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
        self.folder, self.port, self._bin = folder, free_port(), BINARIES[-1]
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user is not None:
            self._give_away()
        self._run(
            "initdb", "-A", "trust", "-U", "dwp", "-E", "UTF8", "--locale", "C", "-D", str(folder / "data")
        )
        self.start()
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "dwp", "mlflow")

    @property
    def uri(self) -> str:
        """For SQLAlchemy."""
        return f"postgresql+psycopg://dwp@127.0.0.1:{self.port}/mlflow"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        self._control("-o", options, "-w", "-l", str(self.folder / "log.txt"), "start")

    def stop(self, mode: str = "fast") -> None:
        """End it: ``fast`` breaks connections off, ``immediate`` is as a power failure."""
        self._control("-m", mode, "stop")

    def _control(self, *words: str) -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), *words)

    def _run(self, program: str, *words: str) -> None:
        command = [str(self._bin / program), *words]
        # Its server keeps the output open: a pipe would never end.
        with (self.folder.parent / "postgres.txt").open("a") as output:
            done = subprocess.run(
                command, user=self._user, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                check=False,
            )  # fmt: skip
        assert done.returncode == 0, (self.folder.parent / "postgres.txt").read_text()[-2_000:]

    def _give_away(self) -> None:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL refuses root, and there is no user postgres")
        shutil.chown(self.folder, "postgres")
        for parent in self.folder.parents:  # pytest's folders are for their owner alone
            if (
                parent.stat().st_uid == os.geteuid()
                and not parent.stat().st_mode & 0o001
                and parent != Path("/")
            ):
                parent.chmod(parent.stat().st_mode | 0o011)
