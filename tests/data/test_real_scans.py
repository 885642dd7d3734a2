"""The data side on scans as hospitals publish them; skipped where they are absent."""

from __future__ import annotations

import numpy as np
import pytest

from dwp_sweep.data.cache import load_cases
from dwp_sweep.data.check import check_dataset
from dwp_sweep.data.config import DatasetConfig, PreprocessConfig
from dwp_sweep.data.layouts import list_subjects
from dwp_sweep.data.splits import target_split


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

    found = target_split([row.id for row in report.subjects], config, 20, 0)
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
