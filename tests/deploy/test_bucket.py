"""The backup of a bucket: every object comes back, nothing is copied twice, no key leaves the folder."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.deploy.documents import DEPLOY
from tests.store.s3_server import S3Server, serving

OBJECTS = {
    "1/ab/artifacts/net.safetensors": b"x" * 3000,
    "1/ab/artifacts/a file, \u00e9.json": b"{}",
    "empty": b"",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with serving(tmp_path_factory.mktemp("bucket"), "moto") as started:
        yield started


@pytest.fixture(scope="module")
def bucket() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bucket", DEPLOY / "bucket.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bucket"] = module
    spec.loader.exec_module(module)
    return module


def test_every_object_comes_back_into_a_new_bucket(
    server: S3Server, bucket: ModuleType, tmp_path: Path
) -> None:
    server.client.create_bucket(Bucket="first")
    for key, content in OBJECTS.items():
        server.client.put_object(Bucket="first", Key=key, Body=content)
    assert bucket.save(server.client, "first", tmp_path) == len(OBJECTS)
    assert bucket.restore(server.client, tmp_path, "second") == len(OBJECTS)
    for key, content in OBJECTS.items():
        assert server.client.get_object(Bucket="second", Key=key)["Body"].read() == content


def test_a_second_backup_copies_what_is_new(server: S3Server, bucket: ModuleType, tmp_path: Path) -> None:
    server.client.create_bucket(Bucket="grows")
    server.client.put_object(Bucket="grows", Key="a", Body=b"1")
    bucket.save(server.client, "grows", tmp_path)
    before = (tmp_path / "a").stat().st_mtime_ns
    server.client.put_object(Bucket="grows", Key="b", Body=b"2")
    assert bucket.save(server.client, "grows", tmp_path) == 2
    assert (tmp_path / "a").stat().st_mtime_ns == before and (tmp_path / "b").read_bytes() == b"2"


def test_a_key_that_leaves_the_folder_is_refused(
    server: S3Server, bucket: ModuleType, tmp_path: Path
) -> None:
    server.client.create_bucket(Bucket="hostile")
    server.client.put_object(Bucket="hostile", Key="../outside", Body=b"1")
    with pytest.raises(ValueError, match="no path inside"):
        bucket.save(server.client, "hostile", tmp_path / "backup")
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("words", [[], ["save"], ["restore", "/no/such/folder", "b"], ["copy", "a", "b"]])
def test_other_words_print_the_usage(
    bucket: ModuleType, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert bucket.main(words) == 2 and "usage" in capsys.readouterr().err
