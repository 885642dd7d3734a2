from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dwp_sweep.data.check.check import check_dataset
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.layouts import guess_layout, list_subjects, resolved, scan_layout
from dwp_sweep.data.pair import read_pair
from dwp_sweep.errors import InputError

WriteSet = Callable[..., Path]
V2 = {"channel_names": {"0": "T1", "1": "FLAIR"}, "labels": {"background": 0, "lesion": 1, "two": 2}}
V1 = {"modality": {"0": "T1", "1": "FLAIR"}, "labels": {"0": "background", "1": "lesion", "2": "two"}}


@pytest.fixture
def write_nnunet(write_scan, image, mask) -> WriteSet:
    """``write_nnunet(root, n, n_channels, **description)``: cases ``case_00`` ..., version 2 by default."""

    def write(root: Path, n: int = 3, n_channels: int = 2, **description: Any) -> Path:
        for number in range(n):
            for channel in range(n_channels):
                name = f"case_{number:02d}_{channel:04d}.nii.gz"
                write_scan(root / "imagesTr" / name, image(10 * number + channel))
            write_scan(root / "labelsTr" / f"case_{number:02d}.nii.gz", mask())
        values = description or {**V2, "numTraining": n, "file_ending": ".nii.gz"}
        (root / "dataset.json").write_text(json.dumps(values))
        return root

    return write


def config_of(root: Path, **values: Any) -> DatasetConfig:
    return resolved(DatasetConfig(root=str(root), **values))


def test_channels_of_version_2_are_files(tmp_path, write_nnunet, image):
    config = config_of(write_nnunet(tmp_path), channel=(1, 0))

    assert config.layout == "nnunet" and config.n_channels == 2
    subject = list_subjects(config)[2]
    assert (subject.id, subject.patient) == ("case_02", "case_02")
    pair = read_pair(subject, config)
    np.testing.assert_array_equal(pair.images[0].data, image(21))
    np.testing.assert_array_equal(pair.images[1].data, image(20))
    assert check_dataset(config).problems == ()


def test_one_channel_is_chosen_by_its_number(tmp_path, write_nnunet, image):
    config = config_of(write_nnunet(tmp_path), channel=1)

    np.testing.assert_array_equal(read_pair(list_subjects(config)[0], config).image.data, image(1))


def test_the_only_channel_needs_no_choice(tmp_path, write_nnunet):
    description = {**V2, "channel_names": {"0": "CT"}, "file_ending": ".nii.gz"}

    config = config_of(write_nnunet(tmp_path, 2, 1, **description))

    assert check_dataset(config).problems == ()


def test_several_channels_have_to_be_chosen_and_are_named(tmp_path, write_nnunet):
    (problem,) = scan_layout(config_of(write_nnunet(tmp_path))).problems

    assert problem.what == "a scan has 2 channels: 0 T1, 1 FLAIR" and "[0, 1]" in problem.fix


def test_version_1_names_images_without_their_channel(tmp_path, write_nnunet):
    names = [f"case_{number:02d}.nii.gz" for number in range(3)]
    training = [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names]
    config = config_of(write_nnunet(tmp_path, **V1, training=training), channel=0)

    assert config.layout == "nnunet"
    assert [subject.id for subject in list_subjects(config)] == ["case_00", "case_01", "case_02"]
    assert scan_layout(config).label_set == {0, 1, 2}


def test_cases_may_be_listed_with_their_files(tmp_path, write_scan, image, mask):
    write_scan(tmp_path / "raw" / "t1.nii.gz", image(0))
    write_scan(tmp_path / "raw" / "seg.nii.gz", mask())
    listed = {"one": {"images": ["raw/t1.nii.gz"], "label": "raw/seg.nii.gz"}}
    (tmp_path / "dataset.json").write_text(
        json.dumps({**V2, "channel_names": {"0": "T1"}, "dataset": listed, "file_ending": ".nii.gz"})
    )

    (subject,) = list_subjects(config_of(tmp_path))
    assert subject.image == tmp_path / "raw" / "t1.nii.gz"


def test_every_incomplete_case_is_named(tmp_path, write_nnunet):
    root = write_nnunet(tmp_path, 4)
    (root / "imagesTr" / "case_00_0001.nii.gz").unlink()
    (root / "labelsTr" / "case_01.nii.gz").unlink()
    for channel in range(2):
        (root / "imagesTr" / f"case_02_{channel:04d}.nii.gz").unlink()

    listing = scan_layout(config_of(root, channel=(0, 1)))

    assert [subject.id for subject in listing.subjects] == ["case_03"]
    (lacking,) = listing.broken["case_00"]
    assert "case_00_0001.nii.gz" in lacking.where and "missing" in lacking.what
    assert "image without mask" in listing.broken["case_01"][0].what
    assert len(listing.broken["case_02"]) == 2


def test_what_nobody_annotated_is_no_foreground(tmp_path, write_nnunet):
    labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    description = {**V2, "labels": labels, "file_ending": ".nii.gz"}
    root = write_nnunet(tmp_path, **description)

    (problem,) = scan_layout(config_of(root, channel=0)).problems
    assert "label 3 is 'ignore'" in problem.what
    listing = scan_layout(config_of(root, channel=0, labels=(1, 2)))
    assert listing.problems == () and listing.label_set == {0, 1, 2, 3}


def test_an_ending_that_is_not_read_is_named(tmp_path, write_nnunet):
    root = write_nnunet(tmp_path, **V2, file_ending=".nrrd")

    assert any("'.nrrd': NRRD is not read" in str(one) for one in scan_layout(config_of(root)).problems)


def test_a_folder_without_scans_says_how_they_are_named(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({**V2, "file_ending": ".nii.gz"}))

    assert guess_layout(tmp_path) == "nnunet"
    with pytest.raises(InputError, match="there is no CASE_0000"):
        list_subjects(config_of(tmp_path, channel=0))
