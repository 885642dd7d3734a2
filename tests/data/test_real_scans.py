"""The data side on scans as hospitals publish them; skipped where they are absent."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from dwp_sweep.data.cache.cases import load_cases
from dwp_sweep.data.check.check import check_dataset
from dwp_sweep.data.config import DatasetConfig, PreprocessConfig
from dwp_sweep.data.files.volumes import read_volume
from dwp_sweep.data.layouts import list_patients, list_subjects
from dwp_sweep.data.splits import target_split
from dwp_sweep.metrics.physical import physical_scores


def test_the_hippocampus_crops_serve_as_two_tasks(real_scans, tmp_path):
    root = str(real_scans / "Task04_Hippocampus")
    prepared = PreprocessConfig(crop_foreground=False, shape=(40, 56, 40))
    for subjects, label, n in (("0:90", 1, 90), ("90:160", 2, 70)):
        config = DatasetConfig(
            layout="msd", root=root, subjects=subjects, labels=(label,), n_test=40, preprocess=prepared
        )
        report = check_dataset(config)
        assert report.problems == ()
        assert len(report.subjects) == n
        assert all(0.005 < row.foreground_share < 0.1 for row in report.subjects)

    found = target_split(list_patients(config), config, 20, 0)
    assert (len(found.train), len(found.val), len(found.test)) == (20, 10, 40)
    for case in load_cases(config, list_subjects(config)[:3], tmp_path):
        assert case.image.shape == (1, 40, 56, 40)
        assert np.isfinite(case.image).all() and case.mask.any()


@pytest.mark.slow
def test_the_ms_folders_are_cropped_to_the_brain(real_scans, tmp_path):
    config = DatasetConfig(layout="ms", root=str(real_scans / "open_ms"))
    report = check_dataset(config)

    assert (report.problems, report.warnings) == ((), ())
    assert [row.shape for row in report.subjects] == [(182, 218, 182)] * 3
    for case in load_cases(config, list_subjects(config), tmp_path):
        assert all(120 < size < 182 for size in case.mask.shape)
        inside = case.image[case.image != 0]
        assert abs(inside.mean()) < 1e-2 and abs(inside.std() - 1) < 1e-2


@pytest.mark.slow
def test_full_size_brains_serve_as_a_brats_folder_with_two_modalities(real_scans, tmp_path):
    for patient in sorted((real_scans / "open_ms").iterdir()):
        folder = tmp_path / "set" / patient.name
        folder.mkdir(parents=True)
        for name, modality in (("T2", "t2"), ("FLAIR", "flair"), ("mask", "seg")):
            (folder / f"{patient.name}_{modality}.nii.gz").symlink_to(patient / f"{name}.nii.gz")
    config = DatasetConfig(
        layout="brats",
        root=str(tmp_path / "set"),
        modality=("t2", "flair"),
        preprocess=PreprocessConfig(shape=(152, 184, 144)),
    )
    report = check_dataset(config)

    assert (report.problems, report.warnings) == ((), ())  # the crop holds every lesion
    assert {row.input_shape for row in report.subjects} == {(2, 152, 184, 144)}
    masks = {}
    for case in load_cases(config, list_subjects(config), tmp_path / "cache"):
        masks[case.id] = int(np.count_nonzero(case.mask))
        for channel in case.image:
            inside = channel[channel != 0]
            assert abs(inside.mean()) < 1e-2 and abs(inside.std() - 1) < 1e-2
    stored = {row.id: round(row.foreground_share * np.prod(row.shape)) for row in report.subjects}
    assert masks == stored


@pytest.mark.slow
def test_slices_first_is_the_same_brain_turned(real_scans, tmp_path):
    config = DatasetConfig(layout="ms", root=str(real_scans / "open_ms"), subjects=("patient26",))
    turned = config.model_copy(update={"preprocess": PreprocessConfig(orientation="SRA")})
    (usual,), (slices_first,) = (
        load_cases(one, list_subjects(one), tmp_path / "cache") for one in (config, turned)
    )

    np.testing.assert_array_equal(slices_first.mask, usual.mask.transpose(2, 0, 1))
    np.testing.assert_allclose(slices_first.image, usual.image.transpose(0, 3, 1, 2), atol=1e-5)


@pytest.mark.slow
def test_scores_of_a_shifted_lesion_mask_are_those_of_its_shift(real_scans):
    mask = read_volume(real_scans / "open_ms" / "patient19" / "mask.nii.gz")
    truth = mask.data > 0
    same = physical_scores(truth, truth, mask.spacing_mm)
    moved = physical_scores(np.roll(truth, 2, axis=0), truth, mask.spacing_mm)

    assert (same.hd95_mm, same.asd_mm, same.lesion_sensitivity, same.volume_error_ml) == (0, 0, 1, 0)
    assert same.n_lesions == ndimage.label(truth, np.ones((3, 3, 3)))[1] > 50
    assert moved.hd95_mm == 2.0 and 0 < moved.asd_mm < 2.0
    assert 0 < moved.lesion_sensitivity < 1 and moved.volume_error_ml == 0


def test_the_two_parts_of_the_hippocampus_are_two_classes_with_the_names_of_the_data_set(
    real_scans, tmp_path
):
    root = str(real_scans / "Task04_Hippocampus")
    prepared = PreprocessConfig(crop_foreground=False, shape=(40, 56, 40))
    plain = DatasetConfig(layout="msd", root=root, subjects="0:4", preprocess=prepared)
    (warning,) = [one for one in check_dataset(plain).warnings if "one foreground" in one.what]
    assert "1 (Anterior), 2 (Posterior)" in warning.what
    assert "classes: {Anterior: [1], Posterior: [2]}" in warning.fix

    values = plain.model_dump() | {"classes": {"Anterior": [1], "Posterior": [2]}}
    both = DatasetConfig.model_validate(values)
    assert check_dataset(both).problems == ()
    sides = [
        load_cases(plain.model_copy(update={"labels": (label,)}), list_subjects(plain), tmp_path)
        for label in (1, 2)
    ]
    for case, anterior, posterior in zip(
        load_cases(both, list_subjects(both), tmp_path), *sides, strict=True
    ):
        np.testing.assert_array_equal(case.mask == 1, anterior.mask == 1)
        np.testing.assert_array_equal(case.mask == 2, posterior.mask == 1)
        np.testing.assert_array_equal(case.image, anterior.image)
