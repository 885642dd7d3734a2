from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from dwp_sweep.data.files.names import files_below, folders, has_drive, is_nifti, named_file, stem


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ", "a.Nii"])
def test_case_of_an_ending_does_not_count(name):
    assert is_nifti(Path(name)) and stem(Path(name)).lower() == "a"


LEFT_BEHIND = ["__MACOSX", ".ipynb_checkpoints", "@eaDir", ".Trash", "#recycle", "lost+found", ".git"]


@pytest.mark.parametrize("name", LEFT_BEHIND)
def test_what_systems_leave_behind_is_no_folder_and_holds_no_files(tmp_path, name):
    for folder in (name, "patient", f"patient/{name}", f"patient/{name}/deeper"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for file in ("scan.nii.gz", "._scan.nii.gz", ".DS_Store", "Thumbs.db", "desktop.ini"):
            (tmp_path / folder / file).touch()

    assert folders(tmp_path) == [tmp_path / "patient"]
    assert files_below(tmp_path) == [tmp_path / "patient" / "scan.nii.gz"]


def test_backslashes_separate_folders_unless_a_files_name_has_them(tmp_path):
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "imagesTr" / "a.nii").touch()
    assert named_file(tmp_path, r"imagesTr\a.nii") == tmp_path / "imagesTr" / "a.nii"
    assert named_file(tmp_path, r".\imagesTr\a.nii").is_file()

    (tmp_path / r"odd\a.nii").touch()
    assert named_file(tmp_path, r"odd\a.nii") == tmp_path / r"odd\a.nii"


def test_a_name_in_the_other_unicode_form_is_the_files(tmp_path):
    decomposed, name = (unicodedata.normalize(form, "Müller/Größe.nii") for form in ("NFD", "NFC"))
    assert decomposed != name
    (tmp_path / decomposed).parent.mkdir()
    (tmp_path / decomposed).touch()

    assert named_file(tmp_path, name) == tmp_path / decomposed
    assert named_file(tmp_path, name.replace("ö", "o")) == tmp_path / decomposed.replace("o\u0308", "o")
    assert named_file(tmp_path, "nobody/ä.nii") == tmp_path / "nobody/ä.nii"


@pytest.mark.parametrize(
    ("path", "has"), [("/a/C:/b.nii", True), ("D:", True), ("/a/bc:/d", False), ("/a", False)]
)
def test_a_drive_of_windows_is_seen(path, has):
    assert has_drive(Path(path)) == has
