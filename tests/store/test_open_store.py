"""Which storages there are, and how one that does not work is refused before anything starts."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from dwp_sweep.cli import main
from dwp_sweep.errors import InputError
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.open_store import open_store
from dwp_sweep.store.s3.files import places_in, replaced
from dwp_sweep.tracking.client import resolve_uri
from tests.store.s3_server import SECRET, S3Server, machine


def test_a_folder_is_a_store_of_its_own(tmp_path: Path) -> None:
    store = open_store(tmp_path / "runs")
    assert type(store) is LocalStore and store.root == tmp_path / "runs" and store.place == str(store.root)


@pytest.mark.parametrize(
    "url", ["gs://bucket/runs", "s3://", "s3:///runs", "s3://No_Bucket/x", "https://host/x"]
)
def test_an_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="no storage that this package knows"):
        open_store(url)


@pytest.mark.parametrize("url", ["s3://bucket/runs?x=1", "s3://bucket/a#b/c"])
def test_a_prefix_that_an_url_would_cut_is_refused(url: str) -> None:
    with pytest.raises(InputError, match=r"has \? or # in its prefix"):
        open_store(url)


def test_paths_are_replaced_at_any_depth_and_nothing_else() -> None:
    values = {"a": "/m/x", "b": ["/m", {"c": "/mx/y"}], "d": 3, "e": "see /m/x"}
    assert replaced(values, "/m", "s3://b") == {"a": "s3://b/x", "b": ["s3://b", {"c": "/mx/y"}], "d": 3,
                                                "e": "see /m/x"}  # fmt: skip
    assert replaced(replaced(values, "/m", "s3://b"), "s3://b", "/m") == values
    assert list(places_in(values, "/m")) == ["x"]


def test_mlflow_must_be_named_where_the_storage_is_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(InputError, match="--tracking-uri"):
        resolve_uri(None, "s3://bucket/runs")
    assert resolve_uri("http://host:5000", "s3://bucket/runs") == "http://host:5000"


def refusal(*words: str) -> str:
    answer = CliRunner().invoke(main, list(words))
    assert answer.exit_code == 2, answer.output
    assert SECRET not in answer.output and "Traceback" not in answer.output
    return str(answer.output)


@pytest.mark.slow
def test_what_is_wrong_with_a_bucket_is_said_with_exit_code_2(
    seaweed: S3Server, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, seaweed, tmp_path / "mirror")
    assert "there is no bucket 'no-such-bucket'" in refusal(
        "status", "x", "--storage", "s3://no-such-bucket/a"
    )
    assert "no sweep named 'x'" in refusal("status", "x", "--storage", url)
    with monkeypatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "another")
        assert "refuses these credentials" in refusal("gc", "--storage", url)
    with monkeypatch.context() as patch:
        for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
            patch.delenv(name)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        patch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        assert "no credentials for it were found" in refusal("gc", "--storage", url)
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        assert "no S3 server answers at http://127.0.0.1:9" in refusal("gc", "--storage", url)


@pytest.mark.slow
@pytest.mark.timeout(120)  # the client's own patience is several times as long
def test_a_server_that_never_answers_is_not_waited_for_long(
    seaweed: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, seaweed, tmp_path / "mirror")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(InputError, match="no S3 server answers"):
            open_store("s3://bucket/runs")


class Careless(BaseHTTPRequestHandler):
    """A server that takes every object, whatever the request asks for."""

    def answer(self, body: bytes = b"") -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.answer(b"<ListBucketResult></ListBucketResult>")

    def do_PUT(self) -> None:
        self.answer()

    def do_DELETE(self) -> None:
        self.answer()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


def test_a_server_that_writes_over_what_was_to_be_created_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Careless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        values = {"ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}", "REGION": "us-east-1"}
        for name, value in {**values, "ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": SECRET}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.setenv("DWP_SWEEP_MIRROR", str(tmp_path))
        with pytest.raises(InputError, match="If-None-Match"):
            open_store("s3://bucket/runs", check=True, writes=True)
        server.shutdown()
