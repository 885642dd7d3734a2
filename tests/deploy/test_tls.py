"""HTTPS before MLflow, with real nginx: nothing goes over plain HTTP, and the audit trail has the users."""

from __future__ import annotations

import base64
import http.client
import http.server
import json
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.benchmarks.servers import running
from tests.cluster.heads import free_ports
from tests.cluster.processes import PLAIN
from tests.deploy.documents import DEPLOY

pytestmark = pytest.mark.slow

MAIN = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
    uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
    include {folder}/default.conf;
}}
"""


class Backend(http.server.BaseHTTPRequestHandler):
    """Stands for MLflow's server: answers with the headers that it was sent."""

    def do_GET(self) -> None:
        """Answer."""
        text = json.dumps(dict(self.headers)).encode()
        self.send_response(200 if "Authorization" in self.headers else 401)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@dataclass(frozen=True)
class Proxy:
    """A running nginx with the project's configuration."""

    folder: Path
    port: int

    def ask(self, path: str, **headers: str) -> tuple[int, dict[str, str]]:
        trusted = ssl.create_default_context(cafile=str(self.folder / "certificate"))
        connection = http.client.HTTPSConnection("localhost", self.port, context=trusted, timeout=30)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    def audited(self, path: str) -> dict[str, object]:
        """The line of a request; nginx writes it once the answer is sent."""
        for _ in range(600):
            lines = [json.loads(line) for line in (self.folder / "audit.log").read_text().splitlines()]
            if of_path := [line for line in lines if line["path"] == path]:
                return dict(of_path[0])
            time.sleep(0.1)
        raise AssertionError(f"no line of {path}")


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if nginx is None or shutil.which("openssl") is None:
        pytest.skip("there is no nginx or no openssl (Debian's packages nginx-light and openssl)")
    folder = tmp_path_factory.mktemp("tls")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=localhost",
    ]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key", "-out", "certificate"]
    subprocess.run(command, cwd=folder, capture_output=True, check=True)
    backend = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    threading.Thread(target=backend.serve_forever, daemon=True).start()
    port, ray_port = free_ports(2)
    text = (DEPLOY / "tls" / "default.conf.template").read_text()
    changes = {
        "${SERVER_NAME}": "localhost",
        "/run/secrets/tls_certificate": f"{folder}/certificate",
        "/run/secrets/tls_key": f"{folder}/key",
        "/dev/stdout": f"{folder}/audit.log",
        "http://mlflow:5000": f"http://127.0.0.1:{backend.server_port}",
        "http://ray-head:8265": f"http://127.0.0.1:{backend.server_port}",
        "listen 8443": f"listen 127.0.0.1:{port}",
        "listen 8265": f"listen 127.0.0.1:{ray_port}",
    }
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "default.conf").write_text(text)
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder))
    started = Proxy(folder, port)

    def is_ready() -> bool:
        try:
            return started.ask("/health")[0] == 401
        except OSError:
            return False

    with running([nginx, "-c", folder / "nginx.conf", "-p", folder], PLAIN, folder / "nginx.log", is_ready):
        yield started
    backend.shutdown()


def test_a_request_reaches_mlflow_under_a_name_that_it_answers(proxy: Proxy) -> None:
    key = base64.b64encode(b"sweeps:planted-password").decode()
    status, seen = proxy.ask("/api", Authorization=f"Basic {key}", Origin="https://hospital.example")
    assert status == 200 and seen["Host"] == "mlflow:5000"
    assert seen["X-Forwarded-Proto"] == "https" and "Origin" not in seen


def test_the_audit_trail_has_the_user_and_no_password(proxy: Proxy) -> None:
    key = base64.b64encode(b"reader:planted-password").decode()
    proxy.ask("/api/2.0/mlflow/runs/search?token=planted-token", Authorization=f"Basic {key}")
    proxy.ask("/nobody")
    search, nobody = proxy.audited("/api/2.0/mlflow/runs/search"), proxy.audited("/nobody")
    assert (search["user"], search["status"]) == ("reader", 200)
    assert (nobody["user"], nobody["status"]) == ("", 401)
    text = (proxy.folder / "audit.log").read_text()
    assert "planted" not in text and key not in text


def test_plain_http_is_refused(proxy: Proxy) -> None:
    connection = http.client.HTTPConnection("localhost", proxy.port, timeout=30)
    connection.request("GET", "/api")
    assert connection.getresponse().status == 400
