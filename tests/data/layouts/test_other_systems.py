"""Folders of other systems: droppings, Windows paths, other cases, Unicode forms and lengths of names."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path

import pytest

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.files.table import read_table
from dwp_sweep.data.files.volumes import read_volume
from dwp_sweep.data.layouts import list_patients, list_subjects, scan_layout
from dwp_sweep.data.pair import read_pair
from dwp_sweep.errors import InputError

DROPPINGS = ["__MACOSX", ".ipynb_checkpoints", "@eaDir"]


def brats(root: Path, **values) -> DatasetConfig:
    return DatasetConfig(layout="brats", root=str(root), **values)


@pytest.mark.parametrize("edition", [2018, 2021])
def test_droppings_are_no_patients_of_brats(tmp_path, write_brats, edition):
    patient = write_brats(tmp_path, edition)
    for name in DROPPINGS:
        shutil.copytree(patient, patient.parent / name / patient.name)
        shutil.copytree(patient, tmp_path / name, dirs_exist_ok=True)
    (patient / "._seg.nii.gz").touch()
    (patient / ".DS_Store").touch()

    listing = scan_layout(brats(tmp_path))
    assert [subject.id for subject in listing.subjects] == [patient.name]
    assert listing.problems == () and not listing.broken


def test_droppings_are_no_files_of_a_patient(tmp_path, image, mask, write_scan):
    for folder in ("a", "a/.ipynb_checkpoints", "a/@eaDir", "a/__MACOSX", "__MACOSX/a", "@eaDir/b"):
        write_scan(tmp_path / folder / "FLAIR.nii.gz", image(0))
        write_scan(tmp_path / folder / "mask.nii.gz", mask())
        (tmp_path / folder / "._FLAIR.nii.gz").touch()
    (tmp_path / "b").mkdir()
    for name in ("Thumbs.db", ".DS_Store", "notes.txt"):
        (tmp_path / "b" / name).touch()

    listing = scan_layout(DatasetConfig(layout="ms", root=str(tmp_path)))
    assert [(one.id, one.image) for one in listing.subjects] == [("a", tmp_path / "a" / "FLAIR.nii.gz")]
    assert {problem.fix for problem in listing.broken["b"]} == {"the folder holds notes.txt"}


def test_a_brats_folder_names_what_it_holds_without_droppings(tmp_path, write_brats):
    patient = write_brats(tmp_path, 2021)
    (patient / f"{patient.name}_t2.nii.gz").unlink()
    for name in ("Thumbs.db", ".DS_Store", f"._{patient.name}_t2.nii.gz"):
        (patient / name).touch()

    (problem,) = scan_layout(brats(tmp_path)).problems
    assert "Thumbs" not in problem.what and "._" not in problem.what and "_flair.nii.gz" in problem.what


@pytest.mark.parametrize("edition", [2018, 2020, 2021, 2023])
def test_case_counts_neither_in_endings_nor_in_names_of_brats(tmp_path, write_brats, edition):
    patient = write_brats(tmp_path, edition)
    for path in list(patient.iterdir()):
        separator = "-" if edition == 2023 else "_"
        start, _, end = path.name.rpartition(separator)
        path.rename(patient / f"{start}{separator}{end.upper()}")

    (subject,) = list_subjects(brats(tmp_path, modality=("t2", "flair")))
    assert subject.mask.name.endswith(("SEG.NII.GZ", "SEG.NII"))
    assert len(read_pair(subject, brats(tmp_path, modality=("t2", "flair"))).images) == 2


def test_grades_of_brats_may_be_written_small(tmp_path, write_brats):
    patient = write_brats(tmp_path, 2018, folder="hgg/Brats18_A_1_1")

    assert [subject.id for subject in list_subjects(brats(tmp_path))] == [patient.name]


def test_the_spelling_that_was_asked_for_comes_first(tmp_path, write_brats):
    patient = write_brats(tmp_path, 2021)
    wanted = patient / f"{patient.name}_t2.nii.gz"
    shutil.copy(wanted, patient / f"{patient.name}_T2.nii.gz")

    assert list_subjects(brats(tmp_path))[0].image == wanted
    assert list_subjects(brats(tmp_path, modality="T2"))[0].image.name.endswith("_T2.nii.gz")


def test_windows_paths_of_a_dataset_json_are_read(tmp_path, write_msd):
    root = write_msd(tmp_path)
    described = json.loads((root / "dataset.json").read_text())
    for entry in described["training"]:
        entry.update({role: entry[role].replace("/", "\\") for role in entry})
    (root / "dataset.json").write_text(json.dumps(described))

    config = DatasetConfig(layout="msd", root=str(root))
    assert [subject.id for subject in list_subjects(config)] == ["case_00", "case_01", "case_02"]
    assert list_subjects(config)[0].mask == root / "labelsTr" / "case_00.nii.gz"


def test_windows_paths_of_pairs_are_read_and_a_drive_is_named(tmp_path, write_msd):
    root = write_msd(tmp_path)
    (root / "pairs.csv").write_text(
        "image,mask,subject\n"
        "imagesTr\\case_00.nii.gz,labelsTr\\case_00.nii.gz,a\n"
        "D:\\scans\\case_01.nii.gz,labelsTr\\case_01.nii.gz,b\n"
    )
    listing = scan_layout(DatasetConfig(layout="pairs", root=str(root)))

    assert [subject.id for subject in listing.subjects] == ["a"]
    (problem,) = listing.broken["b"]
    assert "drive of Windows" in problem.fix


FORMS = [("NFC", "NFD"), ("NFD", "NFC")]


@pytest.mark.parametrize(("on_disk", "written"), FORMS)
def test_a_list_of_subjects_may_be_in_the_other_unicode_form(
    tmp_path, image, mask, write_scan, on_disk, written
):
    for name in ("Müller", "Noël"):
        folder = tmp_path / unicodedata.normalize(on_disk, name)
        write_scan(folder / unicodedata.normalize(on_disk, "Première_FLAIR.nii.gz"), image(0))
        write_scan(folder / "mask.nii.gz", mask())
    config = DatasetConfig(
        layout="ms",
        root=str(tmp_path),
        subjects=(unicodedata.normalize(written, "Noël"),),
        image_pattern=unicodedata.normalize(written, "Première*"),
    )

    (subject,) = list_subjects(config)
    assert subject.id == unicodedata.normalize("NFC", "Noël")
    assert subject.image.is_file()
    assert list_patients(config) == {subject.id: subject.id}


@pytest.mark.parametrize(("on_disk", "written"), FORMS)
def test_tables_may_be_in_the_other_unicode_form(tmp_path, image, mask, write_scan, on_disk, written):
    scan = write_scan(tmp_path / unicodedata.normalize(on_disk, "Élan.nii.gz"), image(0))
    write_scan(tmp_path / unicodedata.normalize(on_disk, "Élan_mask.nii.gz"), mask())
    table = unicodedata.normalize(written, "image,mask,subject\nÉlan.nii.gz,Élan_mask.nii.gz,Élan\n")
    (tmp_path / "pairs.csv").write_text(table)

    (subject,) = list_subjects(DatasetConfig(layout="pairs", root=str(tmp_path)))
    assert (subject.id, subject.image) == (unicodedata.normalize("NFC", "Élan"), scan)
    assert read_table(tmp_path / "pairs.csv", ["subject"])[0]["subject"] == subject.id


def test_two_names_that_look_equal_are_named_as_such(tmp_path, image, mask, write_scan):
    for form in ("NFC", "NFD"):
        folder = tmp_path / unicodedata.normalize(form, "Müller")
        write_scan(folder / "FLAIR.nii.gz", image(0))
        write_scan(folder / "mask.nii.gz", mask())

    (problem,) = scan_layout(DatasetConfig(layout="ms", root=str(tmp_path))).problems
    assert "is there twice" in problem.what and "another Unicode form" in problem.what


def test_formats_that_are_not_read_are_named(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("FLAIR.nrrd", "mask.mha"):
        (tmp_path / "a" / name).touch()

    fixes = {one.fix for one in scan_layout(DatasetConfig(layout="ms", root=str(tmp_path))).problems}
    unread = "not read are MetaImage and NRRD: convert them to .nii.gz"
    assert fixes == {f"the folder holds FLAIR.nrrd, mask.mha; {unread}"}


@pytest.mark.parametrize(
    ("letter", "why"), [("n", ": File name too long"), ("\u00fc", ": File name too long"), ("\\n", "")]
)
def test_a_name_that_no_file_can_have_is_a_missing_file(tmp_path, letter, why):
    name = 300 * letter + ".nii.gz"
    (tmp_path / "pairs.csv").write_text(f"image,mask,subject\n{name},{name},a\n", encoding="utf-8")
    pairs = DatasetConfig(layout="pairs", root=str(tmp_path))

    image, mask = scan_layout(pairs).problems
    assert image.what == f"image of subject a is missing{why}" and "image without mask" in mask.what
    (no_root,) = scan_layout(pairs.model_copy(update={"root": str(tmp_path / name)})).problems
    assert no_root.what == "there is no such folder"
    for read in (read_volume, lambda path: read_table(path, ())):
        with pytest.raises(InputError, match="there is no such file"):
            read(tmp_path / name)


def test_a_folder_whose_files_would_have_too_long_names_has_none(tmp_path, write_brats):
    write_brats(tmp_path, 2021)
    (tmp_path / ("p" * 250)).mkdir()

    assert "no image of modality 't2'" in scan_layout(brats(tmp_path)).problems[0].what
