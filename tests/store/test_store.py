"""The store: publish is all or nothing, damage is found, records survive."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dwp_sweep.errors import CorruptArtifactError
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import (
    MANIFEST,
    Point,
    Record,
    append_point,
    read_history,
    read_record,
    write_record,
)


def a_record(key: str = "k1", **values: object) -> Record:
    return Record(key=key, stage="prior", status="done", config={"a": 1}, **values)  # type: ignore[arg-type]


def published(store: Store, key: str = "k1", content: str = "kernels") -> Path:
    out_dir = store.new_out_dir("prior", key)
    (out_dir / "sub").mkdir()
    (out_dir / "sub" / "net.bin").write_text(content)
    return store.publish(out_dir, a_record(key))


def test_a_node_is_published_only_when_its_manifest_is_there(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    out_dir = store.new_out_dir("prior", "k1")
    (out_dir / "net.bin").write_text("half")
    assert not store.is_published("prior", "k1")
    assert store.publish(out_dir, a_record()) == store.node_dir("prior", "k1")
    assert store.is_published("prior", "k1")
    store.verify("prior", "k1")


def test_a_second_builder_changes_nothing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    published(store, content="first")
    published(store, content="second")
    assert (store.node_dir("prior", "k1") / "sub" / "net.bin").read_text() == "first"
    assert [path.name for path in (store.root / "prior").iterdir()] == ["k1"]


def test_a_folder_left_without_a_manifest_is_replaced(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.node_dir("prior", "k1").mkdir(parents=True)
    (store.node_dir("prior", "k1") / "junk").write_text("half written")
    published(store)
    store.verify("prior", "k1")
    assert not (store.node_dir("prior", "k1") / "junk").exists()


@pytest.mark.parametrize("damage", ["flip", "shorten", "remove"])
def test_damage_is_found_and_the_file_named(tmp_path: Path, damage: str) -> None:
    store = LocalStore(tmp_path)
    path = published(store) / "sub" / "net.bin"
    if damage == "flip":
        path.write_text("Kernels")
    elif damage == "shorten":
        path.write_text("kern")
    else:
        path.unlink()
    with pytest.raises(CorruptArtifactError, match=r"net\.bin"):
        store.verify("prior", "k1")


def test_a_manifest_cannot_name_files_outside_its_folder(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    folder = published(store)
    secret = tmp_path / "secret"
    secret.write_text("s")
    (folder / MANIFEST).write_text(json.dumps({"files": {"../../secret": {"size": 1, "sha256": "x"}}}))
    with pytest.raises(CorruptArtifactError, match="outside its folder"):
        store.verify("prior", "k1")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3}', '{"files": {"a": 1}}'])
def test_an_invalid_manifest_is_damage(tmp_path: Path, text: str) -> None:
    store = LocalStore(tmp_path)
    (published(store) / MANIFEST).write_text(text)
    with pytest.raises(CorruptArtifactError, match=MANIFEST):
        store.verify("prior", "k1")


def test_publishing_ends_the_working_folder(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    (store.work_dir("prior", "k1") / "checkpoint").write_text("x")
    published(store)
    assert not (store.root / "work" / "prior" / "k1").exists()


def test_a_failure_is_kept_until_the_node_is_tried_again(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.write_failure(Record(key="k1", stage="prior", status="failed", config={}, error="diverged"))
    failure = store.record("prior", "k1")
    assert failure is not None and failure.error == "diverged"
    store.clear_failure("prior", "k1")
    assert store.record("prior", "k1") is None


def test_a_record_survives_writing_and_reading_even_with_infinities(tmp_path: Path) -> None:
    record = a_record(metrics={"x": float("inf"), "y": 0.1}, history=(Point(1, 5, {"loss": float("-inf")}),))
    write_record(record, tmp_path / "record.json")
    assert "Infinity" not in (tmp_path / "record.json").read_text()
    assert read_record(tmp_path / "record.json") == record


def test_history_keeps_the_last_word_on_each_step_and_drops_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    for step, loss in ((1, 0.5), (2, 0.4), (2, 0.3)):
        append_point(path, Point(step, step, {"loss": loss}))
    with path.open("a") as file:
        file.write('{"step": 3, "time')
    assert [(point.step, point.metrics["loss"]) for point in read_history(path)] == [(1, 0.5), (2, 0.3)]
    append_point(path, Point(4, 4, {"loss": 0.2}))  # a torn line does not swallow the next one
    assert [point.step for point in read_history(path)] == [1, 2, 4]
