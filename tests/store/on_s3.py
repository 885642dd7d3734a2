"""Servers that speak S3, one of a kind for all tests of a process, and storages on them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dwp_sweep.store.open_store import open_store
from dwp_sweep.store.protocol import Store
from tests.store.s3_server import S3Server, machine, serving


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A whole storage server, which checks signatures."""
    with serving(tmp_path_factory.mktemp("seaweed"), "seaweed") as server:
        yield server


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Another implementation of the protocol, which keeps everything in memory."""
    with serving(tmp_path_factory.mktemp("moto"), "moto") as server:
        yield server


@pytest.fixture(params=["seaweed", "moto"])
def server(request: pytest.FixtureRequest) -> S3Server:
    """Each of the two."""
    chosen: S3Server = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture
def url(seaweed: S3Server) -> str:
    """An empty storage on S3."""
    return seaweed.new_bucket(f"b-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def on(
    seaweed: S3Server, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Store]:
    """The storage as a machine of some name sees it."""

    def opened(name: str) -> Store:
        machine(monkeypatch, seaweed, tmp_path / name)
        return open_store(url)

    return opened
