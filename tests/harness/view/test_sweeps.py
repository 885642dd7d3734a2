"""All sweeps of a storage at a glance."""

from __future__ import annotations

from pathlib import Path

import pytest

import dwp_sweep
from dwp_sweep.harness.view.sweeps import list_sweeps, size_text
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.record import Record
from dwp_sweep.store.sweep_record import NodeEntry, record_nodes


def publish(store: LocalStore, key: str, status: str = "done", **metrics: float) -> NodeEntry:
    record = Record(key, "target", status, {}, metrics=metrics, error="torn" if status == "failed" else None)
    if status == "done":
        out_dir = store.new_out_dir("target", key)
        (out_dir / "net").write_bytes(b"x" * 1_000_000)
        store.publish(out_dir, record)
    else:
        store.write_failure(record)
    return NodeEntry(key, "target", f"target {key[:2]}", is_target=True)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    store = LocalStore(tmp_path / "runs")
    done = [publish(store, "ab" * 10, best_val_dice=0.7), publish(store, "cd" * 10, best_val_dice=0.8)]
    record_nodes(store, "finished", done)
    record_nodes(store, "begun", [done[0], NodeEntry("ef" * 10, "target", "target ef", is_target=True)])
    return store


def test_state_progress_best_and_size_are_told(store: LocalStore) -> None:
    rows = {row.name: row for row in list_sweeps(store).sweeps}
    finished, begun = rows["finished"], rows["begun"]
    assert (finished.state, finished.n_done, finished.n_nodes, finished.best_val_dice) == ("done", 2, 2, 0.8)
    assert (begun.state, begun.n_done, begun.n_nodes, begun.best_val_dice) == ("open", 1, 2, 0.7)
    assert 2_000_000 < finished.n_bytes < 2_100_000 and 1_000_000 < begun.n_bytes < 1_100_000
    assert finished.age_s < 3600


def test_the_list_is_a_line_in_python_and_a_table_for_people(store: LocalStore) -> None:
    found = dwp_sweep.sweeps(store.root)
    assert "'finished'" in repr(found) and "\n" not in repr(found)
    (table,) = found.tables()
    assert {row[0].text for row in table.rows} == {"finished", "begun"}
    assert {row["name"] for row in found.to_dict()} == {"finished", "begun"}


def test_an_empty_storage_says_so(tmp_path: Path) -> None:
    (table,) = dwp_sweep.sweeps(tmp_path / "none").tables()
    assert not table.rows and "no sweep on" in table.notes[0]


@pytest.mark.parametrize(("n", "text"), [(0, "0.0 MB"), (12_400_000, "12 MB"), (3_100_000_000, "3.1 GB")])
def test_sizes_are_for_people(n: int, text: str) -> None:
    assert size_text(n) == text
