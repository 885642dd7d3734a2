from __future__ import annotations

import json
from pathlib import Path

import pytest

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.layouts import LISTERS, list_subjects, scan_layout
from dwp_sweep.errors import InputError, Problem
from tests.data.editions import EDITIONS


def problems(config: DatasetConfig) -> tuple[Problem, ...]:
    with pytest.raises(InputError) as caught:
        list_subjects(config)
    return caught.value.problems


def only_problem(config: DatasetConfig) -> str:
    (only,) = problems(config)
    assert only.fix
    return str(only)


def ids(config: DatasetConfig) -> list[str]:
    return [subject.id for subject in list_subjects(config)]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize("layout", [name for name in LISTERS if name != "phantom"])
def test_a_missing_root_is_named_in_every_layout(tmp_path, layout):
    assert f"{tmp_path / 'none'}: there is no such folder" in only_problem(
        DatasetConfig(layout=layout, root=str(tmp_path / "none"))
    )
    assert "no folder is given" in only_problem(DatasetConfig(layout=layout))


def test_msd_reads_dataset_json_and_its_labels(tmp_path, write_msd):
    config = DatasetConfig(layout="msd", root=str(write_msd(tmp_path)))

    assert ids(config) == ["case_00", "case_01", "case_02"]
    assert scan_layout(config).label_set == {0, 1, 2}
    assert scan_layout(config.model_copy(update={"label_set": (7,)})).label_set == {0, 7}


def test_msd_reads_labels_written_the_new_way_round(tmp_path, write_msd):
    root = write_msd(tmp_path, labels={"background": 0, "lesion": 4})

    assert scan_layout(DatasetConfig(layout="msd", root=str(root))).label_set == {0, 4}


def test_msd_reads_no_labels_of_an_infinite_number(tmp_path, write_msd):
    root = write_msd(tmp_path, labels={"background": 0, "lesion": float("inf")})

    assert "Infinity" in (root / "dataset.json").read_text()
    assert scan_layout(DatasetConfig(layout="msd", root=str(root))).label_set is None


REGIONS = {"background": 0, "whole tumour": [1, 2, 3], "core": [2, 3], "enhancing": 3}


def test_msd_takes_regions_of_labels_apart(tmp_path, write_msd):
    root = write_msd(tmp_path, labels=REGIONS)

    assert scan_layout(DatasetConfig(layout="msd", root=str(root))).label_set == {0, 1, 2, 3}


@pytest.mark.parametrize("name", ["ignore", "Ignore"])
@pytest.mark.parametrize("labels", [{"lesion": 1, "other": 2}, {"all": [1, 2]}])
def test_what_nobody_annotated_is_no_foreground(tmp_path, write_msd, name, labels):
    root = write_msd(tmp_path, labels={"background": 0, **labels, name: 3})
    config = DatasetConfig(layout="msd", root=str(root))

    (problem,) = scan_layout(config).problems
    assert "label 3 is 'ignore'" in problem.what and "labels" in problem.fix
    assert scan_layout(config.model_copy(update={"labels": (1, 2)})).problems == ()
    (problem,) = scan_layout(config.model_copy(update={"labels": (1, 3)})).problems
    assert "label 3 is 'ignore'" in problem.what
    assert scan_layout(config).label_set == {0, 1, 2, 3}


def test_what_nobody_annotated_is_known_in_files_of_the_old_way_round(tmp_path, write_msd):
    root = write_msd(tmp_path, labels={"0": "background", "1": "lesion", "2": "lesion", "255": "ignore"})

    (problem,) = scan_layout(DatasetConfig(layout="msd", root=str(root))).problems
    assert "label 255 is 'ignore'" in problem.what


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no dataset.json"),
        ("{not json", "is no JSON"),
        ("[]", "no list 'training'"),
        ("{}", "no list 'training'"),
    ],
)
def test_msd_names_a_dataset_json_that_is_missing_or_wrong(tmp_path, content, says):
    if content is not None:
        (tmp_path / "dataset.json").write_text(content)

    assert f"{tmp_path / 'dataset.json'}: " in (
        message := only_problem(DatasetConfig(layout="msd", root=str(tmp_path)))
    )
    assert says in message


def test_msd_reports_every_incomplete_subject_at_once(tmp_path, write_msd):
    root = write_msd(tmp_path, 5)
    described = json.loads((root / "dataset.json").read_text())
    del described["training"][0]["label"]
    described["training"].append("./imagesTr/case_09.nii.gz")
    (root / "dataset.json").write_text(json.dumps(described))
    (root / "labelsTr" / "case_01.nii.gz").unlink()
    (root / "imagesTr" / "case_02.nii.gz").unlink()

    found = [str(problem) for problem in problems(DatasetConfig(layout="msd", root=str(root)))]

    assert len(found) == 4
    assert sum("image without mask" in text for text in found) == 2
    assert any("image of subject case_02 is missing" in text for text in found)
    assert any("training[5]" in text for text in found)


def test_a_broken_subject_that_is_not_selected_does_no_harm_and_ranges_do_not_shift(tmp_path, write_msd):
    root = write_msd(tmp_path, 4)
    (root / "labelsTr" / "case_00.nii.gz").unlink()
    config = DatasetConfig(layout="msd", root=str(root))

    assert ids(config.model_copy(update={"subjects": "1:3"})) == ["case_01", "case_02"]
    assert ids(config.model_copy(update={"subjects": ("case_03", "case_01")})) == ["case_01", "case_03"]
    assert "case_00" in only_problem(config.model_copy(update={"subjects": "0:3"}))


@pytest.mark.parametrize(
    ("subjects", "says"),
    [
        (("case_00", "case_1"), "did you mean 'case_01'?"),
        (("zzz",), "ids look like 'case_00'"),
        ("0:9", "goes past the 3 there are"),
        ("2:1", "selects none of the 3"),
    ],
)
def test_a_selection_of_what_is_not_there_is_explained(tmp_path, write_msd, subjects, says):
    config = DatasetConfig(layout="msd", root=str(write_msd(tmp_path)), subjects=subjects)

    assert says in only_problem(config)


def test_two_ranges_of_one_root_are_disjoint_and_cover_it(tmp_path, write_msd):
    config = DatasetConfig(layout="msd", root=str(write_msd(tmp_path, 5)))
    first, rest = (ids(config.model_copy(update={"subjects": text})) for text in ("0:2", "2:5"))

    assert first + rest == ids(config)


def test_brats18_finds_both_grades_and_the_modality(tmp_path):
    for grade, name in (("HGG", "b"), ("LGG", "a")):
        folder = tmp_path / grade / name
        touch(folder / f"{name}_t2.nii.gz", folder / f"{name}_flair.nii.gz", folder / f"{name}_seg.nii.gz")

    found = list_subjects(DatasetConfig(layout="brats18", root=str(tmp_path), modality="flair"))

    assert [(one.id, one.image.name, one.mask.name) for one in found] == [
        ("a", "a_flair.nii.gz", "a_seg.nii.gz"),
        ("b", "b_flair.nii.gz", "b_seg.nii.gz"),
    ]


def test_brats18_names_what_is_missing(tmp_path):
    touch(tmp_path / "HGG" / "x" / "x_t2.nii", tmp_path / "HGG" / "y" / "y_t1.nii.gz")
    config = DatasetConfig(layout="brats18", root=str(tmp_path))

    found = [str(problem) for problem in problems(config)]

    assert any("image without mask" in text and "x_seg.nii.gz" in text for text in found)
    assert any("no image of modality 't2'; the folder holds y_t1.nii.gz" in text for text in found)
    assert "neither folders HGG and LGG" in only_problem(
        config.model_copy(update={"root": str(tmp_path / "HGG" / "x")})
    )


@pytest.mark.parametrize("edition", EDITIONS)
@pytest.mark.parametrize("names", [("t2", "flair"), ("t2w", "t2f"), ("T1", "t1ce"), ("t1n", "t1c")])
def test_every_edition_of_brats_is_found_by_the_names_of_any(tmp_path, write_brats, edition, names):
    patient = write_brats(tmp_path, edition)
    order = {"t1": 0, "t1n": 0, "t1ce": 1, "t1c": 1, "t2": 2, "t2w": 2, "flair": 3, "t2f": 3}
    _, ending, modalities, _ = EDITIONS[edition]

    found = scan_layout(DatasetConfig(layout="brats", root=str(tmp_path), modality=names))

    (subject,) = found.subjects
    expected = [modalities[order[name.lower()]] for name in names]
    assert (found.problems, found.label_set, subject.id) == ((), frozenset(range(5)), patient.name)
    assert [path.name for path in subject.images] == [
        patient.name + ending.format(modality) for modality in expected
    ]
    assert subject.mask.name == patient.name + ending.format("seg")


def test_a_modality_that_some_patients_lack_is_listed_by_patient(tmp_path, write_brats):
    patients = [write_brats(tmp_path, 2021, f"BraTS2021_0000{index}") for index in range(4)]
    (patients[1] / f"{patients[1].name}_flair.nii.gz").unlink()
    for name in ("t2", "flair", "seg"):
        (patients[3] / f"{patients[3].name}_{name}.nii.gz").unlink()

    config = DatasetConfig(layout="brats", root=str(tmp_path), modality=("t2", "flair"))
    found = [str(problem) for problem in problems(config)]

    assert len(found) == 3
    assert f"{patients[1]}: no image of modality 'flair'; the folder holds" in found[0]
    assert f"{patients[3]}: no image of modality 't2' and 'flair'" in found[1]
    assert f"{patients[3]}: no mask" in found[2]
    assert len(scan_layout(config).subjects) == 2


def test_a_mask_of_another_name_is_taken_where_it_is_the_only_one(tmp_path, write_brats):
    patient = write_brats(tmp_path, 2020, "BraTS20_Training_355")
    (patient / f"{patient.name}_seg.nii").rename(patient / "W39_1998.09.19_Segm.nii")
    write_brats(tmp_path, 2020, "BraTS20_Training_356")

    found = list_subjects(DatasetConfig(layout="brats", root=str(tmp_path)))

    assert [one.mask.name for one in found] == ["W39_1998.09.19_Segm.nii", "BraTS20_Training_356_seg.nii"]


def test_two_names_of_one_file_are_no_two_modalities(tmp_path, write_brats):
    write_brats(tmp_path, 2021)

    message = only_problem(DatasetConfig(layout="brats", root=str(tmp_path), modality=("t2", "t2w")))

    assert "_t2.nii.gz: serves as two modalities of subject BraTS2021_00000" in message


def test_brats18_takes_subject_folders_directly_under_the_root(tmp_path):
    touch(tmp_path / "s1" / "s1_t2.nii.gz", tmp_path / "s1" / "s1_seg.nii.gz")

    assert ids(DatasetConfig(layout="brats18", root=str(tmp_path))) == ["s1"]


@pytest.mark.parametrize(
    ("image", "mask", "image_pattern", "mask_pattern"),
    [
        ("FLAIR.nii.gz", "mask.nii.gz", "FLAIR", "mask"),
        ("p1_Flair.nii", "p1_lesion_mask.nii", "FLAIR", "mask"),
        ("FLAIR.nii.gz", "FLAIR_mask.nii.gz", "FLAIR", "mask"),
        ("FLAIR.nii.gz", "FLAIR_lesions.nii.gz", "FLAIR", "*_lesions*"),
        ("study/3DFLAIR.nii.gz", "study/consensus.nii.gz", "study/*flair*", "study/consensus*"),
    ],
)
def test_ms_finds_image_and_mask_by_pattern(tmp_path, image, mask, image_pattern, mask_pattern):
    touch(
        tmp_path / "p1" / image,
        tmp_path / "p1" / mask,
        tmp_path / "p1" / "T2.nii.gz",
        tmp_path / "p1" / "._FLAIR.nii.gz",
    )
    config = DatasetConfig(
        layout="ms", root=str(tmp_path), image_pattern=image_pattern, mask_pattern=mask_pattern
    )

    (found,) = list_subjects(config)

    assert (found.id, found.image, found.mask) == ("p1", tmp_path / "p1" / image, tmp_path / "p1" / mask)


def test_ms_names_folders_where_nothing_or_too_much_fits(tmp_path):
    touch(tmp_path / "p1" / "FLAIR.nii.gz", tmp_path / "p1" / "T2.nii.gz")
    touch(
        tmp_path / "p2" / "a_FLAIR.nii.gz",
        tmp_path / "p2" / "b_FLAIR.nii.gz",
        tmp_path / "p2" / "mask.nii.gz",
    )

    found = [str(problem) for problem in problems(DatasetConfig(layout="ms", root=str(tmp_path)))]

    assert len(found) == 2
    assert "image without mask" in found[0] and "FLAIR.nii.gz, T2.nii.gz" in found[0]
    assert "2 files fit image_pattern 'FLAIR': a_FLAIR.nii.gz, b_FLAIR.nii.gz" in found[1]
    (tmp_path / "empty").mkdir()
    assert "holds no folders" in only_problem(DatasetConfig(layout="ms", root=str(tmp_path / "empty")))


def test_several_image_patterns_are_several_modalities_and_each_is_looked_for(tmp_path):
    for patient, names in {"p1": ("FLAIR", "T2", "mask"), "p2": ("FLAIR", "mask"), "p3": ("T2",)}.items():
        touch(*(tmp_path / patient / f"{name}.nii.gz" for name in names))
    config = DatasetConfig(layout="ms", root=str(tmp_path), image_pattern=("FLAIR", "T2"))

    (found,) = scan_layout(config).subjects
    texts = [str(problem) for problem in problems(config)]

    assert [path.name for path in found.images] == ["FLAIR.nii.gz", "T2.nii.gz"]
    assert [text.split(" (")[0] for text in texts] == [
        f"{tmp_path / 'p2'}: no image: no file fits image_pattern 'T2'",
        f"{tmp_path / 'p3'}: no image: no file fits image_pattern 'FLAIR'",
        f"{tmp_path / 'p3'}: image without mask: no file fits mask_pattern 'mask'",
    ]


@pytest.mark.parametrize(
    "table", ["image,mask,subject\ni.nii,m.nii,s1\n", "\ufeffSubject; Image ;mask\n s1;i.nii;m.nii\n\n"]
)
def test_pairs_reads_a_csv_as_spreadsheets_write_it(tmp_path, table):
    touch(tmp_path / "i.nii", tmp_path / "m.nii")
    (tmp_path / "pairs.csv").write_text(table, encoding="utf-8")

    for root in (tmp_path, tmp_path / "pairs.csv"):
        (found,) = list_subjects(DatasetConfig(layout="pairs", root=str(root)))
        assert (found.id, found.image, found.mask) == ("s1", tmp_path / "i.nii", tmp_path / "m.nii")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("", "has no column image, mask, subject"),
        ("image,mask\na,b\n", "has no column subject"),
        ("image,mask,subject\n", "no rows"),
        ("image,mask,subject\ni.nii,,s1\n", "line 2: image without mask"),
        ("image,mask,subject\ni.nii,m.nii,\n", "nothing in column subject"),
        ("image,mask,subject\ni.nii,none.nii,s1\n", "image without mask"),
        ("image,mask,subject\nnone.nii,m.nii,s1\n", "is missing"),
        ("image,mask,subject\ni.nii,m.nii,s1\ni.nii,m.nii,s1\n", "subject id 's1' is there twice"),
    ],
)
def test_pairs_names_the_line_that_is_wrong(tmp_path, table, says):
    touch(tmp_path / "i.nii", tmp_path / "m.nii")
    (tmp_path / "pairs.csv").write_text(table)

    assert says in only_problem(DatasetConfig(layout="pairs", root=str(tmp_path)))


def test_pairs_names_a_missing_csv_and_one_that_is_no_text(tmp_path):
    config = DatasetConfig(layout="pairs", root=str(tmp_path))
    assert "pairs.csv: there is no such file" in only_problem(config)

    (tmp_path / "pairs.csv").write_bytes(b"\xff\xfe\x00\x01")
    assert "cannot be read as text" in only_problem(config)
