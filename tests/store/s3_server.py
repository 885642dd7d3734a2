"""S3 servers in processes of their own, and machines: environments in which a storage is opened."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

KEY, SECRET = "planted-key-id", "planted-secret-key"


class S3Server:
    """A server on the loopback that speaks S3.

    Attributes:
        endpoint: Its address.
        client: A client that knows nothing of the package.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        self.endpoint = f"http://127.0.0.1:{port}"
        with (folder / "server.log").open("ab") as output:
            self._process = subprocess.Popen(
                _command(folder, kind, port), cwd=folder, stdout=output, stderr=output, start_new_session=True
            )
        for _ in range(300):
            try:
                with contextlib.suppress(urllib.error.HTTPError):  # it wants credentials: it is there
                    urllib.request.urlopen(self.endpoint, timeout=2)
                break
            except OSError:
                time.sleep(0.1)
        else:
            self.stop()
            pytest.fail((folder / "server.log").read_text()[-2_000:])
        import boto3  # half a second that tests without a server do not need

        self.client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )

    def new_bucket(self, name: str) -> str:
        """Make an empty bucket; returns the URL of a storage in it."""
        for _ in range(100):  # seaweedfs answers before its parts know each other
            try:
                self.client.create_bucket(Bucket=name)
                self.client.put_object(Bucket=name, Key="ready", Body=b"")
                break
            except Exception:
                time.sleep(0.2)
        self.client.delete_object(Bucket=name, Key="ready")
        return f"s3://{name}/runs"

    def names(self, url: str) -> list[str]:
        """Names of all objects of a storage, below its prefix."""
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [item["Key"][len(prefix) + 1 :] for page in pages for item in page.get("Contents", ())]

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


def machine(patch: pytest.MonkeyPatch, server: S3Server, mirror: Path) -> None:
    """From here on this process is on a machine with this mirror, and may use the server."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        patch.delenv(name, raising=False)
    values = {
        "AWS_ENDPOINT_URL": server.endpoint,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "DWP_SWEEP_MIRROR": str(mirror),
    }
    for name, value in values.items():
        patch.setenv(name, value)


@contextlib.contextmanager
def serving(folder: Path, kind: str) -> Iterator[S3Server]:
    """A server for the time of the context."""
    server = S3Server(folder, kind)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder / "data", ignore_errors=True)


def _command(folder: Path, kind: str, port: int) -> list[str]:
    scripts = Path(sys.executable).parent
    if kind == "moto":
        return [str(scripts / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    (folder / "data").mkdir()
    identity = {"name": "tests", "credentials": [{"accessKey": KEY, "secretKey": SECRET}]}
    config = {"identities": [identity | {"actions": ["Admin", "Read", "Write", "List"]}]}
    (folder / "s3.json").write_text(json.dumps(config))
    ports = {name: _free() for name in ("master", "volume", "filer")}
    options = [f"-{name}.port={number}" for name, number in ports.items()]
    options += [f"-{name}.port.grpc={_free()}" for name in ("master", "volume", "filer")]
    return [
        str(scripts / "weed"), "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-volume.max=0", "-master.volumeSizeLimitMB=64", *options,
        "-s3", f"-s3.port={port}", f"-s3.port.grpc={_free()}", f"-s3.config={folder / 's3.json'}",
        "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false",
    ]  # fmt: skip


def _free() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
