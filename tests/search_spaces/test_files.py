"""Every search space of the project: valid and planned at both scales, and what its header promises."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from dwp_sweep.config.experiment import ExperimentConfig, method_settings
from dwp_sweep.config.node import Node
from dwp_sweep.config.plain_values import flat
from dwp_sweep.config.space import load_space
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.data.splits import enough_problems
from dwp_sweep.harness.dag.plan import make_plan
from dwp_sweep.methods import METHODS
from dwp_sweep.nets.unet3d import UNet3D
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.tracking.mlflow_format import encode, flatten, public_config
from tests.search_spaces.spaces import (
    FILES,
    FOLDER,
    GRIDS,
    SEARCHES,
    planned,
    search_of,
    space,
    suggestions,
)

N_ASKED = 60


def keys(sweep: Sweep, *stages: str) -> set[str]:
    return {node.key for node in sweep.nodes.values() if node.stage in stages}


def upstream(sweep: Sweep, target: Node) -> set[str]:
    """Keys of all that a target needs."""
    found: set[str] = set()
    open_keys = [key for _, key in target.parents]
    while open_keys:
        key = open_keys.pop()
        found.add(key)
        open_keys += [parent for _, parent in sweep.nodes[key].parents]
    return found


def told_apart(condition: ExperimentConfig) -> str:
    """What decides a target: nothing of the source where its method takes nothing from there."""
    values = condition.model_dump(mode="json")
    if not METHODS[condition.method].needs(method_settings(condition)):
        values["data"].pop("source")
        values.pop("source")
    return json.dumps(values, sort_keys=True)


@pytest.mark.parametrize("smoke", [False, True], ids=["full", "smoke"])
@pytest.mark.parametrize("name", FILES)
def test_every_file_is_valid_and_planned(name: str, smoke: bool, tmp_path: Path) -> None:
    found = space(name, smoke=smoke)
    sweep = planned(found)
    plan = make_plan(sweep, LocalStore(tmp_path))
    if found.search is None:
        assert len(sweep.targets) == len({told_apart(condition) for condition in found.conditions})
        assert len(plan.states) == len(sweep.nodes)
        return
    assert sweep.resolve is not None
    for condition in found.search.conditions:
        for values in suggestions(found.search, 3, condition):
            for place in condition.members:
                assert sweep.resolve(values, place).stage == "target"


@pytest.mark.parametrize("name", FILES)
def test_a_file_begins_with_its_question_its_command_its_cost_and_what_to_expect(name: str) -> None:
    head = re.match(r"(#.*\n)+", (FOLDER / f"{name}.yaml").read_text())
    assert head is not None
    assert re.findall(r"^# (\w+):", head[0], flags=re.MULTILINE) in (
        ["Question", "Command", "Cost", "Expected"],
        ["Question", "Command", "Data", "Cost", "Expected"],
        ["Question", "Command", "Data", "Cost", "Expected", "Departs"],
        ["Question", "Command", "Data", "Cost", "Expected", "Settings"],
    )
    assert f"search_spaces/{name}.yaml" in head[0]


@pytest.mark.parametrize("name", [*GRIDS, *SEARCHES])
def test_a_smoke_scale_needs_no_scans(name: str) -> None:
    for one in space(name, smoke=True).conditions:
        assert one.data.source is not None
        assert {one.data.source.layout, one.data.target.layout} == {"phantom"}
        assert one.data.source.labels is None and one.data.source.subjects is None


@pytest.mark.parametrize("name", ["paper_grid", "paper_faithful"])
def test_the_paper_s_grid_is_that_of_its_tables(name: str) -> None:
    sweep = planned(space(name))
    assert len(sweep.targets) == 4 * 4 * 3 and len(sweep.nodes) == 48 + 10 + 1 + 7
    for one in space(name).conditions:
        assert one.data.source is not None
        assert not enough_problems({f"s{i}": f"s{i}" for i in range(170)}, one.data.source, ())
        assert not enough_problems({f"s{i}": f"s{i}" for i in range(275)}, one.data.target, (one.train_size,))


@pytest.mark.parametrize("name", ["paper_grid", "paper_grid_large"])
def test_the_head_names_every_setting_that_is_not_the_paper_s(name: str) -> None:
    ours = space(name)
    sizes = sorted({one.train_size for one in ours.conditions})
    papers = space("paper_faithful", f"grid.train_size={sizes}")
    differ: dict[str, tuple[object, object]] = {}
    for one, other in zip(ours.conditions, papers.conditions, strict=True):
        first, second = (flat(condition.model_dump(mode="json")) for condition in (one, other))
        assert first.keys() == second.keys()
        differ |= {key: (first[key], second[key]) for key in first if first[key] != second[key]}
    head = (FOLDER / f"{name}.yaml").read_text().partition("\ndata:")[0]
    lines = re.findall(r"^#  +([\w.]+): (\S+), in the paper (\S+): ", head, flags=re.MULTILINE)
    named = {key: (yaml.safe_load(value), yaml.safe_load(papers)) for key, value, papers in lines}
    assert len(lines) == len(named)
    assert {key: tuple(map(str, values)) for key, values in named.items()} == {
        key: tuple(map(str, values)) for key, values in differ.items()
    }


def test_the_paper_s_own_settings_are_those_of_its_tables_and_algorithms() -> None:
    (condition, *_) = space("paper_faithful").conditions
    unet, vae = condition.target, condition.prior
    for schedule, batch, patience in ((condition.source, 2, 10), (unet, 2, 10), (vae, 20, 15)):
        assert (schedule.lr, schedule.batch_size, schedule.patience) == (1e-3, batch, patience)
        assert (schedule.factor, schedule.max_epochs, schedule.stop_lr) == (0.1, 500, 1e-6)
        assert schedule.threshold == 1e-4 and schedule.weight_decay == 0 and schedule.steps_per_epoch is None
    assert (vae.kind, vae.latent_dim, vae.head, vae.standardise) == ("vae", 6, "tanh", "none")
    assert (condition.source.n_seeds, condition.source.n_cycles, condition.harvest.drop_below) == (10, 2, 0)
    loss = condition.loss
    assert (loss.dice_weight, loss.ce_weight, loss.ce_reduction) == (0.99, 0.01, "sum")
    assert sum(p.numel() for p in UNet3D(**condition.unet.model_dump()).parameters()) == 726_480
    dwp = method_settings(space("paper_faithful", "grid.method=[deep_weight_prior]").conditions[0])["dwp"]
    assert dwp.kl_weight == dwp.kl_fraction == 1 and dwp.likelihood == "ce" and dwp.bound == "sampled"
    assert dwp.noise == "weight" and dwp.kl_annealing_steps == 0
    assert dwp.log_var_lr == dwp.encoder_lr == unet.lr


def test_a_hundred_scans_ask_for_no_other_prior_than_the_paper_s_grid() -> None:
    small, large = planned(space("paper_grid")), planned(space("paper_grid_large"))
    assert keys(large, "source", "harvest", "prior") == keys(small, "source", "harvest", "prior")
    assert {node.labels["train_size"] for node in large.nodes.values() if node.stage == "target"} == {100}


@pytest.mark.parametrize("name", ["latent_dim", "freeze_points", "loss_weights", "source_harvest", "joint"])
def test_searches_on_the_hippocampus_pair_use_the_source_networks_of_the_rivals(name: str) -> None:
    found = space(name)
    sweep, rivals = planned(found), planned(space("rivals/hippocampus"))
    assert sweep.resolve is not None
    default = {"source.weight_decay": 0.003, "source.n_cycles": 2, "source.n_seeds": 2}
    method = {"method": "fine_tune"} if name == "joint" else {}
    fixed = {key: value for key, value in default.items() if key in search_of(found).distributions}
    node = sweep.resolve(method | fixed, 0)
    sources = {key for key in upstream(sweep, node) if sweep.nodes[key].stage == "source"}
    assert sources and sources <= keys(rivals, "source")


def test_losses_that_are_searched_for_leave_source_networks_and_priors_alone() -> None:
    found = space("loss_weights")
    sweep, search = planned(found), search_of(found)
    assert sweep.resolve is not None
    for condition in search.conditions:
        needed = []
        for values in suggestions(search, 4, condition):
            assert ("dwp.kl_weight" in values) == (condition.values["method"] == "deep_weight_prior")
            needed.append(upstream(sweep, sweep.resolve(values, condition.members[0])))
        assert needed[0] and needed.count(needed[0]) == 4


def test_a_suggested_latent_dimension_brings_seven_autoencoders_once() -> None:
    sweep = planned(space("latent_dim"))
    assert sweep.resolve is not None
    for latent_dim in (2, 6, 2, 6, 6):
        for weight in (1e-5, 1e-3):
            for place in range(3):
                sweep.resolve({"prior.latent_dim": latent_dim, "dwp.kl_weight": weight}, place)
    assert len(keys(sweep, "prior")) == 14 and len(keys(sweep, "harvest")) == 1
    assert len(sweep.targets) == 2 * 2 * 3


def test_nothing_thaws_where_nothing_is_frozen() -> None:
    asked = suggestions(search_of(space("freeze_points")), N_ASKED)
    assert {values["freeze.n_frozen"] for values in asked} == set(range(11))
    assert all(("freeze.thaw_epoch" in values) == (values["freeze.n_frozen"] > 0) for values in asked)


@pytest.mark.parametrize("smoke", [False, True], ids=["full", "smoke"])
def test_the_joint_search_suggests_only_what_the_method_reads(smoke: bool) -> None:
    found = space("joint", smoke=smoke)
    sweep, search = planned(found), search_of(found)
    assert sweep.resolve is not None
    asked = suggestions(search, N_ASKED)
    assert {values["method"] for values in asked} == set(search.distributions["method"].choices)
    for values in asked:
        sections = {key.partition(".")[0] for key in values}
        is_dwp = values["method"] == "deep_weight_prior"
        assert ({"dwp", "prior"} <= sections) if is_dwp else not ({"dwp", "prior"} & sections)
        assert ("freeze" in sections) == (values["method"] == "freeze_middle")
        assert ("source" in sections) == (values["method"] != "random_init")
        assert ("prior.latent_dim" in values) == (values.get("prior.kind") == "vae")
        needed = upstream(sweep, sweep.resolve(values, 0))
        assert bool(needed & keys(sweep, "prior")) == is_dwp


def test_lists_are_choices_in_yaml_in_the_study_and_in_the_parameters_of_a_run() -> None:
    choice = "search.freeze.trainable={choice: [[out], [up3, out], [init_conv, down1, up3, out]]}"
    found = load_space(
        {
            "name": "lists",
            "data": {"target": {"layout": "msd"}, "source": {"layout": "msd"}},
            "fixed": {"method": "freeze_middle"},
            "search": {"target.lr": {"choice": [1e-3, 3e-3]}},
        },
        [choice],
    )
    sweep = planned(found)
    assert sweep.resolve is not None
    shown = set()
    for one in suggestions(search_of(found), 12):
        assert isinstance(one["freeze.trainable"], list)
        config = public_config("target", sweep.resolve(one, 0).config)
        shown.add(encode(flatten(config)["freeze.trainable"]))
    assert shown == {'["out"]', '["up3", "out"]', '["init_conv", "down1", "up3", "out"]'}


def test_the_atlas_crosses_cells_with_methods_augmentation_sizes_splits_and_source_seeds() -> None:
    found = space("atlas")
    sweep = planned(found)
    targets = [node for node in sweep.nodes.values() if node.stage == "target"]
    cells = {one.data.source.phantom for one in found.conditions if one.data.source}
    assert len(cells) == 10 and len(keys(sweep, "source")) == 2 * len(cells)
    # What starts at random knows no source: it is there once for all cells.
    assert len(targets) == 2 * 3 * 10 + len(cells) * 4 * 3 * 10
    (target,) = {one.data.target for one in found.conditions}
    assert target.splits == "independent" and target.n_splits == 10
    augmented = {one.target.augment.preset for one in found.conditions if one.target.augment}
    assert augmented == {"plain"} and sum(one.target.augment is None for one in found.conditions) * 2 == len(
        found.conditions
    )
