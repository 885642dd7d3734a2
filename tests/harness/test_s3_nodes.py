"""Nodes on a storage on S3 without Ray: real stages on another machine, damage, an outage, searches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.config.node import node_of, node_values
from dwp_sweep.config.retrain import retrain_sweep
from dwp_sweep.config.space import load_space
from dwp_sweep.config.sweep import build_sweep
from dwp_sweep.errors import InputError, StorageError
from dwp_sweep.harness.attempt import run_node
from dwp_sweep.harness.dag.plan import make_plan
from dwp_sweep.harness.search.study_database import storage_url
from dwp_sweep.prediction.trained import find_trained
from dwp_sweep.stages.registry import STAGES
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.s3.store import BucketStore
from dwp_sweep.tracking.read.reader import results_of_store
from tests.harness.toy_stages import STAGES as TOYS
from tests.harness.toy_stages import log_lines, toy_node, toy_sweep

On = Callable[[str], Store]
TASK = {"layout": "phantom", "n_val": 1, "preprocess": {"shape": [16, 16, 16]}}
SPACE: dict[str, Any] = {
    "name": "tiny",
    "data": {
        "source": {**TASK, "phantom": {"kind": "source", "n_subjects": 4, "shape": [16, 16, 16]}},
        "target": {
            **TASK,
            "phantom": {"kind": "target", "n_subjects": 5, "shape": [16, 16, 16]},
            "n_test": 1,
        },
    },
    "fixed": {
        "unet.channels": [2, 4, 4, 4],
        "source": {"n_seeds": 1, "n_cycles": 1, "max_epochs": 2},
        "target": {"max_epochs": 2},
        "train_size": 3,
    },
    "grid": {"method": ["fine_tune"]},
}
SOURCE = toy_node("source", "source")
TUNED = toy_node("target", "tuned", [SOURCE])


@pytest.mark.slow
def test_real_stages_run_on_a_machine_that_has_neither_scans_nor_inputs(on: On, url: str) -> None:
    driver = on("driver")
    sweep = build_sweep(load_space(SPACE), driver.root)
    for node in sweep.nodes.values():  # parents come first; each on a machine of its own
        driver.hand_over(node.stage, node.key, node_values(node))
        worker = on(f"worker for {node.stage}")
        there = node_of(worker.handed_over(node.stage, node.key))
        ending = run_node(there, STAGES[node.stage], worker)
        assert ending.status == "published", ending.message
    assert set(make_plan(sweep, driver).states.values()) == {"cached"}

    user = on("user")
    (target,) = sweep.targets
    trained = find_trained(target[:8], url, "sqlite:////nowhere.db")
    assert trained.title.startswith("fine_tune")
    assert set(results_of_store(sweep.nodes.values(), user)["state"]) == {"done"}
    again = retrain_sweep("tiny", target, sweep.nodes[target].inputs, user)
    root = str(again.nodes[again.targets[0]].config["dataset"]["root"])
    assert root.startswith(f"{user.root}/phantom/")


@pytest.mark.slow
def test_a_damaged_input_fails_its_reader_and_the_next_run_builds_it_again(on: On) -> None:
    store, sweep = on("first"), toy_sweep(SOURCE, TUNED)
    assert isinstance(store, BucketStore)
    run_node(SOURCE, TOYS["source"], store)
    (name,) = [one.name for one in store.bucket.entries("files/") if one.name.endswith("out.json")]
    store.bucket.write(name, b'{"name": "sourcE", "made_from": []}')
    ending = run_node(TUNED, TOYS["target"], on("second"))
    assert ending.status == "failed" and "differs from its checksum" in ending.message
    plan = make_plan(sweep, on("third"))
    assert plan.damaged == (SOURCE,) and "will be built again" in plan.notes[0]
    assert plan.states == {SOURCE.key: "ready", TUNED.key: "waiting"}
    third = on("third")
    third.set_aside("source", SOURCE.key)
    for node in (SOURCE, TUNED):
        third.clear_failure(node.stage, node.key)
        assert run_node(node, TOYS[node.stage], third).status == "published"
    assert make_plan(sweep, on("fourth")).damaged == ()


@pytest.mark.slow
def test_an_outage_in_the_middle_of_training_costs_nothing(
    on: On,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dwp_sweep.store.s3.files.BucketFiles.look_every_s", 0.0)
    store, log = on("first"), tmp_path / "log.txt"
    assert isinstance(store, BucketStore)
    node = toy_node("target", "long", (), log, n_epochs=6)
    down, refused = [False], []
    for name in ("stat", "write", "upload"):
        monkeypatch.setattr(store.bucket, name, _unless(down, refused, getattr(store.bucket, name)))

    def report(epoch: int, n_epochs: int, metrics: Mapping[str, float]) -> None:
        down[0] = 2 <= epoch < 5

    ending = run_node(node, TOYS["target"], store, None, report, store.mark("sweeps/toy/stop-now").exists)
    assert ending.status == "published" and "stat" in refused
    assert [what for _, what, _ in log_lines(log)] == ["begin", *(f"epoch {n}" for n in range(1, 7)), "end"]
    record = on("second").record("target", node.key)
    assert record is not None and len(record.history) == 6


def _unless(down: list[bool], refused: list[str], method: Callable[..., Any]) -> Callable[..., Any]:
    def called(*args: Any) -> Any:
        if down[0]:
            refused.append(method.__name__)
            raise StorageError("the server does not answer")
        return method(*args)

    return called


def test_a_search_on_s3_must_say_where_its_studies_lie(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert storage_url(store, "toy", None).startswith("sqlite:///")
    store.place, store.shared_folder = "s3://bucket/runs", None  # as of a storage that is no folder
    with pytest.raises(InputError, match=r"searcher\.storage: a search on s3://bucket/runs"):
        storage_url(store, "toy", None)
    assert storage_url(store, "toy", "postgresql://host/studies") == "postgresql://host/studies"
