"""Where a network is found: storage, MLflow by run id, MLflow by the best of a sweep."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from dwp_sweep.config.node import Node
from dwp_sweep.errors import InputError
from dwp_sweep.prediction.trained import Trained, find_trained
from dwp_sweep.stages.target import repetition_seed
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.record import Record
from dwp_sweep.store.sweep_record import NodeEntry, record_nodes
from dwp_sweep.tracking.write.node_run import NodeRun
from dwp_sweep.tracking.write.parent import open_tracking
from tests.prediction.conftest import KEY


def weights(net: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten() for value in net.state_dict().values()])


def log(storage: Path, key: str, uri: str, val_dice: float, split: int | None = None) -> str:
    """The run of a published target, as a worker logs it."""
    record = LocalStore(storage).record("target", key)
    assert record is not None
    tracking = open_tracking(uri, storage, "liver", {})
    labels = {
        "method": "random_init",
        "train_size": 5,
        "split": int(key == KEY) if split is None else split,
        "seed": 3,
    }
    run = NodeRun(tracking, Node(key, "target", record.config, {}, labels))
    done = Record(key, "target", "done", dict(record.config), labels=labels, metrics={"val_dice": val_dice})
    run.finish(done, LocalStore(storage).node_dir("target", key))
    assert run.online, run.problem
    return run.run_id


def test_a_run_is_found_by_its_id_and_as_the_best_also_without_its_storage(storage, add_target, tmp_path):
    uri, elsewhere = f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "elsewhere"
    window = {"shape": [16, 16, 8], "window": [-100.0, 200.0]}
    patch = {"patch": {"shape": [8, 16, 8]}, "postprocess": {"min_lesion_voxels": 3}}
    add_target(log_var=-3.0, preprocess=window, target=patch)
    add_target("fedcba98765432100000")
    run_id = log(storage, KEY, uri, 0.8)
    log(storage, "fedcba98765432100000", uri, 0.6)
    expected = find_trained(KEY, storage, device="cpu")

    def same(found: Trained) -> bool:
        names = ("dataset", "patch", "postprocess", "n_samples", "seed", "title")
        return all(getattr(found, name) == getattr(expected, name) for name in names) and torch.equal(
            weights(found.net), weights(expected.net)
        )

    assert expected.seed == repetition_seed(3, 0), "the draws of its test scores"
    assert expected.patch.shape == (8, 16, 8) and expected.dataset.preprocess.window == (-100, 200)
    for place in (storage, elsewhere):
        assert same(find_trained(run_id, place, uri, device="cpu"))
        assert same(find_trained("best:liver", place, uri, device="cpu"))
    other = find_trained("best:liver", elsewhere, uri, where={"split": 0}, device="cpu")
    assert other.patch.shape is None
    with pytest.raises(InputError, match="no sweep named 'livers'"):
        find_trained("best:livers", elsewhere, uri)
    with pytest.raises(InputError, match="MLflow has no run of this id"):
        find_trained("f" * 32, elsewhere, uri)


def test_settings_choose_within_a_sweep_alone(storage, add_target):
    with pytest.raises(InputError, match="chooses within best:SWEEP"):
        find_trained(add_target(), storage, where={"train_size": 5})


def test_a_node_without_a_network_is_told(storage, add_target):
    add_target()
    (storage / "target" / KEY / "net.safetensors").unlink()
    with pytest.raises(InputError, match=r"holds no trained network: .*net\.safetensors"):
        find_trained(KEY, storage)


def test_best_means_the_middle_run_and_says_when_it_moves(storage, add_target, tmp_path):
    uri, keys = f"sqlite:///{tmp_path}/mlflow.db", [f"{number}{number}" * 10 for number in range(5)]
    record_nodes(LocalStore(storage), "liver", [NodeEntry(keys[0], "target", "a target")])
    pairs = list(zip(keys, (0.5, 0.7, 0.6, 0.8, 0.8), strict=True))
    runs = [log(storage, add_target(key), uri, dice, int(key[0])) for key, dice in pairs[:3]]
    first = find_trained("best:liver", storage, uri, device="cpu")
    again = find_trained("best:liver", storage, uri, device="cpu")
    runs += [log(storage, add_target(key), uri, dice, int(key[0])) for key, dice in pairs[3:]]
    moved = find_trained("best:liver", storage, uri, device="cpu")

    assert first.run == f"run {runs[2]}" and first.record is not None
    assert first.meaning == again.meaning
    assert f"means run {runs[2]}: of the best configuration the middle one of 3" in first.meaning[0]
    assert moved.run == f"run {runs[1]}"
    assert moved.meaning[1] == f"until now it meant run {runs[2]}, which still answers to its id"
    assert find_trained(runs[0], storage, uri, device="cpu").meaning == ()
