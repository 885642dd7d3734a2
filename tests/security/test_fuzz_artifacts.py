"""Manifests, records and histories that were hit by chance: read, or refused as what they are."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwp_sweep.errors import CorruptArtifactError
from dwp_sweep.store.heartbeat import live_runs
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import Point, Record, append_point, read_history, read_record
from dwp_sweep.store.sweep_record import NodeEntry, record_nodes, recorded_nodes, recorded_resources
from tests.security.fuzz_settings import many_inputs, same_inputs

FEW = same_inputs(40)
MANY = many_inputs(600)

KEY = "0123456789abcdef0123"
RECORD = Record(
    key=KEY,
    stage="target",
    status="done",
    config={"method": "fine_tune", "target": {"lr": 1e-3}},
    inputs={"source": ["a"]},
    labels={"split": 0},
    metrics={"test_dice": 0.5, "wall_s": 1.0},
    history=(Point(1, 1_700_000_000_000, {"val_dice": 0.1}), Point(2, 1_700_000_000_001, {"val_dice": 0.2})),
    started_ms=1_700_000_000_000,
    wall_s=1.0,
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=6),
        st.sampled_from(["../out", "/etc/passwd", "a\0b", "x" * 300, "\ud800", ".", "", "inf"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=4,
)


@st.composite
def hit_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """Up to four bytes changed, the end cut now and then."""
    hit = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        hit[draw(st.integers(0, len(hit) - 1))] = draw(st.integers(0, 255))
    return bytes(hit[: draw(st.sampled_from([len(hit), draw(st.integers(0, len(hit)))]))])


@st.composite
def hit_values(draw: st.DrawFn, values: Any) -> Any:
    """One value, anywhere within, replaced, added or taken out."""
    if not isinstance(values, dict | list) or not values or draw(st.integers(0, 3)) == 0:
        return draw(VALUES)
    copy = dict(values) if isinstance(values, dict) else list(values)
    key = draw(st.sampled_from(list(values) if isinstance(values, dict) else range(len(values))))
    how = draw(st.sampled_from(["replace", "replace", "take", "add"]))
    if how == "take":
        del copy[key]
    elif how == "add" and isinstance(copy, dict):
        copy[draw(st.one_of(st.text(max_size=6), st.sampled_from(["../x", "a\0", "n" * 300])))] = draw(VALUES)
    else:
        copy[key] = draw(hit_values(values[key]))
    return copy


def published(root: Path) -> tuple[Store, Path]:
    """A store with one published node, and the node's folder."""
    store = LocalStore(root)
    if not store.is_published("target", KEY):
        out_dir = store.new_out_dir("target", KEY)
        (out_dir / "figures").mkdir()
        (out_dir / "figures" / "curve.png").write_bytes(b"png")
        store.publish(out_dir, RECORD)
    return store, store.node_dir("target", KEY)


def hits_of(content: bytes) -> st.SearchStrategy[bytes]:
    """Bytes that were hit, or the JSON of values that were."""
    values = hit_values(json.loads(content)).map(lambda found: json.dumps(found).encode())
    return st.one_of(hit_bytes(content), values)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Path]:
    return published(tmp_path_factory.mktemp("fuzzed") / "runs")


def check_manifest(node: tuple[Store, Path], data: st.DataObject) -> None:
    store, folder = node
    good = (folder / "manifest.json").read_bytes()
    (folder / "manifest.json").write_bytes(data.draw(hits_of(good)))
    try:
        with contextlib.suppress(CorruptArtifactError):
            store.verify("target", KEY)
    finally:
        (folder / "manifest.json").write_bytes(good)


def check_record(node: tuple[Store, Path], data: st.DataObject) -> None:
    store, folder = node
    good = (folder / "record.json").read_bytes()
    (folder / "record.json").write_bytes(data.draw(hits_of(good)))
    try:
        with contextlib.suppress(ValueError):
            found = read_record(folder / "record.json")
            assert all(isinstance(value, float) for value in found.metrics.values())
            assert [type(point) for point in found.history] == [Point] * len(found.history)
            assert isinstance(found.config, dict) and isinstance(found.labels, dict)
            assert isinstance(found.wall_s, float | int) and isinstance(found.started_ms, int)
            assert found.error is None or isinstance(found.error, str)
            assert found.status in ("done", "failed", "pruned")
        store.record("target", KEY)
    finally:
        (folder / "record.json").write_bytes(good)


@FEW
@given(data=st.data())
def test_a_manifest_that_was_hit_holds_or_is_damaged(node: tuple[Store, Path], data: st.DataObject) -> None:
    check_manifest(node, data)


@FEW
@given(data=st.data())
def test_a_record_that_was_hit_is_one_or_none(node: tuple[Store, Path], data: st.DataObject) -> None:
    check_record(node, data)


@FEW
@given(data=st.data())
def test_lines_that_were_hit_are_left_out(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("lines")
    history = root / "history.jsonl"
    history.unlink(missing_ok=True)
    for point in RECORD.history:
        append_point(history, point)
    history.write_bytes(data.draw(hit_bytes(history.read_bytes())))
    assert len(read_history(history)) <= 2 + history.read_bytes().count(b"\n")

    store = LocalStore(root / "recorded")
    record_nodes(store, "toy", [NodeEntry(KEY, "target", "one", inputs={"source": (("source", "a"),)})])
    folder = store.sweep_dir("toy")
    (folder / "nodes.jsonl").write_bytes(data.draw(hit_bytes((folder / "nodes.jsonl").read_bytes())))
    for entry in recorded_nodes(store, "toy"):
        assert isinstance(entry.key, str) and isinstance(entry.stage, str) and isinstance(entry.config, dict)
    (folder / "resources.json").write_bytes(data.draw(hits_of(b'{"target": [1.0, 0.0]}')))
    recorded_resources(store, "toy")
    who = b'{"sweep": "toy", "run": "1", "host": "elsewhere", "pid": 1, "started_ms": 1, "in_hand": []}'
    (folder / "run-1.json").write_bytes(data.draw(hits_of(who)))
    live_runs(store)


@pytest.mark.slow
@MANY
@given(data=st.data())
def test_many_manifests_that_were_hit(node: tuple[Store, Path], data: st.DataObject) -> None:
    check_manifest(node, data)


@pytest.mark.slow
@MANY
@given(data=st.data())
def test_many_records_that_were_hit(node: tuple[Store, Path], data: st.DataObject) -> None:
    check_record(node, data)
