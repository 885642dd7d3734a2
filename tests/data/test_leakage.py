"""Scans and patients in both tasks or on two sides of a split, by content and by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from dwp_sweep.data.check import check
from dwp_sweep.data.check.check import check_dataset
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.files.volumes import content_hash, read_volume
from dwp_sweep.data.layouts import list_subjects
from dwp_sweep.data.leakage import SharedData, read_task, repeated_scans, shared_data
from tests.data.editions import write_edition


@pytest.fixture
def shared(tmp_path: Path):
    def compare(source: DatasetConfig, target: DatasetConfig) -> SharedData:
        return shared_data(*(read_task(config, tmp_path / "cache") for config in (source, target)))

    return compare


def msd(root: Path, **values: Any) -> DatasetConfig:
    return DatasetConfig(layout="msd", root=str(root), **values)


def renamed(root: Path, prefix: str) -> Path:
    """The data set with other names for all files and subjects."""
    described = json.loads((root / "dataset.json").read_text())
    for entry in described["training"]:
        for role, path in entry.items():
            new = Path(path).with_name(prefix + Path(path).name)
            (root / path).rename(root / new)
            entry[role] = str(new)
    (root / "dataset.json").write_text(json.dumps(described))
    return root


def test_the_same_voxels_under_other_names_turned_and_unzipped_are_the_same_scan(
    tmp_path, write_msd, shared
) -> None:
    source = write_msd(tmp_path / "source", 3)
    target = renamed(shutil.copytree(source, tmp_path / "target"), "other_")
    for file in ("imagesTr/other_case_01.nii.gz", "labelsTr/other_case_01.nii.gz"):
        scan = nib.load(target / file)
        turned = scan.as_reoriented([[2, 1], [0, -1], [1, 1]])
        nib.save(nib.Nifti1Image(turned.get_fdata().astype(np.float64), turned.affine), target / file)
    for place in (0, 2):
        write = target / f"imagesTr/other_case_{place:02}.nii.gz"
        scan = nib.load(write)
        nib.save(nib.Nifti1Image(scan.get_fdata() + 1 + place, scan.affine), write)

    (problem,) = shared(msd(source), msd(target)).problems

    assert "1 of 3 target scans are source scans too" in problem.what
    assert f"{source}/imagesTr/case_01.nii.gz = {target}/imagesTr/other_case_01.nii.gz" in problem.what
    assert "data.allow_shared_scans: true" in problem.fix


def test_other_scans_are_not_the_same(tmp_path, write_msd, shared) -> None:
    root = write_msd(tmp_path / "set", 6)

    assert shared(msd(root, subjects="0:3"), msd(root, subjects="3:6")) == SharedData()
    (problem,) = shared(msd(root, subjects="0:3"), msd(root, subjects="2:6")).problems
    assert "1 of 4 target scans" in problem.what


def test_voxels_are_hashed_once(tmp_path, write_msd, monkeypatch) -> None:
    config, cache_dir = msd(write_msd(tmp_path / "set", 3)), tmp_path / "cache"
    check_dataset(config, None, cache_dir)
    monkeypatch.setattr(check, "read_pair", None)  # nothing is read again

    hashes = [read_task(config, cache_dir).contents(subject) for subject in list_subjects(config)]
    assert len({content for contents in hashes for content in contents}) == 3


def test_two_channels_of_one_file_are_one_scan(tmp_path, write_scan, image, mask, shared) -> None:
    write_scan(tmp_path / "imagesTr/a.nii.gz", np.stack([image(1), image(2)], axis=-1))
    write_scan(tmp_path / "labelsTr/a.nii.gz", mask())
    entry = {"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps({"training": [entry]}))

    (problem,) = shared(msd(tmp_path, channel=0), msd(tmp_path, channel=1)).problems
    assert "1 of 1 target scans" in problem.what


def folders(root: Path, write_scan: Any, image: Any, mask: Any, **seeds: int) -> DatasetConfig:
    for name, seed in seeds.items():
        write_scan(root / name / "FLAIR.nii.gz", image(seed))
        write_scan(root / name / "mask.nii.gz", mask())
    return DatasetConfig(layout="ms", root=str(root), patients=r"([A-Z]\d)v\d")


def test_another_visit_of_a_patient_of_one_root_is_an_error(
    tmp_path, write_scan, image, mask, shared
) -> None:
    config = folders(tmp_path / "a", write_scan, image, mask, P1v1=1, P1v2=2, P2v1=3, P3v1=4)
    source, target = (
        config.model_copy(update={"subjects": names}) for names in (("P1v1", "P2v1"), ("P1v2", "P3v1"))
    )

    (problem,) = shared(source, target).problems
    assert problem.what.startswith("1 patient has scans in both tasks: P1 (") and "P1v2" in problem.what
    assert shared(*(one.model_copy(update={"patients": "scan"}) for one in (source, target))) == SharedData()


def test_the_same_lesion_in_another_modality_and_layout_is_a_warning(tmp_path, shared) -> None:
    patient = write_edition(tmp_path / "brats", 2018)
    for name, file in (("imagesTr", "t1"), ("labelsTr", "seg")):
        scan = nib.load(patient / f"{patient.name}_{file}.nii.gz")
        (tmp_path / name).mkdir()
        nib.save(scan.as_reoriented([[0, -1], [1, -1], [2, 1]]), tmp_path / name / "a.nii.gz")
    entry = {"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps({"training": [entry]}))

    result = shared(DatasetConfig(layout="brats", root=str(tmp_path / "brats")), msd(tmp_path))
    (warning,) = result.warnings
    assert result.problems == () and "1 target scans have the mask of a source scan" in warning.what


def test_equal_names_in_two_folders_are_a_warning(tmp_path, write_scan, image, mask, shared) -> None:
    source = folders(tmp_path / "a", write_scan, image, mask, P1v1=1, P2v1=2)
    target = folders(tmp_path / "b", write_scan, image, mask, P1v1=3, P4v1=4)

    result = shared(source, target)
    assert result.problems == ()
    assert result.warnings[0].what.startswith(
        "two folders, equal names: 1 patient has scans in both tasks: P1 ("
    )
    other_layout = target.model_copy(update={"layout": "pairs"})
    (tmp_path / "b" / "pairs.csv").write_text("image,mask,subject\nP1v1/FLAIR.nii.gz,P1v1/mask.nii.gz,P1v1\n")
    assert shared(source, other_layout) == SharedData()


def test_names_that_brats_gives_out_mean_one_patient_in_every_folder(tmp_path, shared) -> None:
    write_edition(tmp_path / "a", 2023, "BraTS-GLI-00001-000", seed=1)
    write_edition(tmp_path / "b", 2023, "BraTS-GLI-00001-001", seed=2)
    source, target = (DatasetConfig(layout="brats", root=str(tmp_path / name)) for name in "ab")

    (problem,) = shared(source, target).problems
    assert problem.what.startswith("1 patient has scans in both tasks: BraTS-GLI-00001 (")


def test_a_patient_of_brats_in_two_layouts_is_an_error(tmp_path, write_scan, image, mask, shared) -> None:
    name = "BraTS-GLI-00005-000.nii.gz"
    write_scan(tmp_path / "imagesTr" / name, image(1))
    write_scan(tmp_path / "labelsTr" / name, mask())
    entry = {"image": f"imagesTr/{name}", "label": f"labelsTr/{name}"}
    (tmp_path / "dataset.json").write_text(json.dumps({"training": [entry]}))
    write_edition(tmp_path / "b", 2023, "BraTS-GLI-00005-001", seed=2)
    brats = DatasetConfig(layout="brats", root=str(tmp_path / "b"))

    for tasks in ((msd(tmp_path), brats), (brats, msd(tmp_path))):
        (problem,) = shared(*tasks).problems
        assert problem.what.startswith("1 patient has scans in both tasks: BraTS-GLI-00005 (")


def test_a_patient_of_one_root_in_two_layouts_is_an_error(tmp_path, write_scan, image, mask, shared) -> None:
    source = folders(tmp_path, write_scan, image, mask, P1v1=1, P1v2=2, P2v1=3)
    (tmp_path / "pairs.csv").write_text("image,mask,subject\nP1v2/FLAIR.nii.gz,P1v2/mask.nii.gz,P1v2\n")
    source = source.model_copy(update={"subjects": ("P1v1", "P2v1")})

    for root in (tmp_path, tmp_path / "pairs.csv"):
        target = DatasetConfig(layout="pairs", root=str(root), patients=source.patients)
        (problem,) = shared(source, target).problems
        assert problem.what.startswith("1 patient has scans in both tasks: P1 (")


def test_the_same_scan_under_two_patients_of_the_target_is_an_error(
    tmp_path, write_msd, image, write_scan
) -> None:
    root = write_msd(tmp_path / "set", 4)
    write_scan(root / "imagesTr/case_03.nii.gz", image(1))

    (problem,) = repeated_scans(read_task(msd(root), tmp_path / "cache"))
    assert problem.where == "data.target" and "case_01.nii.gz = " in problem.what
    one_patient = msd(root, patients="(case).*")
    assert repeated_scans(read_task(one_patient, tmp_path / "cache")) == ()


def test_a_content_hash_sees_shape_and_values(tmp_path, write_scan) -> None:
    voxels = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    first, reshaped, other = (
        content_hash(read_volume(write_scan(tmp_path / f"{name}.nii.gz", data)))
        for name, data in (("a", voxels), ("b", voxels.reshape(4, 3, 2)), ("c", voxels + (voxels == 3)))
    )
    assert len({first, reshaped, other}) == 3
