"""A bucket's server that is away for a while: waited for, unless the question is asked again soon."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from dwp_sweep.errors import StorageError
from dwp_sweep.store.s3.bucket import Bucket
from dwp_sweep.store.s3.files import BucketFiles
from dwp_sweep.store.s3.retries import brief
from tests.store.s3_server import KEY, SECRET

pytestmark = pytest.mark.slow  # a server is started, late
_LATE_S = 8.0
"""Longer than the client's own attempts last."""


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = int(free.getsockname()[1])
    values = {"ENDPOINT_URL": f"http://127.0.0.1:{number}", "ACCESS_KEY_ID": KEY, "SECRET_ACCESS_KEY": SECRET}
    for name, value in {**values, "REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    return number


@pytest.fixture
def late_server(port: int) -> Iterator[None]:
    started: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        moto = Path(sys.executable).with_name("moto_server")
        command = [str(moto), "-H", "127.0.0.1", "-p", str(port)]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    timer = threading.Timer(_LATE_S, start)
    timer.start()
    yield
    timer.join()
    started[0].kill()
    started[0].wait()


def test_a_server_that_comes_back_answers_what_was_asked_meanwhile(late_server: None) -> None:
    begun_s = time.monotonic()
    assert Bucket("s3://bucket/runs").stat("nothing") is None
    assert time.monotonic() - begun_s > _LATE_S - 1, "somebody else answered"


def test_what_is_asked_again_soon_is_not_waited_for(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dwp_sweep.store.s3.retries.OUTAGE_S", float("inf"))  # who waits never ends
    with brief(), pytest.raises(StorageError, match="no S3 server answers"):
        Bucket("s3://bucket/runs").stat("nothing")


def test_an_outage_without_end_is_told(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dwp_sweep.store.s3.retries.OUTAGE_S", 0.5)
    with pytest.raises(StorageError, match="no S3 server answers"):
        Bucket("s3://bucket/runs").read("nothing")


def test_a_mark_is_written_however_long_the_server_was_away(
    late_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dwp_sweep.store.s3.retries.OUTAGE_S", 0.5)  # it is away for much longer
    bucket = Bucket("s3://marks/runs")
    mark = BucketFiles(bucket).mark("sweeps/toy/stop-run1")
    mark.touch()
    assert mark.exists()
    other, until_s = BucketFiles(bucket).mark(mark.name), time.monotonic() + 60
    while not other.exists():
        assert time.monotonic() < until_s
        time.sleep(0.5)
        with contextlib.suppress(BotoCoreError, ClientError):
            bucket._s3.create_bucket(Bucket="marks")
    mark.unlink()
    assert bucket.stat(mark.name) is None


def test_a_mark_that_was_never_written_is_given_up_where_it_is_cleared(port: int) -> None:
    mark = BucketFiles(Bucket("s3://marks/runs")).mark("sweeps/toy/stop-run1")
    mark.touch()
    assert mark._writer is not None and mark._writer.is_alive()
    with brief():
        mark.unlink()
    assert not mark._writer.is_alive() and not mark.exists()
