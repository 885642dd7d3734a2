"""Patches in a search space: keys of before stay, a patch that fits no volume is refused beforehand."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from dwp_sweep.config.datasets import prepare_datasets
from dwp_sweep.config.space import load_space
from dwp_sweep.data.patches import PatchConfig
from dwp_sweep.errors import InputError
from dwp_sweep.stages.target import TargetConfig
from dwp_sweep.tracking.mlflow_format import flatten, public_config

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


def write_volumes(root: Path, sizes: list[tuple[int, int, int]]) -> Path:
    """Scans of texture without background, which no crop makes smaller."""
    training = []
    for index, size in enumerate(sizes):
        rng = np.random.default_rng(index)
        voxels = {
            "imagesTr": rng.normal(50, 9, size).astype(np.float32),
            "labelsTr": np.zeros(size, np.uint8),
        }
        voxels["labelsTr"][4:6, 4:6, 4:6] = 1
        for folder, data in voxels.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(data, np.eye(4)), root / folder / f"s{index}.nii.gz")
        training.append({"image": f"imagesTr/s{index}.nii.gz", "label": f"labelsTr/s{index}.nii.gz"})
    (root / "dataset.json").write_text(json.dumps({"labels": {"0": "no", "1": "yes"}, "training": training}))
    return root


def test_volumes_smaller_than_a_patch_are_counted_beforehand_also_when_the_check_is_remembered(
    tmp_path: Path,
) -> None:
    root = write_volumes(tmp_path / "set", [(16, 16, 16)] * 4 + [(16, 16, 7), (9, 16, 16)])
    target = {"layout": "msd", "root": str(root), "n_val": 1, "n_test": 1}

    def warnings(shape: list[int]) -> list[str]:
        space = {
            "name": "x", "data": {"target": target}, "grid": {"method": ["random_init"]},
            "fixed": {"train_size": 2, "target": {"patch": {"shape": shape}}},
        }  # fmt: skip
        return list(prepare_datasets(load_space(space).conditions, tmp_path / "runs").warnings)

    first, again = warnings([16, 16, 16]), warnings([16, 16, 16])

    (warning,) = first
    assert again == first
    # 9 voxels are padded to 16 in any case.
    assert "target.patch.shape: 1 of 6 volumes are smaller than the patch [16, 16, 16]" in warning
    assert "[16, 16, 7]" in warning
    assert warnings([16, 16, 8]) == []
    with pytest.raises(InputError, match=r"target\.patch\.shape.*\[24, 16, 16\] is larger than the volumes"):
        warnings([24, 16, 16])


def test_checks_remembered_without_shapes_are_made_again_where_patches_ask_for_them(tmp_path: Path) -> None:
    root = write_volumes(tmp_path / "set", [(16, 16, 16)] * 4 + [(16, 16, 8)])
    target = {"layout": "msd", "root": str(root), "n_val": 1, "n_test": 1}
    space = {"name": "x", "data": {"target": target}, "grid": {"method": ["random_init"]}}
    space["fixed"] = {"train_size": 2}
    patched = {**space, "fixed": {"train_size": 2, "target": {"patch": {"shape": [16, 16, 16]}}}}
    prepare_datasets(load_space(space).conditions, tmp_path / "runs")
    (memory,) = (tmp_path / "runs" / "cache" / "checks").glob("*.json")
    known = json.loads(memory.read_text())
    assert sorted(known.pop("shapes")) == [[16, 16, 8]] + 4 * [[16, 16, 16]]
    memory.write_text(json.dumps(known))

    (warning,) = prepare_datasets(load_space(patched).conditions, tmp_path / "runs").warnings

    assert "1 of 5 volumes" in warning and "shapes" in json.loads(memory.read_text())


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
