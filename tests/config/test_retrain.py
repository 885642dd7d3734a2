"""A target trained once more: a fresh node with the same inputs that gives the very same numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dwp_sweep.config.node import Node
from dwp_sweep.config.retrain import retrain_sweep
from dwp_sweep.config.space import load_space
from dwp_sweep.config.sweep import Sweep, build_sweep
from dwp_sweep.data.splits import Split, with_all_images
from dwp_sweep.errors import InputError
from dwp_sweep.harness.attempt import run_node
from dwp_sweep.harness.dag.plan import make_plan
from dwp_sweep.stages.registry import STAGES
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store

SPACE: dict[str, Any] = {
    "name": "tiny",
    "data": {
        name: {
            "layout": "phantom",
            "phantom": {"kind": name, "n_subjects": 7, "shape": [16, 16, 16]},
            "n_val": 1,
            "preprocess": {"shape": [16, 16, 16]},
        }
        for name in ("source", "target")
    },
    "fixed": {
        "unet.channels": [2, 4, 4, 4],
        "source": {"n_seeds": 1, "n_cycles": 1, "max_epochs": 1, "steps_per_epoch": 2},
        "target": {"max_epochs": 2, "steps_per_epoch": 2},
        "train_size": 2,
        "compute.device": "cpu",
    },
    "grid": {"method": ["fine_tune"]},
}
SPACE["data"]["target"]["n_test"] = 2


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sweep, Store]]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    store = LocalStore(tmp_path_factory.mktemp("runs"))
    sweep = build_sweep(load_space(SPACE), store.root)
    for node in sweep.nodes.values():
        run_node(node, STAGES[node.stage], store)
    yield sweep, store
    torch.set_num_threads(before)


def retrained(built: tuple[Sweep, Store], **options: Any) -> tuple[Node, Node, Sweep]:
    sweep, store = built
    first = sweep.nodes[sweep.targets[0]]
    again = retrain_sweep("tiny", first.key, first.inputs, store, "run", **options)
    return first, again.nodes[again.targets[0]], again


def scores(store: Store, node: Node) -> dict[str, float]:
    record = store.record("target", node.key)
    assert record is not None and record.status == "done", record and record.error
    return {name: value for name, value in record.metrics.items() if not name.endswith("_s")}


def test_the_same_seed_reproduces_every_metric_in_a_fresh_node(built: tuple[Sweep, Store]) -> None:
    _, store = built
    first, node, again = retrained(built)
    assert node.key != first.key and node.inputs == first.inputs
    assert again.name == "tiny-retrain" and node.labels["retrained_from"] == "run"
    assert make_plan(again, store).to_build == (node,), "upstream nodes are taken as they are"
    assert retrained(built)[1].key == node.key, "one that was not finished is gone on with"
    run_node(node, STAGES["target"], store)
    assert scores(store, node) == scores(store, first)
    assert retrained(built)[1].key not in (node.key, first.key), "never a cache hit"


def test_another_seed_and_all_images_are_other_trainings(built: tuple[Sweep, Store]) -> None:
    _, store = built
    first, node, _ = retrained(built, seed=3, all_images=True)
    assert (node.config["seed"], node.labels["seed"], node.config["all_images"]) == (3, 3, True)
    run_node(node, STAGES["target"], store)
    found = scores(store, node)
    assert found["n_train"] == 5.0 and found["n_test"] == scores(store, first)["n_test"] == 2.0
    assert found["best_val_loss"] != scores(store, first)["best_val_loss"]


def test_what_is_not_on_the_storage_or_has_a_negative_seed_is_bad_input(
    built: tuple[Sweep, Store], tmp_path: Path
) -> None:
    sweep, _ = built
    first = sweep.nodes[sweep.targets[0]]
    with pytest.raises(InputError, match="is not on this storage"):
        retrain_sweep("tiny", first.key, first.inputs, LocalStore(tmp_path))
    with pytest.raises(InputError, match="--seed: -1 is negative"):
        retrained(built, seed=-1)


def test_all_images_leaves_out_those_that_test_and_no_others() -> None:
    ids = [f"s{place}" for place in range(8)]
    split = Split(("s5", "s1"), ("s0",), ("s2", "s7"))
    found = with_all_images(split, {name: name for name in ids})
    assert found.train[:3] == ("s5", "s1", "s0") and sorted(found.train) == [
        "s0",
        "s1",
        "s3",
        "s4",
        "s5",
        "s6",
    ]
    assert (found.val, found.test) == (split.val, split.test)
