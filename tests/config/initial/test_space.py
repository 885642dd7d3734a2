from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from dwp_sweep.config.initial.machine import TrainingMachine
from dwp_sweep.config.initial.space import InitialSpace, initial_space
from dwp_sweep.config.space import load_space
from dwp_sweep.errors import InputError
from dwp_sweep.nets.net_files import save_net
from dwp_sweep.nets.unet3d import UNet3D, UNetConfig
from tests.config.initial import trees

LAPTOP = TrainingMachine(n_cpus=4, memory=8 * 10**9)
GPU = TrainingMachine(n_cpus=16, memory=64 * 10**9, gpu_memory=80 * 10**9, n_gpus=1, has_bf16=True)


def made(
    target: Path, source: Path | None = None, machine: TrainingMachine = LAPTOP, **given: Any
) -> InitialSpace:
    return initial_space(
        str(target), str(source) if source else None, given, machine, "mine.yaml", lambda *_: None
    )


def values(space: InitialSpace) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(space.text)
    return loaded


def refusal(*arguments: Any, **given: Any) -> str:
    with pytest.raises(InputError) as caught:
        made(*arguments, **given)
    assert all(problem.fix for problem in caught.value.problems)
    return str(caught.value)


@pytest.mark.parametrize("layout", trees.TREES)
def test_every_layout_gives_a_file_that_loads_with_and_without_smoke(tmp_path, layout):
    root = trees.TREES[layout](tmp_path / "set", 8)

    space = made(root)

    data = values(space)["data"]["target"]
    assert data["layout"] == layout and data["root"] == str(root)
    for smoke in (False, True):
        load_space({"name": "mine", **values(space)}, smoke=smoke)
    assert values(space)["grid"]["method"] == ["random_init"]


def test_every_line_with_a_choice_says_why(tmp_path):
    space = made(trees.brats(tmp_path / "b", 8), trees.ms(tmp_path / "m", 4, first=900))

    reasons = [line for line in space.text.splitlines() if "#" in line and not line.startswith("#")]
    named = (
        "layout",
        "labels",
        "orientation",
        "spacing_mm",
        "shape",
        "n_val",
        "n_test",
        "batch_size",
        "method",
    )
    for key in (*named, "batch_size", "train_size", "split", "channels", "modality", "max_epochs", "n_seeds"):
        place = next(n for n, line in enumerate(space.text.splitlines()) if f" {key}:" in line)
        assert any("#" in line for line in space.text.splitlines()[place - 1 : place + 1]), key
    assert len(reasons) > 20 and max(map(len, space.text.splitlines())) <= 110


def test_both_tasks_get_the_modalities_that_both_have_in_one_order(tmp_path):
    data = values(made(trees.brats(tmp_path / "b", 8), trees.ms(tmp_path / "m", 4, first=900)))["data"]

    assert data["source"]["image_pattern"] == ["FLAIR", "T2"]
    assert data["target"]["modality"] == ["flair", "t2"]


def test_one_common_modality_is_one_channel(tmp_path):
    space = values(made(trees.nnunet(tmp_path / "n", 8), trees.bids(tmp_path / "b", 4, first=900)))

    assert space["data"]["target"]["channel"] == 1
    assert space["data"]["source"]["image_pattern"] == "FLAIR"
    assert "in_channels" not in space["fixed"]["unet"]


def test_voxels_that_nobody_annotated_are_no_foreground_and_classes_are_offered(tmp_path):
    space = made(trees.nnunet(tmp_path / "n", 8))

    assert values(space)["data"]["target"]["labels"] == [1, 2]
    assert "classes: {lesion: [1], other: [2]}" in space.text


def test_sessions_of_a_patient_are_counted_as_patients(tmp_path):
    space = made(trees.bids(tmp_path / "b", 6))

    assert "12 scans of 6 patients" in space.text


def test_thick_slices_of_two_axes_are_brought_to_one(tmp_path):
    axial = trees.msd(tmp_path / "a", 8, spacing_mm=(1, 1, 4))
    sagittal = trees.msd(tmp_path / "s", 4, first=900, spacing_mm=(4, 1, 1))

    data = values(made(axial, sagittal))["data"]

    assert data["target"]["preprocess"]["orientation"] == "RAS"
    assert data["source"]["preprocess"]["orientation"] == "ASR"
    assert data["source"]["preprocess"]["shape"] == [16, 16, 16]  # boxes of 14 x 12 x 16 voxels


def test_ct_gets_one_window_for_both_tasks(tmp_path):
    space = values(
        made(trees.msd(tmp_path / "a", 8, air=-1000), trees.msd(tmp_path / "b", 4, 900, air=-1000))
    )

    low, high = space["data"]["target"]["preprocess"]["window"]
    assert low <= 20 and high >= 100 and high - low >= 100
    assert space["data"]["source"]["preprocess"]["window"] == [low, high]
    assert "window" not in values(made(trees.msd(tmp_path / "c", 8)))["data"]["target"]["preprocess"]


def test_voxel_sizes_that_differ_are_resampled_to_their_median(tmp_path):
    root = trees.msd(tmp_path / "a", 8)
    for name in ("case_00", "case_01", "case_02"):
        trees.write_scan(root / "imagesTr" / f"{name}.nii.gz", 5, spacing_mm=(2, 1, 1))
        trees.write_mask(root / "labelsTr" / f"{name}.nii.gz", spacing_mm=(2, 1, 1))

    assert values(made(root))["data"]["target"]["preprocess"]["spacing_mm"] == [1.0, 1.0, 1.0]


def test_volumes_that_exceed_a_step_train_in_patches_and_small_machines_have_small_ones(tmp_path):
    root = trees.msd(tmp_path / "a", 8)
    small = TrainingMachine(n_cpus=2, memory=4_000_000)

    fixed = values(made(root, machine=small))["fixed"]["target"]

    voxels = 2 * fixed["patch"]["shape"][0] * fixed["patch"]["shape"][1] * fixed["patch"]["shape"][2]
    assert voxels <= small.most_voxels
    assert "patch" not in values(made(root, machine=GPU))["fixed"]["target"]


def test_a_gpu_gets_the_width_of_the_paper_and_its_share(tmp_path):
    space = values(made(trees.msd(tmp_path / "a", 8), machine=GPU))

    assert space["fixed"]["unet"]["channels"] == [16, 32, 32, 64]
    assert space["resources"]["target"] == {"cpu": 8, "gpu": 0.25}
    assert space["fixed"]["compute"]["precision"] == "bf16"


def test_a_source_network_takes_the_place_of_its_scans(tmp_path):
    shape = {"in_channels": 1, "n_classes": 2, "channels": (2, 4, 4, 4)}
    save_net(UNet3D(**shape), UNetConfig(**shape), tmp_path / "net", {})

    space = values(made(trees.brats(tmp_path / "b", 8), tmp_path / "net"))

    assert space["fixed"]["source"] == {"network": str(tmp_path / "net")}
    assert space["fixed"]["unet"]["channels"] == [2, 4, 4, 4]
    assert "fine_tune" in space["grid"]["method"] and "deep_weight_prior" not in space["grid"]["method"]
    assert space["data"]["target"]["modality"] == "flair" and "source" not in space["data"]


def test_settings_of_the_user_are_not_chosen(tmp_path):
    given: Mapping[str, Any] = {
        "data.target.labels": [2],
        "data.target.n_test": 1,
        "grid.train_size": [4],
        "fixed.loss.ce_reduction": "sum",
        "fixed.target.max_epochs": 7,
    }
    space = values(made(trees.msd(tmp_path / "a", 8), **given))

    assert space["data"]["target"]["labels"] == [2] and space["data"]["target"]["n_test"] == 1
    assert space["grid"]["train_size"] == [4] and space["fixed"]["loss"] == {"ce_reduction": "sum"}
    assert space["fixed"]["target"]["max_epochs"] == 7


def test_subjects_that_lack_a_mask_are_left_out_and_named(tmp_path):
    root = trees.brats(tmp_path / "b", 8)
    (root / "BraTS-GLI-00003-000" / "BraTS-GLI-00003-000-seg.nii.gz").unlink()

    space = made(root)

    assert len(values(space)["data"]["target"]["subjects"]) == 7
    assert "1 without an image or a mask left out, such as BraTS-GLI-00003-000" in space.text


def test_two_folders_without_masks_are_refused_together(tmp_path):
    for name in ("a", "b"):
        root = trees.msd(tmp_path / name, 4)
        for mask in (root / "labelsTr").iterdir():
            mask.unlink()

    text = refusal(tmp_path / "a", tmp_path / "b")

    for name in ("a", "b"):
        assert f"{tmp_path / name}: 4 of 4 subjects lack an image or a mask" in text


def test_empty_and_missing_folders_are_refused_together(tmp_path):
    (tmp_path / "empty").mkdir()

    text = refusal(tmp_path / "empty", tmp_path / "none")

    assert "is empty: it holds no files" in text and "there is no" in text


def test_scans_of_mixed_channels_are_counted(tmp_path):
    root = trees.msd(tmp_path / "a", 4)
    trees.write_scan(root / "imagesTr" / "case_02.nii.gz", 5, shape=(*trees.SHAPE, 2))

    assert "scans of mixed channels: 3 scans with 1, such as case_00; 1 scans with 2" in refusal(root)


def test_too_few_scans_say_what_would_be_possible(tmp_path):
    text = refusal(trees.msd(tmp_path / "a", 2))

    assert "2 scans of 2 patients: a split needs three patients" in text and "with 3 one tests" in text


def test_one_folder_for_both_tasks_needs_to_be_divided(tmp_path):
    root = trees.msd(tmp_path / "a", 10)

    assert "are the same folder" in refusal(root, root)
    space = made(root, root, **{"data.source.subjects": "0:3", "data.target.subjects": "3:10"})
    assert values(space)["data"]["source"]["subjects"] == "0:3"


def test_masks_without_labels_are_refused(tmp_path):
    root = trees.msd(tmp_path / "a", 3)
    for mask in (root / "labelsTr").iterdir():
        trees.write_mask(mask, labels=())

    assert "no mask holds a label above 0" in refusal(root)
