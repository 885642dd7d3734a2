from __future__ import annotations

import errno
import json
import threading

import nibabel as nib
import numpy as np
import pytest
import torch

from dwp_sweep.data.cache import cases as cache
from dwp_sweep.data.cache.cases import load_cases
from dwp_sweep.data.check import check
from dwp_sweep.data.check.check import check_dataset
from dwp_sweep.data.config import DatasetConfig, PreprocessConfig
from dwp_sweep.data.layouts import list_patients, list_subjects
from dwp_sweep.data.splits import enough_problems


@pytest.fixture
def root(tmp_path, write_msd):
    return write_msd(tmp_path / "set", 12)


def config(root, **values) -> DatasetConfig:
    return DatasetConfig(**{"layout": "msd", "root": str(root), "labels": (1, 2)} | values)


def test_a_good_folder_has_a_row_a_subject_and_nothing_to_say(root):
    seen: list[tuple[int, int]] = []
    report = check_dataset(config(root), lambda done, total: seen.append((done, total)))

    assert (report.problems, report.warnings) == ((), ())
    assert seen[0] == (1, 12) and seen[-1] == (12, 12)
    row = report.subjects[0]
    assert (row.id, row.shape, row.spacing_mm) == ("case_00", (10, 12, 8), (1.0, 1.0, 1.0))
    assert row.labels == (0, 1, 2)
    assert row.foreground_share == pytest.approx(36 / 960)
    assert check_dataset(config(root, labels=(2,))).subjects[0].foreground_share == pytest.approx(12 / 960)


def test_everything_wrong_with_a_folder_is_reported_at_once(root, write_scan, image, mask):
    images, labels = root / "imagesTr", root / "labelsTr"
    shifted = np.eye(4)
    shifted[2, 3] = 5
    broken = image(6)
    broken[3, 3, 3] = np.inf
    (labels / "case_00.nii.gz").unlink()
    write_scan(labels / "case_01.nii.gz", mask()[1:])
    write_scan(labels / "case_02.nii.gz", mask(), shifted)
    (images / "case_03.nii.gz").write_bytes((images / "case_03.nii.gz").read_bytes()[:-100])
    (images / "case_04.nii.gz").write_text("no image")
    write_scan(images / "case_05.nii.gz", np.stack([image(0), image(1)], axis=-1))
    write_scan(images / "case_06.nii.gz", broken)
    write_scan(images / "case_07.nii.gz", np.ones_like(image(0)))
    write_scan(labels / "case_08.nii.gz", 3 * mask())

    report = check_dataset(config(root))

    found = {problem.where.rsplit("/", 1)[1][:7]: problem.what for problem in report.problems}
    expected = {
        "case_00": "image without mask",
        "case_01": "shape 9x12x8 differs",
        "case_02": "affine differs",
        "case_03": "truncated",
        "case_04": "cannot be read as NIfTI",
        "case_05": "4D image",
        "case_06": "NaN or infinite",
        "case_07": "constant image",
        "case_08": "label values 3, 6 are not in the set [0, 1, 2]",
    }
    assert len(report.problems) == len(expected)
    for name, words in expected.items():
        assert words in found[name]
    assert all(problem.fix for problem in report.problems)
    assert [row.id for row in report.subjects] == ["case_09", "case_10", "case_11"]


def test_a_folder_that_cannot_be_listed_is_a_report_and_no_exception(tmp_path):
    report = check_dataset(config(tmp_path / "none"))

    assert report.subjects == ()
    assert "no such folder" in report.problems[0].what


def test_an_empty_mask_is_legal_and_listed_as_a_warning(root, write_scan, mask):
    write_scan(root / "labelsTr" / "case_03.nii.gz", np.zeros_like(mask()))

    report = check_dataset(config(root))

    assert report.problems == ()
    assert ["empty mask" in warning.what for warning in report.warnings] == [True]
    assert len(report.subjects) == 12


def test_a_label_that_no_mask_may_hold_is_a_problem_and_one_that_is_absent_a_warning(root, write_scan, mask):
    assert "labels: 5 is not in the data set's values [0, 1, 2]" in str(
        check_dataset(config(root, labels=(1, 5))).problems[0]
    )
    write_scan(root / "labelsTr" / "case_00.nii.gz", (mask() == 1).astype(np.uint8))
    report = check_dataset(config(root, labels=(2,)))
    assert report.problems == ()
    assert "no voxel is in 2; the file holds 0, 1" in report.warnings[0].what


def test_regions_keep_the_check_of_label_values_on(tmp_path, write_msd, write_scan, mask):
    root = write_msd(tmp_path / "regions", labels={"background": 0, "whole": [1, 2], "core": [2]})
    write_scan(root / "labelsTr" / "case_01.nii.gz", 3 * mask())

    (problem,) = check_dataset(config(root)).problems
    assert "label values 3, 6 are not in the set [0, 1, 2]" in problem.what


def test_a_given_label_set_goes_before_that_of_the_folder(root):
    assert "are not in the set [0, 1]" in str(
        check_dataset(config(root, label_set=(1,), labels=(1,))).problems[0]
    )
    assert check_dataset(config(root, label_set=(1, 2, 9))).problems == ()


def test_foreground_that_the_crop_removes_is_a_warning(root):
    small = check_dataset(config(root, subjects="0:1", preprocess=PreprocessConfig(shape=(7, 2, 5))))
    gone = check_dataset(
        config(root, subjects="0:1", preprocess=PreprocessConfig(crop_foreground=False, shape=(1, 1, 1)))
    )

    assert "the crop removes 50% of the foreground" in small.warnings[0].what
    assert "shape" in small.warnings[0].fix
    assert "the crop removes 97% of the foreground" in gone.warnings[0].what
    assert small.problems == gone.problems == ()


def test_foreground_that_resampling_removes_is_a_warning(root):
    coarse = PreprocessConfig(crop_foreground=False, spacing_mm=(9, 9, 9))

    (warning,) = check_dataset(config(root, subjects="0:1", preprocess=coarse)).warnings
    assert "resampling removes" in warning.what and "spacing_mm" in warning.fix


def test_the_same_scan_under_two_names_is_a_warning(root, write_scan, image):
    write_scan(root / "imagesTr" / "case_05.nii.gz", image(2))

    (warning,) = check_dataset(config(root)).warnings
    assert (warning.where, warning.what) == ("case_05", "has the same voxels as case_02")


def test_uneven_voxel_sizes_are_a_warning_unless_they_are_resampled(root, write_scan, image, mask):
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    write_scan(root / "imagesTr" / "case_05.nii.gz", image(5), affine)
    write_scan(root / "labelsTr" / "case_05.nii.gz", mask(), affine)

    (warning,) = check_dataset(config(root)).warnings
    assert "from 1 to 2 mm" in warning.what
    assert check_dataset(config(root, preprocess=PreprocessConfig(spacing_mm=(1, 1, 1)))).warnings == ()


def test_fewer_subjects_than_test_validation_and_training_need_are_refused(root):
    def problems(train_sizes, **values):
        settings = config(root, **values)
        return enough_problems(list_patients(settings), settings, train_sizes)

    assert not problems([3, 6], n_test=4, n_val=2)
    assert "12 subjects are fewer than test 4" in problems([3, 7], n_test=4, n_val=2)[0].what
    assert not problems([], n_test=50, n_val=11)
    assert "12 subjects are fewer" in problems([], n_val=12)[0].what


def test_a_dataset_json_without_labels_checks_no_set(root):
    described = json.loads((root / "dataset.json").read_text())
    del described["labels"]
    (root / "dataset.json").write_text(json.dumps(described))

    assert check_dataset(config(root, labels=(2,))).problems == ()


def test_a_mask_beside_the_patient_and_a_scan_there_twice_stand_in_their_subjects_rows(
    root, write_scan, image, mask
):
    write_scan(root / "labelsTr" / "case_04.nii.gz", np.roll(mask(), 3, axis=0))
    write_scan(root / "imagesTr" / "case_05.nii.gz", image(2))
    write_scan(root / "labelsTr" / "case_06.nii.gz", np.zeros_like(mask()))
    (root / "imagesTr" / "case_07.nii.gz").write_text("no image")
    (root / "labelsTr" / "case_08.nii.gz").unlink()

    report = check_dataset(config(root, preprocess=PreprocessConfig(shape=(7, 4, 6))))

    rows = {row.id: row for row in report.subjects}
    assert rows["case_04"].suspicions == (
        "33% cropped",
        "33% outside the patient",
        "touches the border",
    )
    assert rows["case_05"].suspicions == ("same voxels as case_02",)
    assert rows["case_06"].suspicions == ("empty mask",)
    assert rows["case_00"].suspicions == () and rows["case_00"].input_shape == (1, 7, 4, 6)
    assert set(report.unusable) == {"case_07", "case_08"}
    assert len(report.warnings) == 5
    assert [problem for found in report.unusable.values() for problem in found] == list(report.problems)


def test_a_clipped_scan_is_worth_a_look_and_a_few_grey_levels_are_not(root, write_scan, image):
    clipped = np.minimum(image(1), 90)  # texture from 50 to 100: a fifth of the head lies above
    rounded = np.round(image(2) / 10) * 10  # 60, 70, 80 and 90 share the voxels evenly, 100 has half as many
    one_bright = image(3)
    one_bright[4, 4, 4] = 1e4
    for name, scan in (("case_01", clipped), ("case_02", rounded), ("case_03", one_bright)):
        write_scan(root / "imagesTr" / f"{name}.nii.gz", scan)

    report = check_dataset(config(root))

    assert report.problems == ()
    assert {row.id: row.suspicions for row in report.subjects if row.suspicions} == {
        "case_01": ("saturated",)
    }
    (warning,) = report.warnings
    assert warning.where.endswith("imagesTr/case_01.nii.gz")
    share = float((clipped == 90).sum()) / np.count_nonzero(clipped)
    assert f"saturated: {share:.1%} of the patient's voxels have exactly the maximum, 90" in warning.what


def test_what_a_window_clips_anyway_is_no_clipped_scan(root, write_scan, image):
    write_scan(root / "imagesTr" / "case_01.nii.gz", np.minimum(image(1), 90))

    narrow, wide = (PreprocessConfig(window=(0, top)) for top in (90, 100))
    assert check_dataset(config(root, preprocess=narrow)).warnings == ()
    assert len(check_dataset(config(root, preprocess=wide)).warnings) == 1


@pytest.mark.parametrize("corner", [(0, 5, 4), (9, 5, 4), (5, 0, 4), (5, 11, 4), (5, 5, 0), (5, 5, 7)])
def test_a_mask_that_touches_any_face_of_the_volume_is_worth_a_look(root, write_scan, mask, corner):
    cut_off = mask()
    cut_off[corner] = 1
    write_scan(root / "labelsTr" / "case_03.nii.gz", cut_off)

    report = check_dataset(config(root, preprocess=PreprocessConfig(crop_foreground=False)))

    assert report.problems == ()
    row = next(row for row in report.subjects if row.id == "case_03")
    assert "touches the border" in row.suspicions
    assert "the mask touches the volume's border with 1 voxel" in [one.what for one in report.warnings]


def test_an_axis_of_two_slices_has_no_inside_to_leave(root, write_scan, image, mask):
    write_scan(root / "imagesTr" / "case_03.nii.gz", image(3)[:, :, 3:5])
    write_scan(root / "labelsTr" / "case_03.nii.gz", mask()[:, :, 3:5])

    assert check_dataset(config(root)).warnings == ()


def test_a_mask_of_brats_that_holds_a_fifth_label_is_a_problem(tmp_path, write_brats, write_scan):
    patient = write_brats(tmp_path, 2023)
    seg = patient / f"{patient.name}-seg.nii.gz"
    brats = DatasetConfig(layout="brats", root=str(tmp_path), modality=("t2", "flair"), labels=(1, 2, 3))
    report = check_dataset(brats)
    assert (report.problems, report.warnings) == ((), ())
    assert report.subjects[0].labels == (0, 2, 3) and report.subjects[0].input_shape[0] == 2

    image = nib.load(seg)
    labels = np.asarray(image.dataobj).copy()
    labels[8, 8, 7] = 5
    write_scan(seg, labels, image.affine)

    (problem,) = check_dataset(brats).problems
    assert "label values 5 are not in the set [0, 1, 2, 3, 4]" in problem.what and problem.where == str(seg)


def test_one_image_under_two_names_of_a_subject_is_a_warning(tmp_path, write_brats):
    patient = write_brats(tmp_path, 2021)
    copy = (patient / f"{patient.name}_t2.nii.gz").read_bytes()
    (patient / f"{patient.name}_flair.nii.gz").write_bytes(copy)

    (warning,) = check_dataset(
        DatasetConfig(layout="brats", root=str(tmp_path), modality=("t2", "flair"), labels=(1, 2, 3))
    ).warnings

    assert warning.what == "two of its channels hold the same voxels"


def test_scans_are_checked_side_by_side_and_told_in_their_order(root, monkeypatch):
    together, real = threading.Barrier(3), check.preprocess

    def waits_for_the_others(*arguments):
        together.wait(timeout=60)
        return real(*arguments)

    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(check, "preprocess", waits_for_the_others)

    assert [row.id for row in check_dataset(config(root)).subjects] == [f"case_{n:02}" for n in range(12)]


def test_what_the_check_prepares_is_what_training_reads(root, tmp_path, monkeypatch):
    plain = load_cases(config(root), list_subjects(config(root)), tmp_path / "plain")
    check_dataset(config(root), None, tmp_path / "cache")
    monkeypatch.setattr(cache, "preprocess", lambda *_: pytest.fail("prepared again"))

    cases = load_cases(config(root), list_subjects(config(root)), tmp_path / "cache")

    for one, two in zip(plain, cases, strict=True):
        assert (one.id, one.spacing_mm) == (two.id, two.spacing_mm)
        np.testing.assert_array_equal(one.image, two.image)
        np.testing.assert_array_equal(one.mask, two.mask)


def test_a_second_check_reads_only_what_changed_and_says_the_same(
    root, tmp_path, write_scan, image, mask, monkeypatch
):
    write_scan(root / "labelsTr" / "case_04.nii.gz", np.roll(mask(), 3, axis=0))
    write_scan(root / "imagesTr" / "case_05.nii.gz", image(2))
    (root / "imagesTr" / "case_07.nii.gz").write_text("no image")
    settings = config(root, preprocess=PreprocessConfig(shape=(7, 4, 6)))
    first = check_dataset(settings, None, tmp_path / "cache")
    read, real = list[str](), check.read_pair

    def noted(subject, *arguments):
        read.append(subject.id)
        return real(subject, *arguments)

    monkeypatch.setattr(check, "read_pair", noted)
    seen: list[tuple[int, int]] = []
    second = check_dataset(settings, lambda done, total: seen.append((done, total)), tmp_path / "cache")

    assert second == first == check_dataset(settings)
    assert read[:1] == ["case_07"] and len(read) == 1 + 12, "what cannot be used is looked at again"
    assert seen == [(done, 12) for done in range(1, 13)]
    del read[:]
    write_scan(root / "imagesTr" / "case_07.nii.gz", image(7))
    (tmp_path / "cache" / "checks" / "scans").joinpath("damaged.json").write_text("{")
    assert check_dataset(settings, None, tmp_path / "cache").problems == () and read == ["case_07"]


def test_a_memory_that_was_damaged_only_costs_time(root, tmp_path):
    first = check_dataset(config(root), None, tmp_path / "cache")
    for number, path in enumerate((tmp_path / "cache" / "checks" / "scans").iterdir()):
        path.write_text(["{", "[]", '{"row": 1}'][number % 3])

    assert check_dataset(config(root), None, tmp_path / "cache") == first


def test_a_full_disk_spoils_no_check(root, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "_write", full)

    assert check_dataset(config(root), None, tmp_path / "cache") == check_dataset(config(root))
    assert list((tmp_path / "cache" / "volumes").iterdir()) == []
