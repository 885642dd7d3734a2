"""The whole pipeline in one process on tiny phantoms: what each stage writes, resume, brought outputs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from dwp_sweep.config.node import Node
from dwp_sweep.config.space import load_space
from dwp_sweep.config.sweep import Sweep, build_sweep
from dwp_sweep.data.cache.cases import stored_voxel_size
from dwp_sweep.data.config import PhantomConfig
from dwp_sweep.data.phantom.subject import spacing_of
from dwp_sweep.errors import InputError, StopTrial
from dwp_sweep.nets.kernel_bank import load_bank
from dwp_sweep.nets.kernel_prior import load_prior
from dwp_sweep.nets.net_files import load_net, read_net_facts
from dwp_sweep.stages.registry import STAGES
from dwp_sweep.stages.validation import load_temperature
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import Record
from dwp_sweep.strict import parse

SPACE: dict[str, Any] = {
    "name": "tiny",
    "data": {
        "source": {
            "layout": "phantom",
            "phantom": {"kind": "source", "n_subjects": 5, "shape": [16, 16, 16]},
            "n_val": 1,
            "preprocess": {"shape": [16, 16, 16]},
        },
        "target": {
            "layout": "phantom",
            "phantom": {"kind": "target", "n_subjects": 6, "shape": [16, 16, 16]},
            "n_val": 1,
            "n_test": 2,
            "preprocess": {"shape": [16, 16, 16]},
        },
    },
    "fixed": {
        "unet.channels": [2, 4, 4, 4],
        "source": {"n_seeds": 2, "n_cycles": 2, "max_epochs": 2},
        "prior": {"max_epochs": 2, "batch_size": 16, "latent_dim": 2},
        "target": {"max_epochs": 3},
        "train_size": 3,
    },
    "grid": {"method": ["random_init", "fine_tune", "freeze_middle", "deep_weight_prior"]},
}


def silent(stage: str, step: int, metrics: Mapping[str, float]) -> None:
    return None


def build(node: Node, store: Store, emit: Any = silent) -> Path:
    """What the harness does for one node."""
    stage = STAGES[node.stage]
    config = parse(stage.config, node.config, "node")
    inputs = {role: tuple(store.node_dir(*pair) for pair in pairs) for role, pairs in node.inputs.items()}
    out_dir = store.new_out_dir(node.stage, node.key)
    metrics = stage.run(config, inputs, store.work_dir(node.stage, node.key), out_dir, emit)
    record = Record(
        node.key, node.stage, "done", dict(node.config), metrics=dict(metrics), labels=dict(node.labels)
    )
    return store.publish(out_dir, record)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sweep, Store]:
    store = LocalStore(tmp_path_factory.mktemp("runs"))
    sweep = build_sweep(load_space(SPACE), store.root)
    for node in sweep.nodes.values():  # parents come first
        build(node, store)
    return sweep, store


def only(built: tuple[Sweep, Store], stage: str, **labels: Any) -> tuple[Node, Path]:
    sweep, store = built
    nodes = [
        node for node in sweep.nodes.values()
        if node.stage == stage and labels.items() <= dict(node.labels).items()
    ]  # fmt: skip
    assert len(nodes) == 1
    return nodes[0], store.node_dir(stage, nodes[0].key)


def voxel_size_of_phantom(kind: Literal["source", "target"]) -> Any:
    return pytest.approx(spacing_of(PhantomConfig(kind=kind, shape=(16, 16, 16))), rel=1e-5)


@pytest.mark.slow
def test_every_stage_publishes_what_the_next_one_reads(built: tuple[Sweep, Store]) -> None:
    _, source = only(built, "source", seed=1)
    assert {path.name for path in source.iterdir()} >= {"cycle0", "cycle1", "manifest.json", "record.json"}
    _, harvest = only(built, "harvest")
    bank = load_bank(harvest)
    assert bank.members == ((0, 0), (0, 1), (1, 0), (1, 1))
    for group in range(1, 8):
        _, folder = only(built, "prior", group=group)
        assert load_prior(folder).group == group
    for method in ("random_init", "fine_tune", "freeze_middle", "deep_weight_prior"):
        _, folder = only(built, "target", method=method)
        logits = load_net(folder)(torch.zeros(1, 1, 16, 16, 16))
        assert logits.shape == (1, 2, 16, 16, 16)
        assert (folder / "figures" / "median_prediction.png").stat().st_size > 1000
        assert stored_voxel_size(read_net_facts(folder).extra) == voxel_size_of_phantom("target")
    assert stored_voxel_size(read_net_facts(source / "cycle1").extra) == voxel_size_of_phantom("source")


@pytest.mark.slow
def test_test_subjects_are_scored_one_by_one_and_took_no_other_part(built: tuple[Sweep, Store]) -> None:
    for method in ("random_init", "deep_weight_prior"):
        node, folder = only(built, "target", method=method)
        split = json.loads((folder / "split.json").read_text())
        scores = json.loads((folder / "test_scores.json").read_text())
        assert set(scores) == set(split["test"])
        assert not set(split["test"]) & (set(split["train"]) | set(split["val"]))
        record = built[1].record("target", node.key)
        assert record is not None
        mean = sum(score["dice"] for score in scores.values()) / len(scores)
        assert record.metrics["test_dice"] == pytest.approx(mean)
        validation = json.loads((folder / "val_scores.json").read_text())
        assert set(validation) == set(split["val"])
        mean = sum(score["dice"] for score in validation.values()) / len(validation)
        assert record.metrics["best_val_dice"] == pytest.approx(mean)
        temperature = load_temperature(folder)
        assert record.metrics.get("temperature", 1.0) == temperature.value
        assert temperature.is_fitted == ("test_nll_calibrated" in record.metrics)
        assert temperature.is_fitted or temperature.note


@pytest.mark.slow
def test_source_seeds_differ_and_cycles_go_on_from_each_other(built: tuple[Sweep, Store]) -> None:
    folders = [only(built, "source", seed=seed)[1] for seed in (0, 1)]
    weights = [
        torch.cat([value.flatten() for value in load_net(folder / cycle).state_dict().values()])
        for folder in folders
        for cycle in ("cycle0", "cycle1")
    ]
    near, far = torch.dist(weights[0], weights[1]), torch.dist(weights[0], weights[2])
    assert 0 < near < far


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fine_tune", "deep_weight_prior"])
def test_a_target_that_was_stopped_ends_bit_equal(
    built: tuple[Sweep, Store], method: str, tmp_path: Path
) -> None:
    node, folder = only(built, "target", method=method)
    store = built[1]
    stage = STAGES["target"]
    config = parse(stage.config, node.config, "node")
    inputs = {role: tuple(store.node_dir(*pair) for pair in pairs) for role, pairs in node.inputs.items()}
    work, out = tmp_path / "work", tmp_path / "out"
    work.mkdir()

    def stop(stage: str, step: int, metrics: Mapping[str, float]) -> None:
        if step == 2:
            raise StopTrial

    with pytest.raises(StopTrial):
        stage.run(config, inputs, work, out, stop)
    stage.run(config, inputs, work, out, silent)
    for name in ("net.safetensors", "test_scores.json"):
        assert (out / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.slow
def test_a_source_stage_stopped_in_its_second_cycle_ends_bit_equal(
    built: tuple[Sweep, Store], tmp_path: Path
) -> None:
    node, folder = only(built, "source", seed=0)
    stage = STAGES["source"]
    config = parse(stage.config, node.config, "node")
    work = tmp_path / "work"
    work.mkdir()

    def stop(stage: str, step: int, metrics: Mapping[str, float]) -> None:
        if step == 3:
            raise StopTrial

    with pytest.raises(StopTrial):
        stage.run(config, {}, work, tmp_path / "first", stop)
    # A second attempt starts with an empty output folder: only the working folder outlives the worker.
    stage.run(config, {}, work, tmp_path / "second", silent)
    for cycle in ("cycle0", "cycle1"):
        name = f"{cycle}/net.safetensors"
        assert (tmp_path / "second" / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.slow
def test_brought_outputs_take_the_place_of_stages_and_need_no_source_data(
    built: tuple[Sweep, Store], tmp_path: Path
) -> None:
    store = LocalStore(tmp_path / "runs")
    _, source = only(built, "source", seed=0)
    _, harvest = only(built, "harvest")
    space = {**SPACE, "name": "brought", "data": {"target": SPACE["data"]["target"]}}
    overrides = [f"source.network={source / 'cycle0'}", f"harvest.bank={harvest}"]
    sweep = build_sweep(load_space(space, overrides), store.root)
    stages = [node.stage for node in sweep.nodes.values()]
    assert (stages.count("source"), stages.count("harvest"), stages.count("prior")) == (1, 1, 7)
    for node in sweep.nodes.values():
        if node.stage in ("source", "harvest") or node.labels.get("method") == "fine_tune":
            build(node, store)
    brought = next(node for node in sweep.nodes.values() if node.stage == "source")
    net = load_net(store.node_dir("source", brought.key) / "cycle0")
    expected = load_net(source / "cycle0")
    assert all(torch.equal(net.state_dict()[name], value) for name, value in expected.state_dict().items())


@pytest.mark.slow
def test_kernels_are_held_out_in_all_networks_together(built: tuple[Sweep, Store]) -> None:
    from dwp_sweep.stages.prior import _hold_out
    from dwp_sweep.stages.prior_fit import PriorConfig

    group = load_bank(only(built, "harvest")[1]).groups[2]
    train, held_out = _hold_out(group, PriorConfig())

    def places(chosen: torch.Tensor) -> set[tuple[int, int]]:
        return set(zip(group.layer[chosen].tolist(), group.position[chosen].tolist(), strict=True))

    assert len(train) + len(held_out) == len(group.kernels)
    assert not places(train) & places(held_out)
    assert len(places(held_out)) == round(0.1 * len(places(torch.arange(len(group.kernels)))))


@pytest.mark.slow
def test_scans_that_changed_since_the_plan_are_not_trained_on(
    built: tuple[Sweep, Store], tmp_path: Path
) -> None:
    node, _ = only(built, "target", method="random_init")
    stage = STAGES["target"]
    config = parse(
        stage.config, {**node.config, "dataset": {**node.config["dataset"], "fingerprint": "old"}}, "n"
    )
    with pytest.raises(InputError, match="changed since the sweep was planned"):
        stage.run(config, {}, tmp_path, tmp_path / "out", silent)


@pytest.mark.slow
def test_a_brought_network_of_another_shape_and_a_prior_of_another_group_are_refused(
    built: tuple[Sweep, Store], tmp_path: Path
) -> None:
    _, source = only(built, "source", seed=0)
    with pytest.raises(InputError, match=r"source\.network: .*channels"):
        build_sweep(
            load_space(SPACE, [f"source.network={source}", "unet.channels=[4,4,4,4]"]), tmp_path / "runs"
        )
    for group in range(1, 8):
        folder = only(built, "prior", group=group if group > 2 else 3 - group)[1]
        shutil.copytree(folder, tmp_path / "priors" / f"group{group}")
    with pytest.raises(InputError, match=r"group1 holds the prior of group 2"):
        build_sweep(load_space(SPACE, [f"prior.path={tmp_path / 'priors'}"]), tmp_path / "runs")


def test_a_brought_folder_without_its_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"source\.network: .*nowhere holds no net\.safetensors and no net\.json"
    ):
        build_sweep(load_space(SPACE, [f"source.network={tmp_path / 'nowhere'}"]), tmp_path / "runs")


def test_too_few_kernels_are_counted_in_the_message(tmp_path: Path) -> None:
    from dwp_sweep.nets.kernel_bank import collect_bank, save_bank
    from dwp_sweep.nets.unet3d import UNet3D

    save_bank(collect_bank({(0, 0): UNet3D(1, 2, (1, 1, 1, 1))}), tmp_path)
    stage = STAGES["prior"]
    config = parse(stage.config, {"group": 1}, "node")
    with pytest.raises(InputError, match="kernel group 1: the bank holds 2 kernels, a VAE needs at least 20"):
        stage.run(config, {"bank": (tmp_path,)}, tmp_path, tmp_path / "out", silent)
