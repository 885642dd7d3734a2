"""Addresses at which no cluster lets us in: told for what they are, within seconds."""

from __future__ import annotations

import socket

import pytest

from dwp_sweep.errors import InputError
from dwp_sweep.harness.cluster import access as cluster_door
from dwp_sweep.harness.cluster.access import not_connected, require_open_door


def test_an_address_where_nothing_listens_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_door, "_ANSWER_WITHIN_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(InputError, match=rf"Ray address 127\.0\.0\.1:{port}: nothing answers there within"):
        require_open_door(f"127.0.0.1:{port}")


def test_a_dashboards_address_is_not_that_of_a_head() -> None:
    with pytest.raises(InputError, match="is the address of a dashboard"):
        require_open_door("http://127.0.0.1:8265")


@pytest.mark.parametrize("address", ["auto", "local", "ray://127.0.0.1:1"])
def test_addresses_that_only_ray_understands_are_left_to_it(address: str) -> None:
    require_open_door(address)


def test_another_python_is_told_in_one_line() -> None:
    words = (
        "Version mismatch: The cluster was started with:\n    Ray: 2.9.3\n    Python: 3.9.1\n"
        "This process on 10.0.0.1 was started with:\n    Ray: 2.60.0\n    Python: 3.11.2\n"
    )
    error = not_connected("10.0.0.1:6379", RuntimeError(words))
    assert "the cluster runs Ray 2.9.3 on Python 3.9.1, this is Ray 2.60.0 on Python 3.11.2" in str(error)


def test_whatever_else_ray_says_is_told_by_its_first_line() -> None:
    error = not_connected("auto", ConnectionError("\nCould not find any running Ray instance.\nand more"))
    assert "Ray address auto: no Ray cluster answers there: Could not find any running" in str(error)
    assert "ConnectionError" in str(not_connected("auto", ConnectionError()))
