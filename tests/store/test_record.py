"""Records, heartbeats and lists of nodes with what no run writes: deep nesting, numbers without bounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.errors import CorruptArtifactError
from dwp_sweep.store.heartbeat import live_runs, this_process
from dwp_sweep.store.lease import holder_of
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.record import Point, Record, append_point, read_history, record_values
from dwp_sweep.store.sweep_record import NodeEntry, record_nodes, recorded_nodes, recorded_settings
from dwp_sweep.strict import DEEPEST, json_of

KEY = "0123456789abcdef0123"
RECORD = Record(
    KEY, "target", "done", {"a": 1}, metrics={"val_dice": 0.5}, history=(Point(1, 2, {"x": 3.0}),)
)
DEPTHS = [DEEPEST + 1, 900, 100_000]


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def published(tmp_path: Path) -> tuple[LocalStore, Path]:
    store = LocalStore(tmp_path)
    out_dir = store.new_out_dir("target", KEY)
    (out_dir / "net.json").write_text("{}")
    return store, store.publish(out_dir, RECORD)


def test_json_is_read_down_to_a_depth() -> None:
    assert json_of(nested(DEEPEST)) == json.loads(nested(DEEPEST))
    assert json_of('{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}
    for depth in DEPTHS:
        with pytest.raises(ValueError, match="nested"):
            json_of(nested(depth))


@pytest.mark.parametrize("depth", DEPTHS)
def test_what_is_nested_too_deeply_is_damaged(depth: int, tmp_path: Path) -> None:
    store, folder = published(tmp_path)
    record_nodes(store, "toy", [NodeEntry(KEY, "target", "one")])
    (folder / "record.json").write_text(
        (folder / "record.json").read_text().replace('"a": 1', f'"a": {nested(depth)}')
    )
    assert store.record("target", KEY) is None
    (folder / "manifest.json").write_text(f'{{"files": {nested(depth)}}}')
    with pytest.raises(CorruptArtifactError, match="no manifest"):
        store.verify("target", KEY)
    sweep = store.sweep_dir("toy")
    with (sweep / "nodes.jsonl").open("a") as file:
        file.write(f'{{"key": "b", "stage": "target", "title": "b", "config": {{"a": {nested(depth)}}}}}\n')
    assert [entry.key for entry in recorded_nodes(store, "toy")] == [KEY]
    (sweep / "settings.json").write_text(f'{{"a": {nested(depth)}}}')
    assert recorded_settings(store, "toy") == {}
    (sweep / "run-1.json").write_text(nested(depth))
    assert live_runs(store) == []
    (store.work_dir("target", KEY) / "lease-1.json").write_text(nested(depth))
    assert holder_of(store, "target", KEY) is None


LARGE = [10**30, 10**400, -1, 2**63]


@pytest.mark.parametrize("number", LARGE)
@pytest.mark.parametrize("name", ["started_ms", "wall_s", "step", "time_ms"])
def test_a_record_with_a_number_without_bounds_is_none(name: str, number: int, tmp_path: Path) -> None:
    store, folder = published(tmp_path)
    values = record_values(RECORD)
    part = values["history"][0] if name in ("step", "time_ms") else values
    part[name] = number
    (folder / "record.json").write_text(json.dumps(values))
    assert store.record("target", KEY) is None


@pytest.mark.parametrize("number", LARGE)
def test_an_epoch_with_a_number_without_bounds_is_left_out(number: int, tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    append_point(path, Point(1, 2, {"x": 1.0}))
    with path.open("a") as file:
        file.write(json.dumps({"step": number, "time_ms": 2, "metrics": {}}) + "\n")
    assert [point.step for point in read_history(path)] == [1]


NUMBERS = [{name: number} for name in ("pid", "started_ms", "n_slots") for number in LARGE]
WORK = [[7], [{"key": 7}], [{"key": "a", "epoch": 10**400}], [{}]]


@pytest.mark.parametrize("wrong", [*NUMBERS, *({"in_hand": work} for work in WORK)])
def test_a_heartbeat_that_no_run_writes_is_no_run(wrong: dict[str, Any], tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    values = {
        "sweep": "toy",
        "run": "1",
        **this_process(),
        "started_ms": 1,
        "in_hand": [{"key": KEY, "epoch": 1}],
    }
    path = store.sweep_dir("toy") / "run-1.json"
    path.write_text(json.dumps(values))
    assert [run.run for run in live_runs(store)] == ["1"]
    path.write_text(json.dumps(values | wrong))
    assert live_runs(store) == []


@pytest.mark.parametrize(
    "wrong", [{"labels": 7}, {"title": None}, {"config": []}, {"key": 10**30}, {"inputs": {"a": 7}}]
)
def test_a_line_that_describes_no_node_is_dropped(wrong: dict[str, Any], tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    record_nodes(store, "toy", [NodeEntry(KEY, "target", "one")])
    line = {"key": "b", "stage": "target", "title": "b", "config": {}, "inputs": {}, "labels": {}}
    with (store.sweep_dir("toy") / "nodes.jsonl").open("a") as file:
        file.write(json.dumps(line | wrong) + "\n")
    assert [entry.key for entry in recorded_nodes(store, "toy")] == [KEY]
