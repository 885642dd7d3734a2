"""Augmentation in a search space: an axis, a variant, a search; what cannot be is refused beforehand."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.config.datasets import prepare_datasets
from dwp_sweep.config.space import Space, load_space
from dwp_sweep.data.augment.config import impossible_changes
from dwp_sweep.errors import InputError
from dwp_sweep.tracking.mlflow_format import flatten, public_config
from dwp_sweep.tracking.read.configuration import pairs_of, select_rows, setting, varied_of
from dwp_sweep.tracking.read.rows import NodeRow
from tests.search_spaces.spaces import planned

SPACE: dict[str, Any] = {
    "name": "augmented",
    "data": {
        task: {
            "layout": "phantom",
            "phantom": {"kind": task, "n_subjects": 6, "shape": [16, 16, 16]},
            "n_val": 1,
        }
        for task in ("source", "target")
    },
    "fixed": {"train_size": 2, "data.target.n_test": 1, "source": {"n_seeds": 1, "n_cycles": 1}},
}


def space(*overrides: str, **sections: Any) -> Space:
    return load_space({**copy.deepcopy(SPACE), **sections}, overrides)


def problems(*overrides: str, **sections: Any) -> str:
    with pytest.raises(InputError) as error:
        space(*overrides, **sections)
    return str(error.value)


def test_augmentation_is_an_axis_of_the_grid() -> None:
    found = space(grid={"target.augment": ["none", "plain", {"preset": "plain", "flip": ["LR"]}]})
    augments = [one.target.augment for one in found.conditions]
    assert augments[0] is None and [one.flip for one in augments[1:] if one] == [(), ("LR",)]
    fixed = SPACE["fixed"] | {"target.augment": {"preset": "plain", "flip": ["LR"]}}
    found = space(fixed=fixed, grid={"target.augment.preset": ["none", "plain", "strong"]})
    assert [one.target.augment is None for one in found.conditions] == [True, False, False]
    assert all(one.target.augment.flip == ("LR",) for one in found.conditions if one.target.augment)


def test_augmentation_stands_in_variants_for_source_and_target() -> None:
    variants = {
        "RI": {"method": "random_init"},
        "RI, augmented": {"method": "random_init", "target.augment": "plain"},
        "FT, remapped": {"method": "fine_tune", "source": {"augment": {"preset": "plain", "remap": 0.5}}},
    }
    found = space(grid={"variant": variants})
    assert [one.target.augment is None for one in found.conditions] == [True, False, True]
    assert [one.source.augment is None for one in found.conditions] == [True, True, False]


def test_its_strength_can_be_searched_for() -> None:
    search = {"target.augment.strength": {"float": [0, 2]}}
    fixed = SPACE["fixed"] | {"target.augment": {"preset": "plain"}}
    assert space(fixed=fixed, search=search).search is not None
    assert "name a preset (preset: plain)" in problems(search=search)


def test_the_source_s_augmentation_asks_for_other_source_networks_and_the_target_s_does_not() -> None:
    def keys(*overrides: str) -> dict[str, str]:
        sweep = planned(space("method=fine_tune", *overrides))
        return {node.stage: node.key for node in sweep.nodes.values()}

    plain, target = keys(), keys("target.augment=plain")
    source = keys("source.augment=plain")
    assert target["source"] == plain["source"] and target["target"] != plain["target"]
    assert source["source"] != plain["source"] and source["target"] != plain["target"]
    assert keys("target.augment=none", "source.augment=off") == plain


def test_answers_name_networks_without_augmentation_beside_those_with_it() -> None:
    rows = []
    for value in ("none", "plain"):
        (condition,) = space(f"target.augment={value}").conditions
        config = {"target": condition.target.model_dump(mode="json")}
        params = flatten(public_config("target", config))
        labels = {"method": "random_init", "split": 0, "seed": 0}
        rows.append(
            NodeRow(run_id="r", stage="target", key=value, state="done", labels=labels, params=params)
        )
    pairs = pairs_of(rows)
    assert not [name for name in rows[0].params if "augment" in name], "runs of before say nothing of it"
    assert [setting(pair, "target.augment.preset") for pair in pairs] == ["none", "plain"]
    assert varied_of([dict(one.values) for _, one in pairs])[0] == "target.augment.preset"
    assert len({one.identity for _, one in pairs}) == 2
    assert select_rows(pairs, {"target.augment.preset": "none"}, "augmented") == pairs[:1]


@pytest.mark.parametrize("task", ["source", "target"])
def test_a_turn_out_of_a_single_slice_is_refused_before_anything_starts(task: str) -> None:
    found = problems(f"{task}.augment=plain", f"data.{task}.preprocess.shape=[16,16,1]")
    assert f"{task}.augment.rotation_deg = a turn about LR, AP leaves the plane" in found
    flip = problems(f"{task}.augment={{flip: [SI]}}", f"data.{task}.preprocess.shape=[16,16,1]")
    assert f"{task}.augment.flip" in flip and "leave SI out" in flip


def test_volumes_whose_shape_nobody_gave_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conditions = space("target.augment=plain").conditions
    assert prepare_datasets(conditions, tmp_path).datasets
    seen: list[Any] = []

    def flat(augment: Any, volumes: Any, orientation: str, key: str) -> Any:
        seen.append((len(volumes), key))
        return impossible_changes(augment, [(16, 16, 1)], orientation, key)

    monkeypatch.setattr("dwp_sweep.config.datasets.impossible_changes", flat)
    with pytest.raises(InputError, match=r"target\.augment\.rotation_deg: a turn about LR, AP"):
        prepare_datasets(conditions, tmp_path)
    assert seen == [(6, "target.augment")]


def test_all_problems_of_both_sections_are_told_at_once() -> None:
    found = problems("target.augment={scale: [-1, 1]}", "source.augment=plian")
    assert "target.augment.scale = [-1, 1]" in found and 'source.augment.preset = "plian"' in found
