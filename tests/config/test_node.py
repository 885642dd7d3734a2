"""What tells the nodes of a sweep apart: trial numbers and the settings that it asks about, in titles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dwp_sweep.config.node import Node, short_settings
from dwp_sweep.config.space import load_space
from dwp_sweep.config.sweep import Sweep, build_sweep
from dwp_sweep.config.variants import asked_keys
from tests.config.test_sweep import SPACE


def built(tmp_path: Path, **changes: Any) -> Sweep:
    return build_sweep(load_space({**SPACE, **changes}), tmp_path)


def of(sweep: Sweep, stage: str) -> list[Node]:
    return [node for node in sweep.nodes.values() if node.stage == stage]


def test_a_title_has_the_trial_and_the_searched_values_that_the_node_depends_on(tmp_path: Path) -> None:
    sweep = built(
        tmp_path,
        fixed={"method": "deep_weight_prior", "train_size": 3},
        grid={"split": [0, 1]},
        search={
            "source.weight_decay": {"float": [0, 1e-2]},
            "prior.latent_dim": {"int": [2, 8]},
            "dwp.kl_weight": {"float": [1e-5, 1e-2], "log": True},
        },
        objective={"over": "split"},
    )
    assert sweep.resolve is not None
    values = {"source.weight_decay": 0.001, "prior.latent_dim": 4, "dwp.kl_weight": 0.00123456}
    target = sweep.resolve(values, 1, 3)
    words = "trial 3 weight_decay=0.001 latent_dim=4 kl_weight=0.001235"
    assert target.title == f"target {words} deep_weight_prior m=3 split 1 seed 0"
    assert target.labels["settings"] == values
    assert of(sweep, "prior")[3].title == "prior weight_decay=0.001 latent_dim=4 group 4"
    assert of(sweep, "harvest")[0].title == "harvest weight_decay=0.001"
    assert of(sweep, "source")[0].title == "source weight_decay=0.001 seed 0"


def test_the_trial_that_asked_first_keeps_its_nodes(tmp_path: Path) -> None:
    sweep = built(tmp_path, search={"target.lr": {"float": [1e-4, 1e-2]}})
    assert sweep.resolve is not None
    first = sweep.resolve({"target.lr": 0.001}, 0, 2)
    assert sweep.resolve({"target.lr": 0.001}, 0, 7) == first == sweep.nodes[first.key]
    assert sweep.resolve({"target.lr": 0.001}, 0).labels["trial"] == 2


def test_labels_are_no_part_of_a_key(tmp_path: Path) -> None:
    fixed, grid = {"train_size": 3}, {"split": [0]}
    searched = built(tmp_path, fixed=fixed, grid=grid, search={"target.lr": {"float": [1e-4, 1e-2]}})
    assert searched.resolve is not None
    plain = built(tmp_path, fixed={**fixed, "target.lr": 0.002}, grid=grid)
    assert searched.resolve({"target.lr": 0.002}, 0, 5).key == plain.targets[0]


def test_an_axis_stands_in_the_titles_of_the_nodes_that_read_it_alone(tmp_path: Path) -> None:
    grid = {
        "method": ["random_init", "deep_weight_prior"],
        "prior.latent_dim": [2, 4],
        "source.n_seeds": [1, 2],
    }
    sweep = built(tmp_path, grid=grid, fixed={"train_size": 3})
    titles = [node.title for node in of(sweep, "target")]
    assert titles[0] == "target random_init m=3 split 0 seed 0", "it reads no prior"
    assert titles[1:] == [
        f"target {names} deep_weight_prior m=3 split 0 seed 0"
        for names in (f"latent_dim={dim} n_seeds={n}" for dim in (2, 4) for n in (1, 2))
    ]
    assert {node.title for node in of(sweep, "source")} == {"source seed 0", "source seed 1"}
    assert {node.title for node in of(sweep, "harvest")} == {"harvest n_seeds=1", "harvest n_seeds=2"}


def test_a_sweep_that_asks_about_nothing_else_has_the_titles_it_had(tmp_path: Path) -> None:
    sweep = built(tmp_path, grid={"method": ["fine_tune"], "split": [0]}, fixed={"train_size": 3})
    assert of(sweep, "target")[0].labels.keys() == {"method", "train_size", "split", "seed"}
    assert of(sweep, "target")[0].title == "target fine_tune m=3 split 0 seed 0"


def test_keys_with_the_same_last_part_stand_whole_and_long_values_are_cut() -> None:
    assert short_settings({"source.lr": 0.1, "target.lr": 0.2, "unet.norm": "batch"}) == (
        "source.lr=0.1 target.lr=0.2 norm=batch"
    )
    assert (
        short_settings({"unet.channels": list(range(30))})
        == "channels=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11..."
    )


def test_what_a_sweep_asks_about_is_its_axes_and_its_search_but_no_variant() -> None:
    settings = {"grid": {"variant": {"a": {}}, "split": [0]}, "search": {"target.lr": {}, "split": {}}}
    assert asked_keys(settings) == ("split", "target.lr")
    assert asked_keys({"retrained_from": "x"}) == ()
