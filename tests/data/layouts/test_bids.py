from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.layouts import guess_layout, list_subjects, scan_layout
from dwp_sweep.errors import InputError

RAW = "{0}/{1}/anat/{0}_{1}_{2}.nii.gz"
MASK = "derivatives/manual/{0}/{1}/anat/{0}_{1}_label-lesion_mask.nii.gz"


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def config_of(root: Path, **values: Any) -> DatasetConfig:
    return DatasetConfig(root=str(root), **values)


@pytest.fixture
def sessions(tmp_path) -> Path:
    """Two subjects, the first with two sessions, FLAIR and T1w in each."""
    for name in (("sub-01", "ses-1"), ("sub-01", "ses-2"), ("sub-02", "ses-1")):
        touch(tmp_path, RAW.format(*name, "FLAIR"), RAW.format(*name, "T1w"), MASK.format(*name))
    return touch(tmp_path, "dataset_description.json")


def test_a_session_is_a_scan_and_a_subject_a_patient(sessions):
    assert guess_layout(sessions) == "bids"
    subjects = list_subjects(config_of(sessions))

    assert [subject.id for subject in subjects] == ["sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1"]
    assert [subject.patient for subject in subjects] == ["sub-01", "sub-01", "sub-02"]
    assert subjects[1].image == sessions / RAW.format("sub-01", "ses-2", "FLAIR")
    assert subjects[1].mask == sessions / MASK.format("sub-01", "ses-2")


def test_several_suffixes_are_channels_in_their_order(sessions):
    config = config_of(sessions, image_pattern=("T1w", "FLAIR"))

    assert config.n_channels == 2
    names = [path.name for path in list_subjects(config)[0].images]
    assert names == ["sub-01_ses-1_T1w.nii.gz", "sub-01_ses-1_FLAIR.nii.gz"]


def test_subjects_without_sessions_are_scans(tmp_path):
    touch(tmp_path, "sub-A/anat/sub-A_T2w.nii.gz", "derivatives/seg/sub-A/anat/sub-A_dseg.nii.gz")

    (subject,) = list_subjects(config_of(tmp_path, image_pattern="T2w", mask_pattern="dseg"))

    assert (subject.id, subject.image.name, subject.mask.name) == (
        "sub-A",
        "sub-A_T2w.nii.gz",
        "sub-A_dseg.nii.gz",
    )


def test_images_in_the_space_of_the_mask_come_before_raw_ones(tmp_path):
    touch(
        tmp_path,
        "sub-1/anat/sub-1_FLAIR.nii.gz",
        "derivatives/prep/sub-1/anat/sub-1_space-T1w_FLAIR.nii.gz",
        "derivatives/prep/sub-1/anat/sub-1_space-T1w_label-lesion_mask.nii.gz",
    )

    (subject,) = list_subjects(config_of(tmp_path))

    assert subject.image.name == "sub-1_space-T1w_FLAIR.nii.gz"


def test_raw_images_come_before_derivatives_of_the_same_space(tmp_path):
    touch(
        tmp_path,
        "sub-1/anat/sub-1_FLAIR.nii.gz",
        "derivatives/prep/sub-1/anat/sub-1_desc-denoised_FLAIR.nii.gz",
        "derivatives/manual/sub-1/anat/sub-1_mask.nii.gz",
    )

    (raw,) = list_subjects(config_of(tmp_path))
    (denoised,) = list_subjects(config_of(tmp_path, image_pattern="derivatives/prep/*_FLAIR.nii.gz"))

    assert raw.image.parent == tmp_path / "sub-1" / "anat"
    assert denoised.image.name == "sub-1_desc-denoised_FLAIR.nii.gz"


def test_a_mask_of_the_brain_is_no_lesion_unless_it_is_asked_for(sessions):
    for subject in ("sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1"):
        touch(sessions, f"derivatives/brains/{subject}_desc-brain_mask.nii.gz")

    assert all("lesion" in subject.mask.name for subject in list_subjects(config_of(sessions)))
    chosen = list_subjects(config_of(sessions, mask_pattern="*desc-brain_mask.nii.gz"))
    assert all("brain" in subject.mask.name for subject in chosen)


def test_files_of_all_sessions_are_no_scan_of_their_own(sessions):
    touch(sessions, "derivatives/template/sub-01/sub-01_T1w.nii.gz")

    assert len(list_subjects(config_of(sessions))) == 3


def test_what_lacks_or_is_there_twice_is_named_for_every_scan(sessions):
    (sessions / MASK.format("sub-02", "ses-1")).unlink()
    touch(sessions, "sub-01/ses-1/anat/sub-01_ses-1_run-2_FLAIR.nii.gz")

    broken = scan_layout(config_of(sessions)).broken

    assert set(broken) == {"sub-01_ses-1", "sub-02_ses-1"}
    (twice,) = broken["sub-01_ses-1"]
    assert "2 files fit image_pattern 'FLAIR'" in twice.what and "run-1" in twice.fix
    (lacking,) = broken["sub-02_ses-1"]
    assert "no mask: no file fits mask_pattern 'mask'" in lacking.what and "T1w" in lacking.fix


def test_a_folder_without_names_of_bids_is_explained(tmp_path):
    touch(tmp_path, "a/b.nii.gz")

    with pytest.raises(InputError, match="holds no NIfTI file named as in BIDS"):
        list_subjects(config_of(tmp_path, layout="bids"))
