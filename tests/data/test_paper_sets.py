"""The paper's data sets in small: each layout from the files on disk to what a network gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dwp_sweep.data.cache.cases import load_cases
from dwp_sweep.data.check.check import check_dataset
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.layouts import list_subjects
from dwp_sweep.strict import parse

TASKS = {
    "Task03_Liver": ("liver_{}", {"0": "background", "1": "liver", "2": "cancer"}),
    "Task08_HepaticVessel": ("hepaticvessel_{:03d}", {"0": "background", "1": "Vessel", "2": "Tumour"}),
    "Task09_Spleen": ("spleen_{}", {"0": "background", "1": "spleen"}),
}


def ct(seed: int, labels: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Air around an ellipse of soft tissue with an organ in it; part of the organ has the last label."""
    rng = np.random.default_rng(seed)
    image = np.full((30, 28, 9), -1024, dtype=np.int16)
    i, j, _ = np.indices(image.shape)
    body = ((i - 15) / 12) ** 2 + ((j - 14) / 10) ** 2 < 1
    image[body] = rng.normal(40, 15, size=int(body.sum()))
    mask = np.zeros(image.shape, dtype=np.uint8)
    mask[10:16, 10:16, 2:6] = 1
    mask[12:14, 12:14, 3:5] = max(map(int, labels))
    image[mask > 0] += 60
    return image, mask


@pytest.mark.parametrize("task", TASKS)
def test_a_task_of_the_decathlon_on_ct_is_windowed_and_its_labels_chosen(tmp_path, write_scan, task):
    name, labels = TASKS[task]
    affine, training = np.diag([-0.8, -0.8, 5.0, 1.0]), []
    for index in range(3):
        image, mask = ct(index, labels)
        file = f"{name.format(index)}.nii.gz"
        write_scan(tmp_path / "imagesTr" / file, image, affine)
        write_scan(tmp_path / "labelsTr" / file, mask, affine)
        training.append({"image": f"./imagesTr/{file}", "label": f"./labelsTr/{file}"})
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels, "training": training, "test": []}))
    wanted = sorted(int(label) for label in labels if label != "0")[-1:]
    values: dict[str, Any] = {"layout": "msd", "labels": wanted, "preprocess": {"window": [-200, 250]}}
    config = parse(DatasetConfig, {**values, "root": str(tmp_path)}, task)

    report = check_dataset(config)
    cases = load_cases(config, list_subjects(config), tmp_path / "cache")

    assert (report.problems, report.warnings) == ((), ())
    assert report.subjects[0].labels == tuple(sorted(map(int, labels)))
    n_voxels = 6 * 6 * 4 if len(wanted) == len(labels) - 1 else 2 * 2 * 2
    for case in cases:
        assert case.mask.sum() == n_voxels and case.spacing_mm == pytest.approx((0.8, 0.8, 5.0))
        inside = case.image[0][case.mask == 1]
        assert case.image.min() == -1.0 and case.image.max() <= 1.0  # air is the lower end of the window
        assert inside.mean() == pytest.approx((100 - 25) / 225, abs=0.1)  # 100 HU
        assert case.mask.shape[:2] == (23, 19)  # the body, without the air around it


def test_thick_slices_of_the_ms_set_come_slices_first(tmp_path, write_scan):
    affine = np.diag([-0.5, -0.5, 6.5, 1.0])
    for index in range(2):
        image = np.zeros((44, 52, 11), dtype=np.float32)
        image[2:42, 3:50, 1:] = np.random.default_rng(index).uniform(50, 100, size=(40, 47, 10))
        mask = np.zeros(image.shape, dtype=np.uint8)
        mask[20:23, 30:34, 5] = 1
        patient = tmp_path / f"patient{index}"
        write_scan(patient / f"patient{index}_FLAIR.nii.gz", image + 80 * mask, affine)
        write_scan(patient / f"patient{index}_mask.nii.gz", mask, affine)
    values = {"layout": "ms", "preprocess": {"orientation": "SRA", "shape": [12, 32, 40]}}
    config = parse(DatasetConfig, {**values, "root": str(tmp_path)}, "ms")

    report = check_dataset(config)
    case, _ = load_cases(config, list_subjects(config), tmp_path / "cache")

    assert (report.problems, report.warnings) == ((), ())
    assert report.subjects[0].spacing_mm == pytest.approx((0.5, 0.5, 6.5))
    assert case.image.shape == (1, 12, 32, 40) and case.spacing_mm == pytest.approx((6.5, 0.5, 0.5))
    assert case.mask.any(axis=(1, 2)).sum() == 1 and case.mask.sum() == 12


def test_modalities_of_a_4d_task_are_channels(tmp_path: Path, write_scan) -> None:
    volumes = [np.random.default_rng(n).uniform(1, 2, size=(8, 8, 8)) for n in range(4)]
    mask = np.zeros((8, 8, 8), dtype=np.uint8)
    mask[3:5, 3:5, 3:5] = 3
    write_scan(tmp_path / "imagesTr" / "BRATS_001.nii.gz", np.stack(volumes, axis=-1))
    write_scan(tmp_path / "labelsTr" / "BRATS_001.nii.gz", mask)
    entry = {"image": "./imagesTr/BRATS_001.nii.gz", "label": "./labelsTr/BRATS_001.nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps({"training": [entry]}))
    config = DatasetConfig(layout="msd", root=str(tmp_path), channel=(0, 3))

    (case,) = load_cases(config, list_subjects(config), tmp_path / "cache")
    (problem,) = check_dataset(config.model_copy(update={"channel": (0, 4)})).problems

    assert case.image.shape == (2, 8, 8, 8)
    order = [np.argsort(channel, axis=None) for channel in (case.image[1], volumes[3])]
    assert np.corrcoef(*(np.argsort(one) for one in order))[0, 1] > 0.99
    assert "channel 4 is not there" in problem.what
