"""What other terminals see and do: status, cancel, gc and explain over toy nodes, without Ray and MLflow."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from dwp_sweep.config.node import Node, entries_of
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import InputError
from dwp_sweep.harness.attempt import run_node
from dwp_sweep.harness.stopping import cancel_sweep
from dwp_sweep.harness.view.explain import KnownNodes, differences, explain_node
from dwp_sweep.harness.view.status import sweep_status
from dwp_sweep.store.gc import collect, survey
from dwp_sweep.store.heartbeat import Heartbeat, live_runs, stop_name
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import Point, append_point
from dwp_sweep.store.sweep_record import append_nodes, record_nodes, record_resources, recorded_nodes
from tests.harness.toy_stages import STAGES, toy_node, toy_sweep

SOURCE = toy_node("source", "source")
BAD = toy_node("source", "bad", behaviour="diverges")
TUNED = toy_node("target", "tuned", [SOURCE])
CHILD = toy_node("target", "child", [BAD])
FREE = toy_node("target", "free")
SWEEP = toy_sweep(SOURCE, BAD, TUNED, CHILD, FREE)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return LocalStore(tmp_path)


def record(store: Store, sweep: Sweep = SWEEP) -> None:
    record_nodes(store, sweep.name, entries_of(sweep.nodes.values(), sweep.targets))


def build(store: Store, *nodes: Node) -> None:
    for node in nodes:
        run_node(node, STAGES[node.stage], store)


def test_a_record_of_a_sweep_gives_its_nodes_back_and_grows(store: Store) -> None:
    record(store)
    entries = recorded_nodes(store, "toy")
    assert [(e.key, e.stage, e.title, e.inputs) for e in entries] == [
        (n.key, n.stage, n.title, n.inputs) for n in SWEEP.nodes.values()
    ]
    assert [entry.is_target for entry in entries] == [False, False, True, True, True]
    later = toy_node("target", "later", [SOURCE])
    append_nodes(store, "toy", entries_of([later], [later.key]))
    with (store.sweep_dir("toy") / "nodes.jsonl").open("a") as file:
        file.write('{"key": "half a li')
    assert [entry.key for entry in recorded_nodes(store, "toy")] == [*SWEEP.nodes, later.key]
    record(store, toy_sweep(FREE))
    assert len(recorded_nodes(store, "toy")) == 6, "a smaller sweep of the same name forgets nothing"


def test_status_tells_done_running_waiting_failed_and_blocked(store: Store) -> None:
    record(store)
    record_resources(store, "toy", {"source": (2.0, 0.5), "target": (1.0, 1.0)})
    build(store, SOURCE, BAD)
    append_point(store.work_dir("target", FREE.key) / "history.jsonl", Point(3, 1, {"val_loss": 0.25}))
    began = time.time_ns() // 1_000_000 - 60_000
    work = {"key": FREE.key, "epoch": 2, "n_epochs": 9, "started_ms": began}
    with Heartbeat(store, "toy", "now", lambda: {"n_slots": 2, "in_hand": [work]}):
        found = sweep_status("toy", store)
    states = {node.title: node.state for node in found.nodes}
    assert [states[n.title] for n in (SOURCE, BAD, TUNED, CHILD, FREE)] == [
        "done", "failed", "waiting", "blocked", "running",
    ]  # fmt: skip
    (running,), (failed,) = found.in_state("running"), found.in_state("failed")
    assert (running.epoch, running.n_epochs, running.metrics) == (3, 9, {"val_loss": 0.25})
    assert "last finite step" in failed.log[0] and "DivergedError" in failed.log[-1]
    assert [run.run for run in found.runs] == ["now"] and found.n_slots == 2
    assert found.gpu_hours == pytest.approx(60 / 3600, rel=0.5) and found.cpu_hours > found.gpu_hours / 2


def test_status_of_a_finished_sweep_has_nothing_left(store: Store) -> None:
    sweep = toy_sweep(SOURCE, TUNED, FREE)
    record(store, sweep)
    build(store, SOURCE, TUNED, FREE)
    store.set_aside("source", SOURCE.key)
    found = sweep_status("toy", store)
    assert found.counts == {"unneeded": 1, "done": 2} and found.left_s == 0.0 and found.runs == ()


def test_an_unknown_sweep_is_named_with_its_nearest(store: Store) -> None:
    record(store)
    for ask in (sweep_status, cancel_sweep):
        with pytest.raises(InputError, match=r"no sweep named 'tyo' \(did you mean 'toy'\?"):
            ask("tyo", store)
    store.sweep_dir("old")
    with pytest.raises(InputError, match="kept no list of its nodes"):
        sweep_status("old", store)


def test_cancel_asks_the_runs_that_live_and_no_others(store: Store) -> None:
    record(store)
    with pytest.raises(InputError, match="no run of this sweep"):
        cancel_sweep("toy", store)
    with Heartbeat(store, "toy", "now"):
        assert [run.run for run in cancel_sweep("toy", store)] == ["now"]
        assert store.mark(stop_name("toy", "now")).exists()
    assert live_runs(store) == []


@pytest.mark.parametrize("process", ["", "another boot/7"])
def test_a_run_that_was_killed_does_not_count_as_live(store: Store, process: str) -> None:
    with Heartbeat(store, "toy", "now") as presence:
        values = json.loads(presence.path.read_text())
        values["started_ms"] = 1  # long before this process was born: its number was another one's
        values["process"] = process
        other = presence.path.with_name("run-killed.json")
        other.write_text(json.dumps({**values, "run": "killed"}))
        assert [run.run for run in live_runs(store, "toy")] == ["now"]


def leftovers(store: Store) -> list[Path]:
    """What gc may take: damaged, half written, Ray's, a working folder of a published node, a dead run's."""
    build(store, toy_node("source", "broken"))
    damaged = store.set_aside("source", toy_node("source", "broken").key)
    half = store.new_out_dir("source", OTHER_KEY)
    work = store.work_dir("source", SOURCE.key)
    ray = store.root / "ray" / "toy-20200101"
    ray.mkdir(parents=True)
    dead = store.mark(stop_name("toy", "20200101"))
    dead.touch()
    return [damaged, half, work, ray, dead]


OTHER_KEY = toy_node("source", "another").key


def test_gc_takes_leftovers_and_forgotten_sweeps_and_keeps_what_a_sweep_needs(store: Store) -> None:
    record(store, toy_sweep(SOURCE, TUNED))
    record(store, toy_sweep(FREE, name="gone"))
    build(store, SOURCE, TUNED, FREE)
    gone = leftovers(store)
    found = survey(store)
    assert {one.path for one in found.garbage} == set(gone)
    assert {row.name: row.n_nodes for row in found.usage}["target"] == 2
    assert collect(store, found) == found.n_bytes_garbage
    assert not any(path.exists() for path in gone)
    forgotten = survey(store, ["gone"])
    assert {one.path for one in forgotten.garbage} == {
        store.node_dir("target", FREE.key), store.root / "sweeps" / "gone",
    }  # fmt: skip
    collect(store, forgotten)
    assert [store.is_published(n.stage, n.key) for n in (SOURCE, TUNED, FREE)] == [True, True, False]
    assert store.sweeps() == ["toy"]


def test_gc_drops_no_node_while_some_sweep_never_said_what_it_needs(store: Store) -> None:
    build(store, FREE)
    store.sweep_dir("old")
    found = survey(store)
    assert found.garbage == () and "old" in found.notes[0]
    assert [one.path.name for one in survey(store, ["old"]).garbage] == [FREE.key, "old"]


def test_gc_removes_nothing_while_a_run_works_on_the_storage(store: Store) -> None:
    record(store, toy_sweep(SOURCE))
    gone = leftovers(store)
    with (
        Heartbeat(store, "toy", "now"),
        pytest.raises(InputError, match="a run is working on it: toy"),
    ):
        collect(store, survey(store))
    assert all(path.exists() for path in gone)
    with pytest.raises(InputError, match="no sweep named 'toi'"):
        survey(store, ["toi"])


def test_explain_names_fields_and_goes_down_the_inputs(store: Store) -> None:
    source, other = toy_node("source", "s", n_epochs=2), toy_node("source", "s", n_epochs=3)
    first, second = toy_node("target", "t", [source]), toy_node("target", "t", [other], log="elsewhere")
    record(store, toy_sweep(source, other, first, second))
    known = KnownNodes(store, STAGES)
    found = differences(known.find(first.key[:8]), known.find(second.key), known)
    assert [(d.field, d.first, d.second, d.is_keyed) for d in found] == [
        ("log", "", "elsewhere", False),
        ("inputs.from[0]", source.key, other.key, True),
        ("inputs.from[0].n_epochs", 2, 3, True),
    ]
    assert differences(known.find(first.key), known.find(first.key), known) == ()


def test_explain_says_why_a_node_is_not_cached_and_what_is_nearest(store: Store) -> None:
    near, far = toy_node("target", "t", n_epochs=3), toy_node("target", "u", n_epochs=4, epoch_s=0.001)
    wanted = toy_node("target", "t", n_epochs=2)
    record(store, toy_sweep(near, far, wanted, BAD))
    build(store, near, far, BAD)
    known = KnownNodes(store, STAGES)
    found = explain_node(known.find(wanted.key), known)
    assert found.state == "never built" and found.nearest is not None and found.nearest.key == near.key
    assert [(d.field, d.first, d.second) for d in found.differences] == [("n_epochs", 3, 2)]
    assert explain_node(known.find(near.key), known).state == "published"
    failed = explain_node(known.find(BAD.key), known)
    assert failed.state == "failed" and "last finite step" in failed.why
    (store.node_dir("target", near.key) / "out.json").write_text("{}")
    assert explain_node(known.find(near.key), known).state == "damaged"


def test_explain_refuses_prefixes_that_mean_no_node_or_several(store: Store) -> None:
    keys = [toy_node("target", f"t{i}") for i in range(2)]
    record(store, toy_sweep(*keys))
    known = KnownNodes(store, STAGES)
    for prefix, words in (
        ("abc", "no beginning of a key"),
        ("zzzz", "no beginning"),
        ("0000", "begins with"),
    ):
        with pytest.raises(InputError, match=words):
            known.find(prefix)
    twins = [f"{'a' * 8}{place:012d}" for place in (1, 2)]
    entries = entries_of(keys, ())
    append_nodes(
        store,
        "toy",
        [entry.__class__(**{**vars(entry), "key": key}) for entry, key in zip(entries, twins, strict=True)],
    )
    with pytest.raises(InputError, match=r"2 keys begin with 'aaaa' \(give more digits: aaaaaaaa0000 "):
        KnownNodes(store, STAGES).find("aaaa")
