from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.record import json_text
from dwp_sweep.store.sweep_record import append_nodes, recorded_nodes
from dwp_sweep.tracking.client import mlflow_client
from dwp_sweep.tracking.read import best as best_module
from dwp_sweep.tracking.read import reader as reader_module
from dwp_sweep.tracking.read.best import best_config
from dwp_sweep.tracking.read.index import INDEX_FILE
from dwp_sweep.tracking.read.reader import SweepReader, open_sweep, results
from dwp_sweep.tracking.write.node_run import node_tags
from dwp_sweep.tracking.write.parent import Tracking, open_tracking
from tests.tracking.conftest import make_node
from tests.tracking.many_runs import SOURCE, write_record, write_records, write_runs

N_RUNS = 60


@pytest.fixture
def many(tracking: Tracking, mlflow_folder: Path, sweep_name: str) -> str:
    write_runs(mlflow_folder / "mlflow.db", tracking.experiment_id, sweep_name, N_RUNS)
    write_records(LocalStore(mlflow_folder), sweep_name, N_RUNS)
    return sweep_name


@pytest.fixture
def indexed(many: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The sweep counts as a large one."""
    monkeypatch.setattr(reader_module, "N_NODES_AT_LEAST", 1)
    return many


def no_whole_reading(*values: Any) -> Any:
    pytest.fail("all runs were read")


def test_the_index_gives_the_same_answer_as_reading_all_runs(
    many: str, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = best_config(many, tracking_uri=uri)
    monkeypatch.setattr(reader_module, "N_NODES_AT_LEAST", 1)
    monkeypatch.setattr(reader_module, "_ONE_BY_ONE", 1.0)
    monkeypatch.setattr(reader_module, "sweep_runs", no_whole_reading)
    monkeypatch.setattr(best_module, "N_LISTED", 4)
    best = best_config(many, tracking_uri=uri)
    assert (best.config, best.metrics, best.run_ids, best.upstream, best.artifacts) == (
        whole.config, whole.metrics, whole.run_ids, whole.upstream, whole.artifacts,
    )  # fmt: skip
    assert best.candidates == whole.candidates[:4]
    assert best.notes == ("16 further configuration(s) rank behind the 4 that are listed",)
    assert best.config["source"]["weight_decay"] == 0.003


def test_the_index_gives_the_same_table_as_reading_all_runs(
    many: str, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = results(many, uri).sort_values("key").reset_index(drop=True)
    monkeypatch.setattr(reader_module, "N_NODES_AT_LEAST", 1)
    monkeypatch.setattr(reader_module, "sweep_runs", no_whole_reading)
    table = results(many, uri).sort_values("key").reset_index(drop=True)
    assert table.equals(whole)


@pytest.mark.parametrize("where", [{"method": "fine_tune", "split": 1}, {"target.lr": 0.5}])
def test_labels_and_settings_restrict_it(
    many: str, uri: str, where: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = best_config(many, where=where, tracking_uri=uri)
    monkeypatch.setattr(reader_module, "N_NODES_AT_LEAST", 1)
    monkeypatch.setattr(SweepReader, "rows", no_whole_reading)
    best = best_config(many, where=where, tracking_uri=uri)
    assert replace(best, notes=()) == replace(whole, notes=())


def test_small_sweeps_and_runs_of_another_storage_are_read_from_mlflow(
    many: str, uri: str, tmp_path: Path, mlflow_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def has_index(storage: Path | None = None) -> bool:
        with open_sweep(many, uri, storage) as reader:
            return reader.index is not None

    assert not has_index()
    monkeypatch.setattr(reader_module, "N_NODES_AT_LEAST", 1)
    assert has_index() and has_index(mlflow_folder)
    write_records(LocalStore(tmp_path), many, N_RUNS)
    assert not has_index(tmp_path)
    open_tracking(uri, tmp_path, many, {})  # a run of the same sweep from there: neither has all records
    assert not has_index() and not has_index(tmp_path)


def test_only_new_and_changed_records_are_read(
    indexed: str, uri: str, mlflow_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best_config(indexed, tracking_uri=uri)
    store, read = LocalStore(mlflow_folder), []
    record = LocalStore.record

    def counted(self: LocalStore, stage: str, key: str) -> Any:
        read.append(key)
        return record(self, stage, key)

    monkeypatch.setattr(LocalStore, "record", counted)
    best_config(indexed, tracking_uri=uri)
    assert read == []
    (entry,) = [entry for entry in recorded_nodes(store, indexed) if entry.key == f"{5:020x}"]
    append_nodes(store, indexed, [replace(entry, key="e" * 20, config={**entry.config, "method": "l2_sp"})])
    for path in store.node_dir("target", entry.key).iterdir():
        path.unlink()
    store.node_dir("target", entry.key).rmdir()
    write_record(store, entry, {"best_val_dice": 2.0}, 5)
    best = best_config(indexed, tracking_uri=uri)
    assert read == [entry.key, "e" * 20] or read == ["e" * 20, entry.key]
    assert best.candidates[0].metrics["val_dice"].mean > 0.6


def test_runs_under_way_are_noted_and_those_logged_by_hand_take_part(
    indexed: str, uri: str, tracking: Tracking
) -> None:
    client = mlflow_client(uri)

    def add(**labels: str) -> str:
        tags = {"dwp.sweep": indexed, "dwp.stage": "target"} | {f"dwp.{n}": v for n, v in labels.items()}
        return str(client.create_run(tracking.experiment_id, tags=tags).info.run_id)

    add(key="a" * 20, method="fine_tune")
    notes = best_config(indexed, tracking_uri=uri).notes
    assert notes == ("1 target run(s) are not finished or failed and are left out",)
    for split in range(3):
        run_id = add(method="by_hand", split=str(split))
        client.log_metric(run_id, "val_dice", 10.0)
        client.set_terminated(run_id)
    assert best_config(indexed, tracking_uri=uri).config["method"] == "by_hand"


@pytest.mark.parametrize("content", [b"no database at all " * 100, b""])
def test_a_damaged_index_is_made_again(indexed: str, uri: str, mlflow_folder: Path, content: bytes) -> None:
    best = best_config(indexed, tracking_uri=uri)
    path = mlflow_folder / "sweeps" / indexed / INDEX_FILE
    path.write_bytes(content)
    assert best_config(indexed, tracking_uri=uri) == best
    assert path.read_bytes().startswith(b"SQLite format 3")


def test_an_index_of_another_format_is_made_again(indexed: str, uri: str, mlflow_folder: Path) -> None:
    import sqlite3

    best = best_config(indexed, tracking_uri=uri)
    with sqlite3.connect(mlflow_folder / "sweeps" / indexed / INDEX_FILE) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    assert best_config(indexed, tracking_uri=uri) == best


def test_where_no_index_can_be_kept_the_answer_is_the_same(
    indexed: str, uri: str, mlflow_folder: Path
) -> None:
    best = best_config(indexed, tracking_uri=uri)
    path = mlflow_folder / "sweeps" / indexed / INDEX_FILE
    path.unlink()
    path.mkdir()
    assert best_config(indexed, tracking_uri=uri) == best


def test_a_failed_node_counts_as_not_finished(indexed: str, uri: str, mlflow_folder: Path) -> None:
    store = LocalStore(mlflow_folder)
    entry = recorded_nodes(store, indexed)[1]
    append_nodes(store, indexed, [replace(entry, key="d" * 20)])
    work = store.work_dir("target", "d" * 20)
    values = {
        "key": "d" * 20, "stage": "target", "status": "failed", "config": {}, "history": [], "metrics": {},
        "error": "no memory\ntrace",
    }  # fmt: skip
    (work / "record.json").write_text(json_text(values))
    best = best_config(indexed, tracking_uri=uri)
    assert "1 target run(s) are not finished or failed" in best.notes[0]
    assert SOURCE not in best.run_ids


def test_the_tag_of_a_configuration_tells_settings_and_inputs_apart_but_not_splits(
    tracking: Tracking,
) -> None:
    def tag(node: Any) -> str:
        return node_tags(tracking, node)["dwp.configuration"]

    node = make_node("a" * 20, split=0, seed=0)
    again = replace(node, config={**node.config, "split": 1, "seed": 3})
    other = replace(node, config={**node.config, "target": {"lr": 0.5}})
    source = replace(node, inputs={"source": (("source", "b" * 20),)})
    assert tag(node) == tag(again)
    assert len({tag(node), tag(other), tag(source)}) == 3
