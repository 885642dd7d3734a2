from __future__ import annotations

import dataclasses
from typing import Any

from click.testing import CliRunner

from dwp_sweep.cli import main
from dwp_sweep.config.node import Node, entries_of
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.sweep_record import record_nodes
from dwp_sweep.tracking.write import outage
from dwp_sweep.tracking.write.node_run import NodeRun
from dwp_sweep.tracking.write.parent import Tracking, open_tracking
from dwp_sweep.tracking.write.sync import SyncReport, sync_records
from tests.tracking.conftest import make_node, make_record, publish


def node_runs(client: Any, tracking: Tracking) -> dict[str, Any]:
    runs = client.search_runs([tracking.experiment_id], "tags.`dwp.key` != ''")
    assert len({run.data.tags["dwp.key"] for run in runs}) == len(runs), "a node has two runs"
    return {run.data.tags["dwp.key"]: run for run in runs}


def three_nodes(store: Store) -> list[Node]:
    """One done, one failed, one not yet begun."""
    nodes = [
        make_node(key, method="fine_tune", train_size=5, split=split)
        for split, key in enumerate(("a", "b", "c"))
    ]
    publish(store, nodes[0], make_record(nodes[0], test_dice=0.7))
    store.write_failure(make_record(nodes[1], "failed", error="diverged\n\nTraceback"))
    return nodes


def test_records_that_mlflow_missed_are_sent_complete(tracking: Tracking, store: Store, client: Any) -> None:
    nodes = three_nodes(store)
    assert sync_records(tracking, nodes, store) == SyncReport(sent=2)
    runs = node_runs(client, tracking)
    assert {key: run.info.status for key, run in runs.items()} == {"a": "FINISHED", "b": "FAILED"}
    assert runs["a"].data.metrics["test_dice"] == 0.7
    assert len(client.get_metric_history(runs["a"].info.run_id, "train_loss")) == 3
    assert runs["a"].info.start_time == 1_700_000_000_000


def test_syncing_again_changes_nothing(tracking: Tracking, store: Store, client: Any) -> None:
    nodes = three_nodes(store)
    sync_records(tracking, nodes, store)
    before = node_runs(client, tracking)
    assert sync_records(tracking, nodes, store) == SyncReport(complete=2)
    after = node_runs(client, tracking)
    assert {k: run.to_dictionary() for k, run in after.items()} == {
        k: run.to_dictionary() for k, run in before.items()
    }


def test_a_run_that_was_logged_live_needs_no_sync(tracking: Tracking, store: Store) -> None:
    node = make_node("a")
    record = make_record(node)
    run = NodeRun(tracking, node)
    run.start()
    for point in record.history:
        run.epoch(point)
    run.finish(record, publish(store, node, record))
    assert sync_records(tracking, [node], store) == SyncReport(complete=1)


def test_left_over_running_runs_are_closed_and_later_continued(
    tracking: Tracking, store: Store, client: Any
) -> None:
    node = make_node("a")
    lost = NodeRun(tracking, node)
    lost.start()
    assert sync_records(tracking, [node], store) == SyncReport(closed=1)
    assert node_runs(client, tracking)["a"].info.status == "KILLED"
    NodeRun(tracking, node).start()
    assert node_runs(client, tracking)["a"].info.run_id == lost.run_id


def test_a_node_that_another_run_has_in_hand_is_left_to_it(
    tracking: Tracking, store: Store, client: Any
) -> None:
    nodes = three_nodes(store)
    NodeRun(tracking, nodes[2]).start()
    assert sync_records(tracking, nodes, store, busy={"a", "c"}) == SyncReport(sent=1)
    assert {key: run.info.status for key, run in node_runs(client, tracking).items()} == {
        "b": "FAILED", "c": "RUNNING",
    }  # fmt: skip
    assert client.get_run(tracking.parent_run_id).info.status == "RUNNING"


def test_a_run_is_put_under_the_parent_that_stayed(tracking: Tracking, store: Store, client: Any) -> None:
    nodes = three_nodes(store)
    sync_records(dataclasses.replace(tracking, parent_run_id="double"), nodes[:1], store)
    sync_records(tracking, nodes[:1], store)
    assert node_runs(client, tracking)["a"].data.tags["mlflow.parentRunId"] == tracking.parent_run_id


def test_an_outage_in_the_middle_is_mended(tracking: Tracking, store: Store, client: Any) -> None:
    node, record = make_node("a"), make_record(make_node("a"), n_epochs=5, test_dice=0.6)
    run = NodeRun(tracking, node, flush_s=0)
    run.start()
    run.epoch(record.history[0])
    outage.failed(tracking.uri, "the connection is refused", 60.0)  # nothing arrives any more
    run.finish(record, publish(store, node, record))
    assert sync_records(tracking, [node], store) == SyncReport(sent=1)
    mended = node_runs(client, tracking)["a"]
    assert mended.info.run_id == run.run_id and mended.data.metrics["test_dice"] == 0.6
    assert [m.step for m in client.get_metric_history(run.run_id, "val_dice")] == [1, 2, 3, 4, 5]


def test_two_runs_of_a_node_become_one(tracking: Tracking, store: Store, client: Any) -> None:
    node = make_node("a")
    publish(store, node, make_record(node))
    for _ in range(2):
        client.create_run(tracking.experiment_id, tags={"dwp.key": "a"})
    assert sync_records(tracking, [node], store) == SyncReport(sent=1, doubles=1)
    assert node_runs(client, tracking)["a"].info.status == "FINISHED"


def test_nodes_of_another_sweep_get_a_run_here_too(tracking: Tracking, store: Store, client: Any) -> None:
    node = make_node("a")
    publish(store, node, make_record(node))
    other = open_tracking(tracking.uri, store.root, f"{tracking.sweep_name}-other", {})
    assert sync_records(tracking, [node], store).sent == 1
    assert sync_records(other, [node], store).sent == 1
    assert len(node_runs(client, tracking)) == len(node_runs(client, other)) == 1


def test_the_parent_run_ends_with_its_sweep(tracking: Tracking, store: Store, client: Any) -> None:
    nodes = three_nodes(store)
    sync_records(tracking, nodes, store)
    assert client.get_run(tracking.parent_run_id).info.status == "RUNNING"
    sync_records(tracking, nodes[:2], store)
    assert client.get_run(tracking.parent_run_id).info.status == "FAILED"
    sync_records(tracking, nodes[:1], store)
    assert client.get_run(tracking.parent_run_id).info.status == "FINISHED"


def test_a_dead_server_is_reported_and_a_later_sync_reaches_the_living(
    tracking: Tracking, store: Store
) -> None:
    nodes = three_nodes(store)
    dead = dataclasses.replace(tracking, uri="http://127.0.0.1:9")
    report = sync_records(dead, nodes, store)
    assert report.sent == 0 and report.problem
    offline = dataclasses.replace(tracking, online=False, problem="was away", opened_s=0.0)
    assert sync_records(offline, nodes, store).sent == 2


def test_the_command_sends_what_was_missed_from_the_storage_alone(
    tracking: Tracking, store: Store, client: Any
) -> None:
    nodes = three_nodes(store)
    record_nodes(store, tracking.sweep_name, entries_of(nodes, [node.key for node in nodes]))
    words = ["sync", tracking.sweep_name, "--storage", str(store.root), "--tracking-uri", tracking.uri]
    done = CliRunner().invoke(main, words)
    assert (done.exit_code, done.output) == (0, f"{tracking.sweep_name}: 2 node(s) sent, 0 already there\n")
    assert {key: run.info.status for key, run in node_runs(client, tracking).items()} == {
        "a": "FINISHED",
        "b": "FAILED",
    }
    assert "0 node(s) sent, 2 already there" in CliRunner().invoke(main, words).output


def test_the_command_knows_no_sweep_that_was_not_run(tracking: Tracking, store: Store) -> None:
    words = ["sync", "other", "--storage", str(store.root), "--tracking-uri", tracking.uri]
    assert CliRunner().invoke(main, words).exit_code == 2
