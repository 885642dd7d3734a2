"""Tidying a storage on S3: leftovers go, what sweeps need stays, and nothing goes while a run is at work."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dwp_sweep.config.node import entries_of
from dwp_sweep.errors import InputError
from dwp_sweep.harness.attempt import run_node
from dwp_sweep.harness.stopping import cancel_sweep
from dwp_sweep.harness.view.explain import KnownNodes
from dwp_sweep.harness.view.status import sweep_status
from dwp_sweep.store.gc import collect, survey
from dwp_sweep.store.heartbeat import Heartbeat, gc_lock, live_runs, stop_name
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.s3.store import BucketStore
from dwp_sweep.store.sweep_record import append_nodes, record_nodes, recorded_nodes
from tests.harness.toy_stages import STAGES, toy_node, toy_sweep

pytestmark = pytest.mark.slow  # a server is started
On = Callable[[str], Store]
SOURCE = toy_node("source", "source")
TUNED = toy_node("target", "tuned", [SOURCE])
FREE = toy_node("target", "free")
OTHER = toy_node("source", "another")


@pytest.fixture
def store(on: On) -> BucketStore:
    """Two sweeps, all built."""
    opened = on("first")
    assert isinstance(opened, BucketStore)
    for name, nodes in (("toy", (SOURCE, TUNED)), ("gone.1", (FREE,))):
        sweep = toy_sweep(*nodes, name=name)
        record_nodes(opened, name, entries_of(sweep.nodes.values(), sweep.targets))
        for node in nodes:
            assert run_node(node, STAGES[node.stage], opened).status == "published"
    return opened


def test_leftovers_and_forgotten_sweeps_go_and_what_a_sweep_needs_stays(store: BucketStore, on: On) -> None:
    assert survey(store).garbage == ()
    leftovers = [
        f"files/source/{SOURCE.key}/0123456789abcdef",
        f"files/source/{OTHER.key}/0123456789abcdef",
        f"source/{OTHER.key}/damaged",
        f"work/source/{SOURCE.key}",
        "sweeps/toy/stop-20200101",
    ]
    for name in leftovers:
        folder = "damaged" not in name and "stop" not in name
        store.bucket.write(f"{name}/net.bin" if folder else name, b"half")
    before = survey(on("second"))
    assert sorted(part.path.as_posix() for part in before.garbage) == sorted(leftovers)
    assert {row.name: row.n_nodes for row in before.usage} == {
        "source": 1,
        "target": 2,
        "work": 0,
        "sweeps": 0,
    }
    assert collect(on("second"), before) == before.n_bytes_garbage == 5 * len(b"half")
    assert survey(store).garbage == ()
    forgotten = survey(store, ["gone.1"])
    assert sorted(row.path.as_posix() for row in forgotten.garbage) == ["sweeps/gone.1", f"target/{FREE.key}"]
    collect(store, forgotten)
    assert [store.is_published(node.stage, node.key) for node in (SOURCE, TUNED, FREE)] == [True, True, False]
    assert store.sweeps() == ["toy"] and not [e for e in store.bucket.entries("") if FREE.key in e.name]


def test_a_run_elsewhere_is_seen_can_be_asked_to_stop_and_keeps_everything(
    store: BucketStore, on: On, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.bucket.write(f"files/source/{OTHER.key}/0123456789abcdef/net.bin", b"on its way")
    work = {"key": FREE.key, "epoch": 2, "n_epochs": 9, "started_ms": 1}
    with Heartbeat(store, "toy", "now", lambda: {"n_slots": 2, "in_hand": [work]}):
        other = on("second")
        monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
        assert [(run.run, run.n_slots) for run in live_runs(other)] == [("now", 2)]
        with pytest.raises(InputError, match="a run is working on it: toy"):
            collect(other, survey(other))
        assert [run.run for run in cancel_sweep("toy", other)] == ["now"]
        mark = store.mark(stop_name("toy", "now"))
        while not other.mark(stop_name("toy", "now")).exists():
            pass  # a mark is set beside whoever sets it
        assert mark.exists()
        mark.unlink()
    assert live_runs(on("third")) == []


def test_of_two_that_remove_one_is_refused(store: BucketStore, on: On) -> None:
    with gc_lock(store) as still_here:
        still_here()
        with pytest.raises(InputError, match="another dwp-sweep gc"), gc_lock(on("second")):
            pytest.fail("both are at work")
    with gc_lock(on("second")):
        pass


def test_status_and_explain_answer_on_a_machine_that_has_nothing(store: BucketStore, on: On) -> None:
    other = on("second")
    status = sweep_status("toy", other)
    assert status.counts == {"done": 2} and status.left_s == 0.0
    known = KnownNodes(other, STAGES)
    assert known.find(FREE.key[:8]).key == FREE.key
    with pytest.raises(InputError, match="no sweep named 'tyo'"):
        sweep_status("tyo", other)
    assert not other.node_dir("target", TUNED.key).exists(), "no network was fetched for that"


def test_nodes_that_several_record_at_once_are_all_kept(store: BucketStore, on: On) -> None:
    nodes = [toy_node("target", f"asked {number}") for number in range(4)]
    other = on("second")
    append_nodes(store, "toy", entries_of(nodes[:1], []))
    append_nodes(other, "toy", entries_of(nodes[1:2], []))
    rewrite = store.files.rewrite_log

    def overtaken(name: str, change: Callable[[str], str]) -> None:
        def late(text: str) -> str:
            record_nodes(other, "toy", entries_of(nodes[2:3], []))
            return change(text)

        rewrite(name, late)

    store.files.rewrite_log = overtaken  # type: ignore[method-assign]
    record_nodes(store, "toy", entries_of(nodes[3:], []))
    keys = [entry.key for entry in recorded_nodes(other, "toy")]
    assert sorted(keys) == sorted(node.key for node in (SOURCE, TUNED, *nodes))
    assert keys.index(SOURCE.key) < keys.index(TUNED.key)
