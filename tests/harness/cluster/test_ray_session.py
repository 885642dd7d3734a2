"""Which clusters grow."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dwp_sweep.harness.cluster.ray_session import grows


def status(**report: Any) -> bytes:
    empty = {"active_nodes": {}, "idle_nodes": None, "pending_nodes": [], "pending_launches": {}}
    return json.dumps({"autoscaler_report": empty | report}).encode()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (None, False),
        (b"no JSON", False),
        (b"[]", False),
        (status(active_nodes={"node_6866": 1, "node_77aa": 1}), False),
        (status(active_nodes={"ray.head.default": 1}), True),
        (status(idle_nodes={"headgroup": 1}), True),
        (status(active_nodes={"node_6866": 1}, pending_launches={"gpu": 1}), True),
    ],
)
def test_a_cluster_grows_where_its_machines_have_types_to_launch(said: bytes | None, expected: bool) -> None:
    assert grows(said) is expected
