"""Scans of one patient: told by a table, by published names, by the user's pattern."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dwp_sweep.data.cache.memory import dataset_fingerprint
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.layouts import list_patients, list_subjects
from dwp_sweep.data.layouts.listing import Subject
from dwp_sweep.data.patients import is_worldwide, patient_by_name, visit_warnings, with_patients
from dwp_sweep.errors import InputError
from dwp_sweep.strict import parse


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("BraTS-GLI-00000-000", "BraTS-GLI-00000"),
        ("BraTS-GLI-00000-101", "BraTS-GLI-00000"),
        ("BraTS-MET-00012-001", "BraTS-MET-00012"),
        ("BraTS-MEN-RT-0001-1", "BraTS-MEN-RT-0001"),
        ("Brats18_TCIA01_131_1", "Brats18_TCIA01_131"),
        ("BraTS20_Training_001", "BraTS20_Training_001"),
        ("BraTS2021_00002", "BraTS2021_00002"),
        ("sub-01_ses-02_FLAIR", "sub-01"),
        ("sub-01", "sub-01"),
        ("hippocampus_001", "hippocampus_001"),
        ("P01_1", "P01_1"),
    ],
)
def test_published_names_tell_their_patient(name: str, patient: str) -> None:
    assert patient_by_name(name) == patient


def test_only_names_that_brats_gives_out_mean_one_patient_everywhere() -> None:
    assert is_worldwide("BraTS-GLI-00000") and is_worldwide("Brats18_TCIA01_131")
    assert is_worldwide("BraTS-MEN-RT-0001")
    assert is_worldwide("BraTS20_Training_001") and is_worldwide("BraTS2021_00000")
    assert not is_worldwide("BraTS-GLI-00000-000") and not is_worldwide("BraTS20")
    assert not is_worldwide("sub-01") and not is_worldwide("P01")


@pytest.fixture
def pairs(tmp_path: Path, write_scan, image, mask):
    def write(*rows: str, header: str = "image,mask,subject,patient") -> DatasetConfig:
        for name in "abc":
            write_scan(tmp_path / f"{name}.nii.gz", image(ord(name)))
        write_scan(tmp_path / "m.nii.gz", mask())
        (tmp_path / "pairs.csv").write_text("\n".join([header, *rows]))
        return DatasetConfig(layout="pairs", root=str(tmp_path))

    return write


ROWS = ("a.nii.gz,m.nii.gz,v1,Ann", "b.nii.gz,m.nii.gz,v2,Ann", "c.nii.gz,m.nii.gz,v3,Bob")


def test_a_table_names_patients_in_a_column(pairs) -> None:
    config = pairs(*ROWS)

    assert list_patients(config) == {"v1": "Ann", "v2": "Ann", "v3": "Bob"}
    each = config.model_copy(update={"patients": "scan"})
    assert list_patients(each) == {"v1": "v1", "v2": "v2", "v3": "v3"}


def test_a_row_without_patient_is_named(pairs) -> None:
    with pytest.raises(InputError, match=r"line 3: nothing in column patient"):
        list_patients(pairs(ROWS[0], "b.nii.gz,m.nii.gz,v2,"))


def test_another_patient_in_the_table_is_another_fingerprint(pairs) -> None:
    prints = []
    for rows in (ROWS, (*ROWS[:2], "c.nii.gz,m.nii.gz,v3,Ann"), ROWS):
        config = pairs(*rows)
        prints.append(dataset_fingerprint(config, list_subjects(config)))

    assert prints[0] == prints[2] != prints[1]


def test_a_column_that_repeats_the_ids_changes_no_fingerprint(pairs) -> None:
    plain = pairs("a.nii.gz,m.nii.gz,v1", header="image,mask,subject")
    before = dataset_fingerprint(plain, list_subjects(plain))
    named = pairs("a.nii.gz,m.nii.gz,v1,v1")

    assert dataset_fingerprint(named, list_subjects(named)) == before


def test_a_pattern_names_patients_of_folders(tmp_path: Path) -> None:
    for name in ("P1_visit1", "P1_visit2", "P12_visit1"):
        for file in ("FLAIR.nii.gz", "mask.nii.gz"):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / file).touch()
    config = DatasetConfig(layout="ms", root=str(tmp_path), patients=r"(P\d+)_visit\d+")

    assert list_patients(config) == {"P1_visit1": "P1", "P1_visit2": "P1", "P12_visit1": "P12"}
    with pytest.raises(InputError, match=r"does not fit 1 of 3 ids, first 'P12_visit1'"):
        list_patients(config.model_copy(update={"patients": "(P1)_.*"}))


def test_ranges_side_by_side_share_no_patient(pairs) -> None:
    config = pairs(*ROWS)
    first, second = (config.model_copy(update={"subjects": text}) for text in ("0:1", "1:3"))

    assert list(list_patients(first)) == ["v1", "v2"] and list(list_patients(second)) == ["v3"]
    each = second.model_copy(update={"patients": "scan"})
    assert list(list_patients(each)) == ["v2", "v3"]


def test_a_pattern_need_not_fit_subjects_that_are_not_selected(pairs) -> None:
    config = pairs(*ROWS).model_copy(update={"patients": "(v[12])"})

    assert list_patients(config.model_copy(update={"subjects": "0:2"})) == {"v1": "v1", "v2": "v2"}
    with pytest.raises(InputError, match="does not fit 1 of 3 ids, first 'v3'"):
        list_patients(config)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("P1_visit1", "P1_visit2", "P2_visit1"), "2 ids look like visits of 1 patient,"),
        (("training01_01", "training01_02", "training02_01", "training02_02"), "4 ids .* of 2 patients"),
        (("case-7-tp0", "case-7-tp1"), "such as 'case-7-tp0' and 'case-7-tp1'"),
        (("hippocampus_001", "hippocampus_002"), None),
        (("BraTS20_Training_001", "BraTS20_Training_002"), None),
        (("P1_visit1", "P2_visit1"), None),
        (("BraTS-GLI-00001-000", "BraTS-GLI-00001-001"), None),
        (tuple(f"site1_{n:02}" for n in range(20)), None),
    ],
)
def test_names_that_look_like_visits_are_a_warning(names: tuple[str, ...], says: str | None) -> None:
    config = DatasetConfig(layout="ms")
    subjects = [Subject(name, Path("a"), Path("b")) for name in names]
    warnings = visit_warnings(with_patients(subjects, config), config, "scans")

    assert len(warnings) == (says is not None)
    if says is not None:
        assert re.search(says, warnings[0].what)
    decided = DatasetConfig(layout="ms", patients="scan")
    assert visit_warnings(with_patients(subjects, decided), decided, "scans") == ()


@pytest.mark.parametrize("value", ["P\\d+", "(P)(\\d+)", "(", "folder"])
def test_a_pattern_without_one_group_is_refused(value: str) -> None:
    with pytest.raises(InputError, match=r"data\.target\.patients"):
        parse(DatasetConfig, {"layout": "ms", "patients": value}, "space.yaml", "data.target")
