"""Patches in a search space: keys of before stay, a patch that fits no volume is refused beforehand."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.config.space import load_space
from dwp_sweep.data.patches import PatchConfig
from dwp_sweep.errors import InputError
from dwp_sweep.stages.postprocess import PostprocessConfig
from dwp_sweep.stages.source import SourceConfig
from dwp_sweep.stages.target import TargetConfig
from dwp_sweep.strict import keyed_values
from dwp_sweep.tracking.params import flatten, public_config

SPACE: dict[str, Any] = {
    "name": "patches",
    "data": {
        task: {"layout": "phantom", "phantom": {"kind": task}, "preprocess": {"shape": [30, 32, 22]}}
        for task in ("source", "target")
    },
    "grid": {"method": ["fine_tune"]},
}


def with_patch(task: str, **patch: Any) -> dict[str, Any]:
    space = copy.deepcopy(SPACE)
    space["fixed"] = {task: {"patch": patch}}
    return space


def test_whole_volumes_and_plain_masks_are_no_part_of_a_key() -> None:
    for section in (SourceConfig(), TargetConfig()):
        assert not {"patch", "postprocess"} & set(keyed_values(section))
    patched = TargetConfig(
        patch=PatchConfig(shape=(16, 16, 16)), postprocess=PostprocessConfig(largest_component=True)
    )
    assert keyed_values(patched)["patch"] == {"shape": [16, 16, 16], "foreground_share": 0.5, "overlap": 0.5}
    assert keyed_values(patched)["postprocess"]["largest_component"] is True


def test_runs_without_patches_have_the_parameters_of_before() -> None:
    plain = flatten(public_config("target", {"target": TargetConfig().model_dump(mode="json")}))
    assert not [name for name in plain if "patch" in name or "postprocess" in name]
    patched = TargetConfig(patch=PatchConfig(shape=(16, 16, 16))).model_dump(mode="json")
    found = flatten(public_config("target", {"target": patched}))
    assert found["target.patch.shape"] == [16, 16, 16] and "target.postprocess.largest_component" not in found


@pytest.mark.parametrize("task", ["source", "target"])
def test_a_patch_may_fill_the_padded_volume_and_no_more(task: str) -> None:
    (condition,) = load_space(with_patch(task, shape=[32, 32, 24])).conditions
    assert getattr(condition, task).patch.shape == (32, 32, 24)
    with pytest.raises(InputError, match=rf"{task}\.patch\.shape.*\[32, 32, 32\] is larger.*\[32, 32, 24\]"):
        load_space(with_patch(task, shape=[32, 32, 32]))


def test_a_shape_that_is_no_multiple_of_8_and_an_unknown_key_are_told_together() -> None:
    with pytest.raises(InputError) as caught:
        load_space(with_patch("target", shape=[20, 32, 24], overlaps=0.5))
    text = str(caught.value)
    assert "target.patch.shape" in text and "multiples of 8" in text
    assert "target.patch.overlaps" in text and "did you mean 'overlap'" in text


@pytest.mark.parametrize("name", ["msd_liver", "msd_spleen"])
def test_the_ct_spaces_train_on_patches_of_windowed_scans(name: str) -> None:
    path = Path(__file__).resolve().parents[2] / "search_spaces" / f"{name}.yaml"
    whole, smoke = load_space(path), load_space(path, smoke=True)

    for condition in whole.conditions:
        for dataset in (condition.data.source, condition.data.target):
            assert (
                dataset is not None and dataset.layout == "msd" and dataset.preprocess.window == (-100, 250)
            )
        assert condition.source.patch == condition.target.patch != PatchConfig()
    assert len(whole.conditions) == 36 and len(smoke.conditions) == 4
    assert {one.data.target.preprocess.window for one in smoke.conditions} == {None}
    assert {one.target.patch.shape for one in smoke.conditions} == {(16, 24, 16)}
