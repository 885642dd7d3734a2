"""What headers leave open is said once, and beside each subject in the table."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from dwp_sweep.data.check.check import check_dataset
from dwp_sweep.data.config import DatasetConfig, PreprocessConfig

RAS = nib.affines.from_matvec(np.diag([1.0, 1.0, 1.0]), (-5.0, -6.0, -4.0))
SHIFTED = nib.affines.from_matvec(np.diag([1.0, 1.0, 1.0]), (-15.0, -6.0, -4.0))
MIRRORED = nib.affines.from_matvec(np.diag([-1.0, 1.0, 1.0]), (5.0, -6.0, -4.0))
TURNED = nib.affines.from_matvec(np.diag([-1.0, -1.0, 1.0]), (5.0, 6.0, -4.0))
UPSIDE_DOWN = nib.affines.from_matvec(np.diag([1.0, -1.0, -1.0]), (-5.0, 6.0, 4.0))


@pytest.fixture
def root(tmp_path, write_msd):
    return write_msd(tmp_path / "set", 4)


BOTH = ("imagesTr", "labelsTr")


def write(
    root: Path,
    index: int,
    sform,
    qform,
    unit: str = "mm",
    scale: float = 1.0,
    folders: tuple[str, ...] = BOTH,
) -> None:
    """Give image and mask of a subject, or one of them, these forms."""
    for folder in folders:
        path = root / folder / f"case_{index:02d}.nii.gz"
        old = nib.load(path)
        scan = nib.Nifti1Image(np.asarray(old.dataobj), np.eye(4))
        factor = np.diag([scale, scale, scale, 1.0])
        scan.set_sform(factor @ RAS if sform is None else factor @ sform, 0 if sform is None else 1)
        scan.set_qform(factor @ RAS if qform is None else factor @ qform, 0 if qform is None else 1)
        scan.header.set_xyzt_units(unit)
        nib.save(scan, path)


def check(root: Path, **preprocess):
    settings = PreprocessConfig.model_validate(preprocess)
    return check_dataset(DatasetConfig(layout="msd", root=str(root), labels=(1, 2), preprocess=settings))


def test_the_row_says_where_the_files_axes_point(root):
    write(root, 0, RAS, RAS)
    write(root, 1, TURNED, TURNED)
    write(root, 2, np.eye(4)[[2, 0, 1, 3]], np.eye(4)[[2, 0, 1, 3]])
    report = check(root)

    assert [row.orientation for row in report.subjects] == ["RAS", "LPS", "ASR", "RAS"]
    assert report.warnings == ()


@pytest.mark.parametrize(
    ("sform", "qform", "words", "sentence"),
    [
        (RAS, SHIFTED, "two places", "its sform and qform differ: corners lie up to 10 mm apart"),
        (RAS, UPSIDE_DOWN, "two places", "its sform and qform differ"),
        (RAS, MIRRORED, "left or right?", "in left and right: RAS and LAS"),
        (MIRRORED, RAS, "left or right?", "in left and right: LAS and RAS"),
        (RAS, TURNED, "left or right?", "in left and right: RAS and LPS"),
        (None, None, "no orientation", "has neither sform nor qform (both codes are 0)"),
    ],
)
def test_doubtful_forms_are_a_warning(root, sform, qform, words, sentence):
    write(root, 1, sform, qform)
    report = check(root)

    assert report.problems == ()
    (warning,) = report.warnings
    assert sentence in warning.what
    assert warning.where.endswith("case_01.nii.gz") and warning.fix
    assert [row.suspicions for row in report.subjects] == [(), (words,), (), ()]


@pytest.mark.parametrize(
    ("sform", "qform", "unit", "words", "sentence"),
    [
        (RAS, SHIFTED, "mm", "two places", "its sform and qform differ"),
        (RAS, MIRRORED, "mm", "left or right?", "in left and right: RAS and LAS"),
        (RAS, RAS, "micron", "unit", "its unit of length is the micron"),
        (None, None, "mm", "no orientation", "has neither sform nor qform"),
    ],
)
def test_doubtful_forms_of_a_mask_beside_a_good_image_are_a_warning(
    root, sform, qform, unit, words, sentence
):
    scale = 1000.0 if unit == "micron" else 1.0
    write(root, 1, sform, qform, unit, scale, folders=("labelsTr",))
    good = nib.load(root / "labelsTr/case_01.nii.gz").affine / np.array([[scale]] * 3 + [[1.0]])
    write(root, 1, good, good, folders=("imagesTr",))
    report = check(root)

    assert report.problems == ()
    (warning,) = report.warnings
    assert sentence in warning.what and warning.where.endswith("labelsTr/case_01.nii.gz")
    assert [row.suspicions for row in report.subjects] == [(), (words,), (), ()]


@pytest.mark.parametrize("forms", [(RAS, RAS), (None, RAS), (RAS, None), (MIRRORED, MIRRORED)])
def test_one_place_is_no_warning(root, forms):
    write(root, 1, *forms)
    assert check(root).warnings == ()


def test_forms_that_differ_by_rounding_alone_are_one_place(root):
    tilt = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.11, 0.07, -0.3) @ np.diag([0.9, 1.1, 2.3]))
    rounded = np.round(tilt, 4)
    write(root, 1, rounded, tilt)
    assert check(root).subjects[1].suspicions == ()


@pytest.mark.parametrize(("unit", "scale"), [("micron", 1000.0), ("meter", 0.001)])
def test_another_unit_than_mm_is_a_warning_that_says_the_size_in_mm(root, unit, scale):
    write(root, 2, RAS, RAS, unit, scale)
    report = check(root)

    (warning,) = report.warnings
    assert f"its unit of length is the {unit}: voxels of 1 x 1 x 1 mm" in warning.what
    assert report.subjects[2].suspicions == ("unit",)
    assert report.subjects[2].spacing_mm == pytest.approx((1, 1, 1))


@pytest.mark.parametrize("unit", ["mm", "unknown"])
def test_mm_and_no_unit_are_as_usual(root, unit):
    write(root, 2, RAS, RAS, unit)
    assert check(root).warnings == ()


def test_the_same_doubt_in_all_scans_is_one_warning_and_stands_in_every_row(root):
    for index in range(4):
        write(root, index, None, None)
    report = check(root)

    (warning,) = report.warnings
    assert warning.what.endswith("; the same in 3 more")
    assert [row.suspicions for row in report.subjects] == [("no orientation",)] * 4


def test_nobody_is_told_to_resample_by_headers_with_two_places(root):
    thick = np.diag([1.0, 1.0, 3.0, 1.0])
    write(root, 0, thick, thick)
    (uneven,) = check(root).warnings
    assert "voxel sizes differ" in uneven.what and "spacing_mm" in uneven.fix

    write(root, 0, thick, RAS)
    fixes = [warning.fix for warning in check(root).warnings]
    assert len(fixes) == 2
    assert not any("resample" in fix or "spacing_mm" in fix for fix in fixes)


def test_doubts_are_remembered_with_the_finding(root, tmp_path):
    write(root, 1, RAS, MIRRORED)
    config = DatasetConfig(layout="msd", root=str(root), labels=(1, 2))
    first, second = (check_dataset(config, cache_dir=tmp_path / "cache") for _ in range(2))

    assert first == second
    assert second.subjects[1].suspicions == ("left or right?",)
