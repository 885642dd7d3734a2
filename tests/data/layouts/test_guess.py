from __future__ import annotations

import json
from pathlib import Path

import pytest

from dwp_sweep.data.check.check import check_dataset
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.layouts import guess_layout, list_subjects, resolved, scan_layout
from dwp_sweep.errors import InputError, Problem
from tests.data.editions import EDITIONS


def touch(*paths: Path) -> Path:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths[0]


def test_msd_is_told_by_the_files_of_its_description(tmp_path, write_msd):
    assert guess_layout(write_msd(tmp_path)) == "msd"


def test_msd_with_numbered_images_is_no_nnunet(tmp_path, write_msd):
    root = write_msd(tmp_path, 1)
    for folder in ("imagesTr", "labelsTr"):
        (root / folder / "case_00.nii.gz").rename(root / folder / "case_0000.nii.gz")
    training = [{"image": "imagesTr/case_0000.nii.gz", "label": "labelsTr/case_0000.nii.gz"}]
    (root / "dataset.json").write_text(json.dumps({"training": training}))

    assert guess_layout(root) == "msd"


@pytest.mark.parametrize("edition", EDITIONS)
def test_every_edition_of_brats_is_known(tmp_path, write_brats, edition):
    write_brats(tmp_path, edition)

    assert guess_layout(tmp_path) == "brats"
    assert len(list_subjects(DatasetConfig(root=str(tmp_path)))) == 1


def test_brats_without_masks_is_brats_whose_masks_are_missing(tmp_path, write_brats):
    patient = write_brats(tmp_path, 2023)
    (patient / f"{patient.name}-seg.nii.gz").unlink()

    config = DatasetConfig(root=str(tmp_path))
    assert guess_layout(tmp_path) == "brats"
    with pytest.raises(InputError, match="nor a folder a subject with a seg mask"):
        list_subjects(config)


def test_a_folder_a_patient_is_ms(tmp_path):
    touch(tmp_path / "p1" / "FLAIR.nii.gz", tmp_path / "p1" / "mask.nii.gz")

    assert guess_layout(tmp_path) == "ms"


def test_a_table_is_pairs_by_itself_and_in_its_folder(tmp_path, write_scan, image, mask):
    write_scan(tmp_path / "a.nii.gz", image(0))
    write_scan(tmp_path / "b.nii.gz", mask())
    (tmp_path / "pairs.csv").write_text("image,mask,subject\na.nii.gz,b.nii.gz,one\n")

    for root in (tmp_path, tmp_path / "pairs.csv"):
        config = DatasetConfig(root=str(root))
        assert resolved(config).layout == "pairs"
        assert [row.id for row in check_dataset(config).subjects] == ["one"]


def test_a_layout_that_is_given_is_not_guessed(tmp_path, write_msd):
    config = DatasetConfig(layout="ms", root=str(write_msd(tmp_path)))

    assert resolved(config) is config


def test_a_setting_that_the_guessed_layout_does_not_read_is_named(tmp_path, write_msd):
    config = DatasetConfig(root=str(write_msd(tmp_path)), modality=("t2", "flair"))

    assert config.n_channels == 2
    with pytest.raises(InputError, match="layout 'msd' does not read several values of modality"):
        resolved(config)
    (problem,) = scan_layout(config).problems
    assert problem.where == str(tmp_path)


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ([], "is empty"),
        (["notes.txt"], "holds no NIfTI file, but notes.txt"),
        (["a.nrrd", "b.mha"], "holds MetaImage and NRRD, which is not read"),
        (["a.nii.gz", "b.nii.gz"], "no layout fits its files: a.nii.gz, b.nii.gz"),
        (["imagesTr/a.nii.gz"], "no dataset.json"),
        (
            ["Dataset001_A/dataset.json", "Dataset002_B/dataset.json"],
            "holds data sets: Dataset001_A, Dataset",
        ),
    ],
)
def test_a_folder_of_no_layout_is_described_with_what_to_do(tmp_path, files, what):
    touch(*(tmp_path / name for name in files)) if files else None

    problem = guess_layout(tmp_path)

    assert isinstance(problem, Problem) and what in problem.what and problem.fix
    assert check_dataset(DatasetConfig(root=str(tmp_path))).problems == (problem,)


def test_the_key_of_a_data_set_does_not_depend_on_who_named_its_layout(tmp_path, write_msd):
    root = str(write_msd(tmp_path))

    assert resolved(DatasetConfig(root=root)) == DatasetConfig(layout="msd", root=root)


def test_generated_scans_need_no_layout(tmp_path):
    from dwp_sweep.data.phantom.dataset import ensure_phantom

    phantom = {"kind": "target", "n_subjects": 1, "shape": (16, 16, 16)}
    bare, named = DatasetConfig(phantom=phantom), DatasetConfig(layout="phantom", phantom=phantom)

    assert ensure_phantom(bare, tmp_path) == ensure_phantom(named, tmp_path)
