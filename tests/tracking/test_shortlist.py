from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.tracking.client import Tracking
from dwp_sweep.tracking.read.best import best_config
from dwp_sweep.tracking.read.shortlist import shortlist
from dwp_sweep.tracking.write.node_run import node_tags
from tests.tracking.conftest import make_node
from tests.tracking.many_runs import write_runs

N_RUNS = 60


@pytest.fixture
def many(tracking: Tracking, mlflow_folder: Path, sweep_name: str) -> str:
    write_runs(mlflow_folder / "mlflow.db", tracking.experiment_id, sweep_name, N_RUNS)
    return sweep_name


def test_the_shortlist_gives_the_same_answer_as_reading_all_runs(
    many: str, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = best_config(many, tracking_uri=uri)
    short = shortlist(uri, many, "val_dice", {}, n_runs_at_least=1, n_configurations=4)
    assert short is not None and len(short.rows) == 4 * 3 + 1
    assert short.notes == ("16 further configuration(s) rank behind the 4 that are listed",)
    monkeypatch.setattr("dwp_sweep.tracking.read.best.shortlist", lambda *_: short)
    best = best_config(many, tracking_uri=uri)
    assert (best.config, best.metrics, best.run_ids, best.upstream, best.artifacts) == (
        whole.config, whole.metrics, whole.run_ids, whole.upstream, whole.artifacts,
    )  # fmt: skip
    assert best.candidates == whole.candidates[:4]
    assert best.config["source"]["weight_decay"] == 0.003


def test_labels_restrict_it_and_other_settings_take_the_long_way(many: str, uri: str) -> None:
    short = shortlist(uri, many, "val_dice", {"method": "fine_tune", "split": 1}, 1, 2)
    assert short is not None
    targets = [row for row in short.rows if row.stage == "target"]
    assert [(row.labels["method"], row.labels["split"]) for row in targets] == [("fine_tune", 1)] * 2
    assert shortlist(uri, many, "val_dice", {"target.lr": 0.5}, 1) is None
    assert shortlist(uri, many, "val_dice", {"method": "none such"}, 1) is None
    assert shortlist(uri, many, "no_metric", {}, 1) is None


def test_small_sweeps_and_servers_are_read_whole(many: str, uri: str) -> None:
    assert shortlist(uri, many, "val_dice", {}) is None
    assert shortlist("http://127.0.0.1:5000", many, "val_dice", {}, 1) is None
    assert shortlist(uri, "none such", "val_dice", {}, 1) is None


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
