from __future__ import annotations

import json
from pathlib import Path

import pytest

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.layouts import LISTERS, list_subjects, scan_layout
from dwp_sweep.errors import InputError, Problem


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
    assert "neither a folder HGG" in only_problem(
        config.model_copy(update={"root": str(tmp_path / "HGG" / "x")})
    )


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
