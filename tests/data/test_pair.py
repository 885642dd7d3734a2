from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.layouts import Subject
from dwp_sweep.data.pair import foreground_of, read_pair
from dwp_sweep.errors import InputError

CONFIG = DatasetConfig(layout="msd")


@pytest.fixture
def subject(tmp_path, write_scan, image, mask) -> Subject:
    return Subject(
        "s", write_scan(tmp_path / "i.nii.gz", image(0)), write_scan(tmp_path / "m.nii.gz", mask())
    )


def problems(subject: Subject, label_set: frozenset[int] | None = None) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_pair(subject, CONFIG, label_set)
    assert all(problem.fix for problem in caught.value.problems)
    return [str(problem) for problem in caught.value.problems]


def test_a_good_pair_comes_back_with_its_labels(subject, image, mask):
    pair = read_pair(subject, CONFIG, frozenset({0, 1, 2, 3}))

    np.testing.assert_array_equal(pair.image.data, image(0))
    np.testing.assert_array_equal(pair.labels, mask())
    assert pair.label_values == (0, 1, 2)


def test_a_mask_of_another_shape_is_named_with_both_shapes(subject, write_scan, mask):
    write_scan(subject.mask, mask()[:, :, :-1])

    (text,) = problems(subject)
    assert "m.nii.gz: shape 10x12x7 differs from 10x12x8" in text


def test_a_mask_with_another_affine_is_named_with_the_distance(subject, write_scan, mask):
    shifted = np.eye(4)
    shifted[0, 3] = 2.0
    write_scan(subject.mask, mask(), shifted)

    (text,) = problems(subject)
    assert "affine differs" in text and "up to 2 mm" in text


def two_forms(path: Path, voxels: np.ndarray, sform: np.ndarray, qform: np.ndarray, unit: str = "mm") -> None:
    scan = nib.Nifti1Image(voxels, sform)
    scan.set_sform(sform, 1)
    scan.set_qform(qform, 1)
    scan.header.set_xyzt_units(unit)
    nib.save(scan, path)


@pytest.mark.parametrize("of_mask", [False, True])
def test_nobody_is_told_to_resample_where_a_file_has_two_places(subject, image, mask, of_mask):
    shifted = np.eye(4)
    shifted[0, 3] = 3.0
    two_forms(subject.image, image(0), np.eye(4), np.eye(4) if of_mask else shifted)
    two_forms(subject.mask, mask(), shifted, np.eye(4) if of_mask else shifted)

    with pytest.raises(InputError) as caught:
        read_pair(subject, CONFIG)
    (only,) = caught.value.problems
    name = "the mask" if of_mask else "its image"
    assert f"up to 3 mm apart; sform and qform of {name} themselves lie 3 mm apart" in only.what
    assert "resample" not in only.fix and "which form is right" in only.fix


def test_units_that_differ_are_said_where_places_differ(subject, image, mask, write_scan):
    two_forms(
        subject.image, image(0), np.diag([1000.0, 1000, 1000, 1]), np.diag([1000.0, 1000, 1000, 1]), "micron"
    )
    assert read_pair(subject, CONFIG).image.spacing_mm == (1.0, 1.0, 1.0)

    two_forms(
        subject.mask, mask(), np.diag([1000.0, 1000, 1000, 1]), np.diag([1000.0, 1000, 1000, 1]), "unknown"
    )
    (text,) = problems(subject)
    assert "the unit of its image is micron, of the mask unknown" in text and "xyzt_units" in text


@pytest.mark.parametrize("flip", [0, 1, 2])
def test_a_mask_with_a_flipped_axis_is_refused(subject, write_scan, mask, flip):
    affine = np.eye(4)
    affine[flip, flip] = -1.0
    write_scan(subject.mask, mask(), affine)

    assert "affine differs" in problems(subject)[0]


def test_rounding_in_a_header_is_no_difference(subject, write_scan, mask):
    write_scan(subject.mask, mask(), np.eye(4) + 1e-4 * np.eye(4))

    assert read_pair(subject, CONFIG).label_values == (0, 1, 2)


def test_a_constant_image_is_named_with_its_value(subject, write_scan):
    write_scan(subject.image, np.full((10, 12, 8), 7, dtype=np.int16))

    assert "constant image: every voxel is 7" in problems(subject)[0]


def test_label_values_that_are_not_in_the_set_are_named(subject):
    assert "label values 2 are not in the set [0, 1]" in problems(subject, frozenset({0, 1}))[0]


def test_a_mask_of_fractions_is_refused_and_rounding_of_stored_labels_is_not(subject, write_scan, mask):
    write_scan(subject.mask, mask() * np.float32(1.00001))
    assert read_pair(subject, CONFIG).label_values == (0, 1, 2)

    write_scan(subject.mask, mask() * np.float32(0.3))
    assert "no whole numbers: 0.3, 0.6" in problems(subject)[0]


@pytest.mark.parametrize("off", [-9e-4, 9e-4])
def test_stored_labels_may_be_a_thousandth_off(subject, write_scan, mask, off):
    write_scan(subject.mask, mask() + np.float32(off))
    assert read_pair(subject, CONFIG, frozenset({0, 1, 2})).label_values == (0, 1, 2)

    write_scan(subject.mask, mask() + np.float32(1.2 * off))
    assert "no whole numbers" in problems(subject)[0]


@pytest.mark.parametrize(
    ("value", "dtype", "shown"),
    [
        (-1, np.int16, "-1"),
        (-0.9999, np.float32, "-1"),
        (2**31, np.uint32, "2.14748e+09"),
        (2**31, np.float64, "2.14748e+09"),
        (2**40, np.int64, "1.09951e+12"),
    ],
)
def test_label_values_below_0_or_above_32_bits_are_refused(subject, write_scan, mask, value, dtype, shown):
    labels = mask().astype(dtype)
    labels[0, 0, 0] = value
    nib.save(nib.Nifti1Image(labels, np.eye(4), dtype=dtype), subject.mask)

    (text,) = problems(subject)
    assert f"label values {shown} are not from 0 to 2147483647" in text


@pytest.mark.parametrize("value", [2**24 + 1, 2**31 - 1])
@pytest.mark.parametrize("dtype", [np.int32, np.float64])
def test_large_labels_are_read_as_they_are_stored(subject, mask, value, dtype):
    labels = mask().astype(dtype)
    labels[0, 0, 0] = value
    nib.save(nib.Nifti1Image(labels, np.eye(4), dtype=dtype), subject.mask)

    assert read_pair(subject, CONFIG).label_values == (0, 1, 2, value)


def test_a_4d_mask_is_not_told_to_choose_a_channel(subject, write_scan, mask):
    write_scan(subject.mask, np.stack([mask(), mask()], axis=-1))

    with pytest.raises(InputError) as caught:
        read_pair(subject, CONFIG)
    (only,) = caught.value.problems
    assert "4D mask of shape 10x12x8x2" in only.what
    assert "choose" not in only.fix and "one label value a voxel" in only.fix


def test_all_that_is_wrong_with_a_pair_is_said_at_once(subject, write_scan, image, mask):
    broken = image(0)
    broken[0, 0, 0] = np.nan
    write_scan(subject.image, broken)
    write_scan(subject.mask, 5 * mask()[:, :-1])

    found = problems(subject, frozenset({0, 1, 2}))

    assert [any(word in text for text in found) for word in ("NaN", "shape", "not in the set")] == [True] * 3


def test_foreground_is_the_wanted_labels_or_everything_above_zero():
    labels = np.array([[[0, 1, 2, -1]]], dtype=np.int32)

    assert foreground_of(labels, None).tolist() == [[[False, True, True, False]]]
    assert foreground_of(labels, (2,)).tolist() == [[[False, False, True, False]]]


def test_a_channel_is_chosen_of_the_image_and_never_of_the_mask(tmp_path: Path, write_scan, image, mask):
    stacked = write_scan(tmp_path / "i.nii.gz", np.stack([image(0), image(1)], axis=-1))
    subject = Subject("s", stacked, write_scan(tmp_path / "m.nii.gz", mask()))

    pair = read_pair(subject, DatasetConfig(layout="msd", channel=1))

    np.testing.assert_array_equal(pair.image.data, image(1))


def with_second(subject: Subject, path: Path) -> Subject:
    return Subject(subject.id, subject.image, subject.mask, (path,))


def test_several_modalities_come_in_the_order_asked_for(subject, tmp_path, write_scan, image):
    pair = read_pair(with_second(subject, write_scan(tmp_path / "j.nii.gz", image(1))), CONFIG)

    np.testing.assert_array_equal(pair.images[0].data, image(0))
    np.testing.assert_array_equal(pair.images[1].data, image(1))


def test_channels_of_one_file_come_in_the_order_asked_for(tmp_path, write_scan, image, mask):
    stacked = write_scan(tmp_path / "i.nii.gz", np.stack([image(0), image(1), image(2)], axis=-1))
    subject = Subject("s", stacked, write_scan(tmp_path / "m.nii.gz", mask()))

    pair = read_pair(subject, DatasetConfig(layout="msd", channel=(2, 0)))

    assert len(pair.images) == 2
    np.testing.assert_array_equal(pair.images[0].data, image(2))
    np.testing.assert_array_equal(pair.images[1].data, image(0))


def test_a_modality_on_another_grid_is_named_beside_whatever_else_is_wrong(
    subject, tmp_path, write_scan, image
):
    shifted = np.eye(4)
    shifted[0, 3] = 2
    other = write_scan(tmp_path / "j.nii.gz", np.ones_like(image(1)), shifted)

    found = problems(with_second(subject, other), frozenset({0, 1}))

    assert len(found) == 3
    assert f"{other}: constant image" in found[0]
    assert f"{other}: affine differs from that of the first modality {subject.image}" in found[1]
    assert "label values 2 are not in the set [0, 1]" in found[2]
