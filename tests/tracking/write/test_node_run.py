from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import Point
from dwp_sweep.tracking.read.best import best_config
from dwp_sweep.tracking.read.reader import results
from dwp_sweep.tracking.read.rows import row_of_run
from dwp_sweep.tracking.read.runs import find_runs
from dwp_sweep.tracking.write.node_run import NodeRun
from dwp_sweep.tracking.write.parent import Tracking, open_tracking
from tests.tracking.conftest import make_node, make_record, publish


def test_a_node_is_one_nested_run_with_tags_params_metrics_and_files(
    tracking: Tracking, store: Store, client: Any
) -> None:
    node = make_node("k1", method="deep_weight_prior", train_size=5, split=1, seed=0)
    record = make_record(node, test_dice=0.7, best_val_dice=0.3)
    run = NodeRun(tracking, node, flush_s=0)
    run.start()
    for point in record.history:
        run.epoch(point)
    run.finish(record, publish(store, node, record))
    found = client.get_run(run.run_id)
    assert run.online and found.info.status == "FINISHED"
    tags = {
        name: value
        for name, value in found.data.tags.items()
        if name.startswith("dwp.") and name not in ("dwp.record", "dwp.configuration")
    }
    assert tags == {
        "dwp.sweep": tracking.sweep_name,
        "dwp.key": "k1",
        "dwp.stage": "target",
        "dwp.method": "deep_weight_prior",
        "dwp.train_size": "5",
        "dwp.split": "1",
        "dwp.seed": "0",
        "dwp.inputs": "{}",
    }
    assert found.data.tags["mlflow.parentRunId"] == tracking.parent_run_id
    assert found.data.params["dwp.kl_weight"] == "1e-05"
    assert found.data.params["data.target.subjects"] == "0:90"
    assert found.data.metrics["test_dice"] == 0.7 and found.data.metrics["wall_s"] == 3.5
    files = {item.path for item in client.list_artifacts(run.run_id)}
    assert files == {"net.json", "record.json", "figures"}


def test_every_epoch_keeps_its_own_step_and_time(tracking: Tracking, store: Store, client: Any) -> None:
    node = make_node("k1")
    record = make_record(node, n_epochs=4)
    run = NodeRun(tracking, node)  # epochs faster than the flush interval travel together
    run.start()
    for point in record.history:
        run.epoch(point)
    run.finish(record, publish(store, node, record))
    history = client.get_metric_history(run.run_id, "val_dice")
    assert [(m.step, m.timestamp, m.value) for m in history] == [
        (point.step, point.time_ms, point.metrics["val_dice"]) for point in record.history
    ]


def test_a_second_worker_continues_the_run_and_fills_the_gaps(
    tracking: Tracking, store: Store, client: Any
) -> None:
    node, record = make_node("k1"), make_record(make_node("k1"), n_epochs=3)
    first = NodeRun(tracking, node, flush_s=0)
    first.start()
    first.epoch(record.history[0])  # the second epoch never arrived
    second = NodeRun(tracking, node, flush_s=0)
    second.start()
    second.epoch(record.history[2])
    second.finish(record, publish(store, node, record))
    assert second.run_id == first.run_id
    assert [m.step for m in client.get_metric_history(first.run_id, "val_dice")] == [1, 2, 3]


def test_a_failed_node_shows_its_error_until_it_succeeds(
    tracking: Tracking, store: Store, client: Any
) -> None:
    node = make_node("k1")
    run = NodeRun(tracking, node)
    run.start()
    run.fail(make_record(node, "failed", error="the loss became nan in step 3\n\nTraceback ..."))
    failed = client.get_run(run.run_id)
    assert failed.info.status == "FAILED"
    assert failed.data.tags["dwp.error"] == "the loss became nan in step 3"
    assert "Traceback" in failed.data.tags["mlflow.note.content"]
    record = make_record(node)
    again = NodeRun(tracking, node)
    again.start()
    assert client.get_run(run.run_id).info.status == "RUNNING"
    again.finish(record, publish(store, node, record))
    done = client.get_run(run.run_id)
    assert done.info.status == "FINISHED" and "dwp.error" not in done.data.tags


def test_an_error_may_name_a_file_whose_name_is_no_text(tracking: Tracking, client: Any) -> None:
    node = make_node("k1")
    run = NodeRun(tracking, node)
    run.start()
    run.fail(make_record(node, "failed", error="scan \udcff.nii.gz\x1b[31m: broken\n```\n<b>"))
    failed = client.get_run(run.run_id)
    assert run.problem is None and failed.info.status == "FAILED"
    assert failed.data.tags["dwp.error"] == r"scan \udcff.nii.gz\x1b[31m: broken"
    assert failed.data.tags["mlflow.note.content"].splitlines()[::4] == ["````", "````"]


def test_a_node_that_a_search_gave_up_ends_as_killed_and_says_so_until_it_is_built(
    tracking: Tracking, store: Store, client: Any
) -> None:
    node = make_node("k1")
    run = NodeRun(tracking, node)
    run.start()
    reason = "s/all: asha after epoch 2"
    given_up = make_record(node, "pruned", n_epochs=2, error=reason, val_dice=0.2, train_loss=0.5)
    for point in given_up.history:
        run.epoch(point)
    run.prune(given_up)
    pruned = client.get_run(run.run_id)
    assert (pruned.info.status, pruned.data.tags["dwp.pruned"]) == ("KILLED", "true")
    for name in ("val_dice", "train_loss"):  # the record has those of the last epoch once more
        assert [metric.step for metric in client.get_metric_history(run.run_id, name)] == [1, 2]
    assert pruned.data.metrics["wall_s"] == 3.5
    record = make_record(node)
    NodeRun(tracking, node).resend(record, publish(store, node, record))
    done = client.get_run(run.run_id)
    assert done.info.status == "FINISHED" and "dwp.pruned" not in done.data.tags


def test_params_that_moved_do_not_stop_a_continued_run(tracking: Tracking) -> None:
    node = make_node("k1")
    NodeRun(tracking, node).start()
    moved = make_node("k1")
    moved.config["dataset"]["root"] = "/elsewhere"
    again = NodeRun(tracking, moved)
    again.start()
    assert again.online


def test_trouble_is_swallowed_once_with_a_warning(
    tracking: Tracking, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = Tracking("http://127.0.0.1:9", "1", "parent", True, None, "sweep", str(tmp_path))
    node = make_node("k1")
    run = NodeRun(gone, node, flush_s=0)
    with caplog.at_level(logging.WARNING, logger="dwp_sweep"):
        run.start()
        for step in range(3):
            run.epoch(Point(step, step, {"val_dice": 0.1}))
        run.finish(make_record(node), tmp_path)
    assert not run.online and run.problem and run.unsent_since_ms
    # The next node of this process does not wait for the same silence, nor warn again.
    after = NodeRun(gone, make_node("k2"))
    after.start()
    assert not after.online and after.problem is None and after.unsent_since_ms == run.unsent_since_ms
    assert len([entry for entry in caplog.records if entry.name.startswith("dwp_sweep")]) == 1


def test_offline_tracking_does_nothing(tmp_path: Path) -> None:
    run = NodeRun(open_tracking("nonsense://x", tmp_path, "sweep", {}), make_node("k1"))
    run.start()
    run.fail(make_record(make_node("k1"), "failed", error="e"))
    assert run.run_id == "" and run.problem is None


def test_an_interrupted_node_ends_as_killed_with_its_epochs(tracking: Tracking, client: Any) -> None:
    run = NodeRun(tracking, make_node("k1"))
    run.start()
    run.epoch(Point(1, 1000, {"val_dice": 0.1}))
    run.epoch(Point(2, 2000, {"val_dice": 0.2}))
    run.stop()
    assert client.get_run(run.run_id).info.status == "KILLED"
    assert client.get_run(run.run_id).data.metrics["val_dice"] == 0.2


def test_lineage_leads_from_the_target_to_its_priors_and_data(
    tracking: Tracking, store: Store, client: Any
) -> None:
    source = make_node("s0", "source", seed=0)
    prior = make_node("p1", "prior", {"bank": (source,)}, group=1)
    target = make_node(
        "t1", "target", {"priors": (prior,), "source": (source,)}, method="fine_tune", train_size=5
    )
    runs = {}
    for node in (source, prior, target):
        record = make_record(node)
        runs[node.key] = NodeRun(tracking, node)
        runs[node.key].finish(record, publish(store, node, record))
    found = client.get_run(runs["t1"].run_id)
    models = [client.get_logged_model(item.model_id) for item in found.inputs.model_inputs]
    assert {(model.model_type, model.source_run_id) for model in models} == {
        ("kernel_prior", runs["p1"].run_id),
        ("source_nets", runs["s0"].run_id),
    }
    data = [item.dataset for item in found.inputs.dataset_inputs]
    assert [(item.name, item.digest) for item in data] == [("target", "target-hash")]
    assert json.loads(found.data.tags["dwp.inputs"]) == {
        "priors": [["prior", "p1"]],
        "source": [["source", "s0"]],
    }
    runs["t1"].resend(make_record(target), store.node_dir("target", "t1"))
    assert len(client.search_logged_models([tracking.experiment_id])) == 3
    assert len(find_runs(client, tracking.experiment_id, "t1")) == 1


def test_a_node_that_is_built_again_gets_a_run_of_its_own_and_doubles_no_value(
    tracking: Tracking, store: Store, client: Any
) -> None:
    source = make_node("s", "source", seed=0)
    node = make_node("t", "target", {"source": (source,)}, method="fine_tune", train_size=5, split=0)
    for one in (source, node):
        record = make_record(one, test_dice=0.5)
        assert NodeRun(tracking, one).resend(record, publish(store, one, record))
    damaged = NodeRun(tracking, source)
    damaged.start()
    store.set_aside("source", "s")
    again = make_record(source, test_dice=0.5)
    later = tuple(Point(p.step, p.time_ms + 60_000, p.metrics) for p in again.history)
    for point in later:
        damaged.epoch(point)
    damaged.finish(dataclasses.replace(again, history=later), publish(store, source, again))
    (run,) = find_runs(client, tracking.experiment_id, "s")
    assert run.info.status == "FINISHED"
    assert [m.step for m in client.get_metric_history(run.info.run_id, "val_dice")] == [1, 2, 3]
    models = client.search_logged_models([tracking.experiment_id], "tags.`dwp.key` = 's'")
    assert [model.source_run_id for model in models] == [run.info.run_id]


EVERYTHING = "$x_1$ \\alpha <b>100 %</b> & [a](b) `c` *d* _e_ #f 'g' \"h\"; -- ä 日本 e\u0301"


@pytest.mark.parametrize("text", [EVERYTHING, "null"])
def test_text_of_a_user_is_in_mlflow_as_it_is(
    text: str, tracking: Tracking, store: Store, client: Any
) -> None:
    labels = {"method": "random_init", "variant": text, "train_size": 5, "split": 0, "seed": 0}
    node = make_node("k1", **labels)
    subjects = [text, f"{text}\nsecond line\ttab"]
    dataset = node.config["dataset"] | {
        "subjects": subjects,
        "root": f"/data/{text}/?#%20",
        "fingerprint": "f",
    }
    node = dataclasses.replace(node, config=node.config | {"dataset": dataset})
    run, record = NodeRun(tracking, node), make_record(node, best_val_dice=0.3)
    run.finish(record, publish(store, node, record))
    assert run.online, run.problem
    row = row_of_run(client.get_run(run.run_id))
    assert row.labels["variant"] == text
    assert row.params["data.target.subjects"] == subjects
    assert row.params["data.target.root"] == f"/data/{text}/?#%20"
    assert client.get_run(run.run_id).info.run_name == f"{text} m=5 split 0 seed 0"
    assert len(client.search_logged_models([tracking.experiment_id])) == 1
    table = results(tracking.sweep_name, tracking.uri)
    assert list(table["variant"]) == [text]
    best = best_config(tracking.sweep_name, where={"variant": text}, tracking_uri=tracking.uri)
    assert best.candidates[0].values["variant"] == text


def test_notes_of_failed_and_pruned_nodes_are_shown_as_they_are(tracking: Tracking, client: Any) -> None:
    node = make_node("k1", method="random_init")
    failed = NodeRun(tracking, node)
    failed.fail(make_record(node, "failed", error="ValueError: <b>$x_1$\n```\nTraceback"))
    note = client.get_run(failed.run_id).data.tags["mlflow.note.content"]
    assert note == "````\nValueError: <b>$x_1$\n```\nTraceback\n````"
    pruned = NodeRun(tracking, make_node("k2", method="random_init"))
    pruned.prune(make_record(node, "pruned", error="val_dice 0.1 < 0.2 | *worse*"))
    note = client.get_run(pruned.run_id).data.tags["mlflow.note.content"]
    assert note == "```\nval_dice 0.1 < 0.2 | *worse*\n```"
