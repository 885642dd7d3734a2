from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from dwp_sweep.config.node import Node
from dwp_sweep.harness import attempt
from dwp_sweep.harness.attempt import Ending, run_node
from dwp_sweep.stages.contract import SCANS, SCANS_READ
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import Point, Record
from tests.harness.toy_stages import STAGES, runs_of, toy_node


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return LocalStore(tmp_path / "storage")


def run(store: Store, node: Node, **options: object) -> Ending:
    return run_node(node, STAGES[node.stage], store, **options)  # type: ignore[arg-type]


class Mirror:
    def __init__(self) -> None:
        self.seen: list[object] = []

    def start(self) -> None:
        self.seen.append("start")

    def epoch(self, point: Point) -> None:
        self.seen.append(point)

    def finish(self, record: Record, folder: Path) -> None:
        assert (folder / "manifest.json").is_file()
        self.seen.append(record.status)

    def fail(self, record: Record) -> None:
        self.seen.append(record.status)

    def stop(self) -> None:
        self.seen.append("stopped")

    def prune(self, record: Record) -> None:
        self.seen.append(record.status)


class StopAfter:
    """Says stop once a number of epochs have been reported."""

    def __init__(self, n_epochs: int) -> None:
        self.left = n_epochs

    def report(self, epoch: int, n_epochs: int, metrics: object) -> None:
        self.left -= 1

    def must_stop(self) -> bool:
        return self.left <= 0


def test_a_node_is_published_with_its_record_and_history(store: Store) -> None:
    source = toy_node("source", "source")
    child = toy_node("target", "child", [source], n_epochs=3)
    assert run(store, source) == run(store, child) == Ending("published")
    store.verify("target", child.key)
    record = store.record("target", child.key)
    assert record is not None and record.status == "done"
    assert [point.step for point in record.history] == [1, 2, 3]
    assert record.history[2].metrics == {"val_loss": pytest.approx(1 / 3)}
    assert record.metrics == {"score": 1.0, "wall_s": record.wall_s}
    assert record.inputs == {"from": [source.key]} and record.labels == {"method": "child"}
    assert record.versions["python"]


def test_a_failure_is_recorded_with_its_message_first_and_the_traceback_after(store: Store) -> None:
    node = toy_node("source", "bad", behaviour="has a bug")
    ending = run(store, node)
    assert ending == Ending("failed", "ZeroDivisionError: float division by zero")
    record = store.record("source", node.key)
    assert record is not None and record.status == "failed" and record.error is not None
    assert record.error.startswith(ending.message + "\n\n") and "toy_stages.py" in record.error
    assert not store.is_published("source", node.key)
    assert not list((store.root / "source").glob(".*")), "the half-written output stays behind"


def test_our_own_errors_speak_for_themselves(store: Store) -> None:
    ending = run(store, toy_node("source", "bad", behaviour="diverges"))
    assert ending.message == "the loss became nan in step 7; the last finite step was 6"


def test_out_of_device_memory_asks_for_a_new_process(store: Store) -> None:
    ending = run(store, toy_node("source", "bad", behaviour="runs out of device memory"))
    assert ending.needs_new_process and "target.batch_size" in ending.message


def test_a_stopped_node_goes_on_where_it_was_and_its_record_has_every_epoch_once(
    store: Store, tmp_path: Path
) -> None:
    log = tmp_path / "log.txt"
    node = toy_node("source", "source", log=log, n_epochs=5)
    stop = StopAfter(2)
    assert run(store, node, report=stop.report, must_stop=stop.must_stop) == Ending("stopped")
    assert not store.is_published("source", node.key)
    assert run(store, node) == Ending("published")
    assert [name for epoch in range(1, 6) for name in runs_of(log, f"epoch {epoch}")] == ["source"] * 5
    record = store.record("source", node.key)
    assert record is not None and [point.step for point in record.history] == [1, 2, 3, 4, 5]


def test_nothing_starts_when_the_run_is_stopping_already(store: Store, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    assert run(store, toy_node("source", "source", log=log), must_stop=lambda: True) == Ending("stopped")
    assert runs_of(log) == []


def test_the_mirror_is_told_that_a_node_leaves_but_nothing_of_one_that_never_began(store: Store) -> None:
    node = toy_node("source", "source", n_epochs=5)
    left, never_began = Mirror(), Mirror()
    stop = StopAfter(2)
    run(store, node, observer=left, report=stop.report, must_stop=stop.must_stop)
    assert [seen.step if isinstance(seen, Point) else seen for seen in left.seen] == [
        "start",
        1,
        2,
        "stopped",
    ]
    run(store, node, observer=never_began, must_stop=lambda: True)
    assert never_began.seen == []


def test_a_node_that_is_given_up_leaves_after_its_epoch_with_a_record_and_can_be_asked_for_again(
    store: Store,
) -> None:
    node = toy_node("target", "target", n_epochs=5)
    mirror = Mirror()

    def give_up(epoch: int, n_epochs: int, metrics: object) -> None:
        if epoch == 2:
            store.ask_to_prune("target", node.key, "s/all: asha after epoch 2")

    assert run(store, node, observer=mirror, report=give_up) == Ending("pruned", "s/all: asha after epoch 2")
    assert (mirror.seen[0], mirror.seen[-1]) == ("start", "pruned")
    record = store.record("target", node.key)
    assert record is not None and (record.status, record.error) == ("pruned", "s/all: asha after epoch 2")
    assert [point.step for point in record.history] == [1, 2] and record.metrics["val_loss"] == 0.5
    assert not store.is_published("target", node.key)

    store.clear_failure("target", node.key)
    assert run(store, node).status == "published"


def test_a_node_whose_worker_was_lost_after_it_was_given_up_does_not_go_on(store: Store) -> None:
    node = toy_node("target", "target", n_epochs=5)
    stop = StopAfter(2)
    run(store, node, report=stop.report, must_stop=stop.must_stop)
    store.ask_to_prune("target", node.key, "s/all: median after epoch 2")
    assert run(store, node).status == "pruned"
    record = store.record("target", node.key)
    assert record is not None and [point.step for point in record.history] == [1, 2]


def test_an_epoch_that_is_told_again_keeps_its_time_so_that_replay_adds_nothing(store: Store) -> None:
    node = toy_node("source", "source", n_epochs=3)
    first, second = Mirror(), Mirror()
    stop = StopAfter(2)
    run(store, node, observer=first, report=stop.report, must_stop=stop.must_stop)
    (store.work_dir("source", node.key) / "epoch.txt").write_text("1")  # the checkpoint of epoch 2 is lost
    run(store, node, observer=second)
    told = [point for point in second.seen if isinstance(point, Point)]
    assert [point.step for point in told] == [2, 3]
    assert told[0] in first.seen
    assert (second.seen[0], second.seen[-1]) == ("start", "done")


def test_damaged_inputs_are_not_read(store: Store) -> None:
    source = toy_node("source", "source")
    child = toy_node("target", "child", [source])
    mirror = Mirror()
    run(store, source)
    (store.node_dir("source", source.key) / "out.json").write_text("{}")
    ending = run(store, child, observer=mirror)
    assert ending.status == "failed" and "out.json" in ending.message
    assert mirror.seen == ["start", "failed"]


def test_a_node_that_another_run_publishes_meanwhile_is_done(store: Store) -> None:
    node = toy_node("source", "source", n_epochs=3)

    def other_run(epoch: int, n_epochs: int, metrics: object) -> None:
        if epoch == 2:
            aside = store.work_dir("source", node.key).rename(store.root / "mine")
            assert run(store, node) == Ending("published")  # which removes the shared working folder
            shutil.rmtree(aside)

    assert run(store, node, report=other_run) == Ending("published")
    store.verify("source", node.key)


def test_an_attempt_whose_node_another_run_has_taken_over_leaves_without_a_trace(store: Store) -> None:
    node = toy_node("source", "source", n_epochs=5)
    mirror = Mirror()
    answers = iter([True, True, False, False])
    ending = run(store, node, observer=mirror, holds_lease=lambda: next(answers))
    assert ending == Ending("stopped", "another run has taken it over")
    assert [seen.step if isinstance(seen, Point) else seen for seen in mirror.seen] == ["start", 1, 2]
    assert store.record("source", node.key) is None and not store.is_published("source", node.key)
    assert not list((store.root / "source").glob(".*"))


def test_a_deposed_attempt_neither_publishes_nor_records_its_failure(store: Store) -> None:
    quick, bad = toy_node("source", "source", n_epochs=0), toy_node("source", "bad", behaviour="has a bug")
    for node in (quick, bad):
        assert run(store, node, holds_lease=lambda: False).status == "stopped"
        assert store.record("source", node.key) is None


def test_wall_time_counts_a_lost_attempt_up_to_its_last_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "_now_ms", lambda: 103_000)
    history = (Point(1, 1_500, {}), Point(2, 4_000, {}), Point(3, 101_000, {}))
    assert attempt._wall_s([1_000, 50_000, 100_000], history) == pytest.approx(3.0 + 0.0 + 3.0)


def test_scans_that_are_read_are_told_and_not_kept_and_a_run_that_stops_is_heard(store: Store) -> None:
    node = toy_node("source", "source", n_epochs=2)
    told: list[tuple[int, dict[str, float]]] = []
    mirror = Mirror()

    def reads_first(config, inputs, work_dir, out_dir, emit):  # type: ignore[no-untyped-def]
        emit("toy", 0, {SCANS_READ: 31, SCANS: 275})
        return STAGES["source"].run(config, inputs, work_dir, out_dir, emit)

    def report(epoch: int, n_epochs: int, metrics: Mapping[str, float]) -> None:
        told.append((epoch, dict(metrics)))

    stage = replace(STAGES["source"], run=reads_first)
    stopped = run_node(node, stage, store, mirror, report, must_stop=lambda: bool(told))
    assert stopped == Ending("stopped")
    assert told == [(0, {"scans_read": 31.0, "scans": 275.0})] and mirror.seen == ["start", "stopped"]
    run_node(node, stage, store, mirror)
    record = store.record("source", node.key)
    assert record is not None and [point.step for point in record.history] == [1, 2]
