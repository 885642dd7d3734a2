"""The store on S3: one builder wins, nothing half is read, damage is found, work outlives machines."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from dwp_sweep.errors import CorruptArtifactError
from dwp_sweep.store.open_store import open_store
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import Point, Record, append_point
from dwp_sweep.store.s3.store import BucketStore
from tests.store.s3_server import S3Server, machine

pytestmark = pytest.mark.slow  # a server is started
On = Callable[[str], Store]


def a_record(key: str = "k1", **values: object) -> Record:
    return Record(key=key, stage="prior", status="done", config={"a": 1}, **values)  # type: ignore[arg-type]


def published(store: Store, key: str = "k1", content: str = "kernels") -> Path:
    out_dir = store.new_out_dir("prior", key)
    (out_dir / "sub").mkdir()
    (out_dir / "sub" / "net.bin").write_text(content)
    return store.publish(out_dir, a_record(key))


def bucket_of(store: Store) -> BucketStore:
    assert isinstance(store, BucketStore)
    return store


def objects(store: Store, start: str = "") -> list[str]:
    return [entry.name for entry in bucket_of(store).bucket.entries(start)]


def net_object(store: Store) -> str:
    (name,) = [name for name in objects(store, "files/") if name.endswith("net.bin")]
    return name


def test_of_many_builders_one_wins_and_all_end_with_its_content(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, server, tmp_path / "unused")
    url = server.new_bucket(f"b-{uuid.uuid4().hex[:12]}")
    stores: list[Store] = []
    for number in range(6):
        monkeypatch.setenv("DWP_SWEEP_MIRROR", str(tmp_path / f"m{number}"))
        stores.append(open_store(url))
    barrier, contents = threading.Barrier(len(stores)), dict[int, str]()

    def build(number: int) -> None:
        barrier.wait()
        folder = published(stores[number], content=f"of builder {number}")
        contents[number] = (folder / "sub" / "net.bin").read_text()

    threads = [threading.Thread(target=build, args=(number,)) for number in range(len(stores))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(contents) == 6 and len(set(contents.values())) == 1
    assert sorted(name.rpartition("/")[2] for name in server.names(url)) == [
        "manifest.json", "net.bin", "record.json",
    ]  # fmt: skip


def test_another_machine_sees_what_was_published_and_fetches_it_whole(on: On) -> None:
    published(on("first"))
    other = on("second")
    assert other.is_published("prior", "k1") and not other.is_published("prior", "k2")
    assert not other.node_dir("prior", "k1").exists()
    folder = other.fetch("prior", "k1")
    assert folder.is_relative_to(other.root) and (folder / "sub" / "net.bin").read_text() == "kernels"
    assert other.record("prior", "k1") == a_record()
    assert [key for _, key in other.published("prior")] == ["k1"] and other.stages() == ["prior"]


def test_one_file_is_had_without_the_others(on: On) -> None:
    published(on("first"))
    other = on("second")
    path = other.fetch_file("prior", "k1", "sub/net.bin")
    assert path is not None and path.read_text() == "kernels"
    assert not list(other.root.rglob("record.json"))
    assert other.fetch_file("prior", "k1", "no such file") is None
    assert other.fetch_file("prior", "k2", "sub/net.bin") is None


def test_an_upload_that_never_came_to_its_end_is_not_there(on: On, monkeypatch: pytest.MonkeyPatch) -> None:
    store = bucket_of(on("first"))

    def die(name: str, content: bytes) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(store.bucket, "create", die)
        published(store, content="half")
    assert net_object(store), "the files have arrived, the manifest has not"
    other = on("second")
    assert not other.is_published("prior", "k1") and other.record("prior", "k1") is None
    with pytest.raises(CorruptArtifactError, match="missing"):
        other.fetch("prior", "k1")
    published(other, content="whole")
    assert (on("third").fetch("prior", "k1") / "sub" / "net.bin").read_text() == "whole"


def test_a_flipped_byte_in_the_bucket_is_found_told_and_built_again(on: On) -> None:
    store = bucket_of(on("first"))
    published(store)
    store.bucket.write(net_object(store), b"Kernels")
    other = on("second")
    with pytest.raises(CorruptArtifactError, match=r"net\.bin differs"):
        other.fetch("prior", "k1")
    assert not other.node_dir("prior", "k1").exists() and not list(other.root.glob("prior/.*"))
    third = on("third")
    with pytest.raises(CorruptArtifactError, match=r"net\.bin differs"):
        third.verify("prior", "k1")
    with third.snapshot(), pytest.raises(CorruptArtifactError, match=r"net\.bin differs"):
        third.verify("prior", "k1")
    third.set_aside("prior", "k1")
    assert not third.is_published("prior", "k1")
    published(third, content="sound")
    assert (other.fetch("prior", "k1") / "sub" / "net.bin").read_text() == "sound"
    third.verify("prior", "k1")


def test_a_byte_that_flips_on_the_way_costs_one_more_download(
    on: On, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(on("first"))
    other = bucket_of(on("second"))
    download, flipped = other.bucket.download, []

    def flip_once(name: str, path: Path) -> bool:
        arrived = download(name, path)
        if name.endswith("net.bin") and not flipped:
            flipped.append(name)
            path.write_text("Kernels")
        return arrived

    monkeypatch.setattr(other.bucket, "download", flip_once)
    assert (other.fetch("prior", "k1") / "sub" / "net.bin").read_text() == "kernels" and flipped
    other.verify("prior", "k1")


def test_a_byte_that_flips_in_the_mirror_is_fetched_again(on: On) -> None:
    path = published(on("first")) / "sub" / "net.bin"
    path.write_text("Kernels")
    assert (on("first").fetch("prior", "k1") / "sub" / "net.bin").read_text() == "kernels"


def test_who_sets_aside_late_leaves_what_was_built_again(on: On) -> None:
    store = bucket_of(on("first"))
    published(store)
    store.bucket.write(net_object(store), b"Kernels")
    with pytest.raises(CorruptArtifactError):
        on("second").fetch("prior", "k1")
    mark = store.files.read("prior/k1/damaged")
    store.set_aside("prior", "k1")
    published(store, content="sound")
    store.files.write("prior/k1/damaged", mark or "")  # a slow machine tells of the first one only now
    store.verify("prior", "k1")
    on("third").set_aside("prior", "k1")
    assert store.is_published("prior", "k1") and not store.files.read("prior/k1/damaged")
    with pytest.raises(FileNotFoundError):
        store.set_aside("prior", "k2")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"files": 3}', '{"attempt": "a", "files": {"../../x": {"size": 1, "sha256": "y"}}}',
     '{"attempt": "../a", "files": {}}', '{"attempt": "a", "files": {"/x": {"size": 1, "sha256": "y"}}}'],
)  # fmt: skip
def test_an_invalid_manifest_is_damage_and_can_be_set_aside(on: On, text: str) -> None:
    store = bucket_of(on("first"))
    store.bucket.write("prior/k1/manifest.json", text.encode())
    assert store.record("prior", "k1") is None
    with pytest.raises(CorruptArtifactError, match=r"manifest\.json"):
        store.fetch("prior", "k1")
    with pytest.raises(CorruptArtifactError, match=r"manifest\.json"):
        store.verify("prior", "k1")
    store.set_aside("prior", "k1")
    published(store)
    store.verify("prior", "k1")


def test_a_listing_answers_for_all_nodes_of_a_stage(on: On, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("k1", "k2"):
        published(on("first"), key)
    other = bucket_of(on("second"))
    with other.snapshot([("prior", "k1"), ("prior", "k2")]):
        for name in ("stat", "read", "read_tagged"):  # no request a node any more
            monkeypatch.setattr(other.bucket, name, lambda name: pytest.fail(f"asked for {name}"))
        assert [other.is_published("prior", key) for key in ("k1", "k2", "k3")] == [True, True, False]
        assert other.record("prior", "k2") == a_record("k2") and other.record("prior", "k3") is None
        assert other.read_work("prior", "k3", "history.jsonl") is None
        other.verify("prior", "k1")


def test_the_working_folder_goes_on_on_another_machine_and_ends_with_publishing(on: On) -> None:
    first, second = on("first"), on("second")
    work = first.work_dir("prior", "k1")
    append_point(work / "history.jsonl", Point(1, 5, {"loss": 1.0}))
    (work / "checkpoint").write_text("epoch 1")
    first.keep_work("prior", "k1", at_once=True)
    second.take_work("prior", "k1")
    there = second.work_dir("prior", "k1")
    assert (there / "checkpoint").read_text() == "epoch 1" and (there / "history.jsonl").read_text()
    (there / "checkpoint").write_text("epoch 2")
    second.keep_work("prior", "k1", at_once=True)
    assert (second.read_work("prior", "k1", "checkpoint")) == "epoch 2"
    on("first").take_work("prior", "k1")
    assert (work / "checkpoint").read_text() == "epoch 2"
    published(second)
    assert not objects(second, "work/") and not there.exists()


def test_a_machine_that_is_ahead_of_what_it_kept_goes_on_with_its_own(on: On) -> None:
    first = on("first")
    work = first.work_dir("prior", "k1")
    (work / "checkpoint").write_text("epoch 1")
    first.keep_work("prior", "k1", at_once=True)
    (work / "checkpoint").write_text("epoch 2")  # and its worker dies
    again = on("first")
    again.take_work("prior", "k1")
    assert (work / "checkpoint").read_text() == "epoch 2"
    again.keep_work("prior", "k1", at_once=True)
    second = on("second")
    second.take_work("prior", "k1")
    assert (second.work_dir("prior", "k1") / "checkpoint").read_text() == "epoch 2"


def test_a_failure_and_a_wish_to_prune_are_seen_everywhere_until_the_node_is_tried_again(on: On) -> None:
    first, second = on("first"), on("second")
    first.write_failure(Record(key="k1", stage="prior", status="failed", config={}, error="diverged"))
    first.ask_to_prune("prior", "k1", "worse")
    record = second.record("prior", "k1")
    assert record is not None and record.error == "diverged" and second.prune_reason("prior", "k1") == "worse"
    second.clear_failure("prior", "k1")
    assert on("first").record("prior", "k1") is None and on("first").prune_reason("prior", "k1") is None


def test_places_below_one_mirror_are_places_below_another(on: On) -> None:
    first = on("first")
    folder = first.root / "phantom" / "abc"
    folder.mkdir(parents=True)
    (folder / "dataset.json").write_text("{}")
    config = {"data": [{"root": str(folder)}], "cache": str(first.root / "cache"), "other": "/data"}
    first.hand_over("prior", "k1", {"config": config})
    second = on("second")
    there = second.handed_over("prior", "k1")["config"]
    assert there == {
        "data": [{"root": str(second.root / "phantom" / "abc")}],
        "cache": str(second.root / "cache"),
        "other": "/data",
    }
    assert (second.root / "phantom" / "abc" / "dataset.json").read_text() == "{}"
    assert str(first.root) not in json.dumps([second.files.read(name) for name in objects(second, "work/")])
