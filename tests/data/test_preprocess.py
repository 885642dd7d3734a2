"""From a scan to a network's input: foreground, crops, scaling, resampling."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwp_sweep.data.config import DatasetConfig, PreprocessConfig
from dwp_sweep.data.files.volumes import Volume
from dwp_sweep.data.pair import Pair
from dwp_sweep.data.preprocess import (
    background_value,
    bounding_box,
    foreground_mask,
    prepare_scan,
    preprocess,
    scale_intensity,
)


def pair_of(data: np.ndarray, labels: np.ndarray, affine: np.ndarray | None = None) -> Pair:
    affine = np.eye(4) if affine is None else affine
    spacing = tuple(float(size) for size in nib.affines.voxel_sizes(affine))
    volume = Volume(np.ascontiguousarray(data, dtype=np.float32), affine, spacing)
    return Pair(volume, labels.astype(np.int32), tuple(int(value) for value in np.unique(labels)))


def config(labels: tuple[int, ...] | None = None, **values) -> DatasetConfig:
    return DatasetConfig(layout="msd", labels=labels, preprocess=PreprocessConfig(**values))


def test_the_foreground_has_mean_zero_and_spread_one_and_the_background_is_zero(image, mask):
    done = preprocess(pair_of(image(0), mask()), config(crop_foreground=False))
    inside = foreground_mask(image(0))

    assert done.image.shape == (1, *image(0).shape)
    assert (done.image.dtype, done.mask.dtype) == (np.float32, np.uint8)
    assert done.image[0][inside].mean() == pytest.approx(0, abs=1e-5)
    assert done.image[0][inside].std() == pytest.approx(1, abs=1e-5)
    assert not done.image[0][~inside].any()


def test_scaling_does_not_depend_on_the_units_of_the_scanner(image, mask):
    one = preprocess(pair_of(image(0), mask()), config())
    other = preprocess(pair_of(300 * image(0), mask()), config())

    np.testing.assert_allclose(one.image, other.image, atol=1e-4)


def test_an_outlier_is_clipped(image):
    voxels = image(0)
    inside = foreground_mask(voxels)
    calm = scale_intensity(voxels, inside, (0.5, 99.5))
    voxels[5, 5, 5] = 1e6

    wild = scale_intensity(voxels, inside, (0.5, 99.5))

    assert wild[5, 5, 5] == wild.max() < 3
    wild[5, 5, 5] = calm[5, 5, 5]
    np.testing.assert_allclose(wild, calm, atol=0.1)


def test_an_image_of_two_values_is_still_no_constant():
    image = np.zeros((6, 6, 6), dtype=np.float32)
    image[2:4, 2:4, 2:4] = 5

    done = preprocess(pair_of(image, image > 0), config(crop_foreground=False))

    assert np.isfinite(done.image).all()
    assert done.image[0, 2, 2, 2] > done.image[0, 0, 0, 0]


def test_a_scan_that_resampling_leaves_without_contrast_becomes_zeros_and_not_nan(image, mask):
    done = preprocess(pair_of(image(0), mask()), config(spacing_mm=(9, 9, 9)))

    assert np.isfinite(done.image).all()


def test_only_the_wanted_labels_become_foreground(image, mask):
    done = preprocess(pair_of(image(0), mask()), config(labels=(2,), crop_foreground=False))

    np.testing.assert_array_equal(done.mask, mask() == 2)


def test_the_crop_keeps_the_box_around_the_patient(image, mask):
    done = preprocess(pair_of(image(0), mask()), config())

    assert done.mask.shape == (7, 9, 5)
    np.testing.assert_array_equal(done.mask, mask()[2:9, 2:11, 2:7] > 0)
    assert done.cropped_away == done.resampled_away == 0


@settings(max_examples=12, deadline=None)
@given(
    axes=st.permutations([0, 1, 2]), flips=st.tuples(*[st.sampled_from([1, -1])] * 3), seed=st.integers(0, 99)
)
def test_however_a_scan_is_stored_the_network_sees_it_the_same_way(axes, flips, seed):
    rng = np.random.default_rng(seed)
    data, labels = rng.uniform(1, 9, (5, 6, 7)).astype(np.float32), rng.integers(0, 2, (5, 6, 7))
    turn = nib.orientations.ornt_transform(
        np.stack([np.arange(3), np.ones(3)], axis=1), np.stack([axes, flips], axis=1)
    )
    affine = np.diag([1.0, 2.0, 3.0, 1.0]) @ nib.orientations.inv_ornt_aff(turn, data.shape)
    stored = [nib.orientations.apply_orientation(values, turn) for values in (data, labels)]

    straight = preprocess(pair_of(data, labels, np.diag([1.0, 2.0, 3.0, 1.0])), config())
    turned = preprocess(pair_of(*stored, affine), config())

    np.testing.assert_array_equal(straight.image, turned.image)
    np.testing.assert_array_equal(straight.mask, turned.mask)
    assert turned.spacing_mm == pytest.approx((1.0, 2.0, 3.0))


def test_resampling_gives_the_spacing_and_keeps_the_volume_of_the_foreground():
    image = np.random.default_rng(0).uniform(1, 2, (16, 16, 8)).astype(np.float32)
    labels = np.zeros_like(image)
    labels[4:12, 4:12, 2:6] = 1
    done = preprocess(
        pair_of(image, labels, np.diag([1.0, 1.0, 2.0, 1.0])), config(spacing_mm=(1.0, 1.0, 1.0))
    )

    assert done.spacing_mm == pytest.approx((1.0, 1.0, 1.0))
    assert done.mask.shape[:2] == (16, 16) and done.mask.shape[2] in (15, 16)
    assert done.mask.sum() == pytest.approx(8 * 8 * 8, rel=0.15)
    assert set(np.unique(done.mask)) == {0, 1}


def test_a_shape_crops_and_pads_around_the_middle(image, mask):
    done = preprocess(pair_of(image(0), mask()), config(crop_foreground=False, shape=(6, 20, 8)))

    assert done.image.shape == (1, 6, 20, 8)
    np.testing.assert_array_equal(done.mask[:, 4:16], mask()[2:8] > 0)
    assert not done.mask[:, :4].any() and not done.image[:, :, :4].any()


def test_the_share_of_foreground_that_a_crop_removes_is_told(image, mask):
    labels = np.zeros_like(mask())
    labels[4:6, 6, 4], labels[0, 0, 0], labels[9, 11, 7] = 1, 1, 1
    done = preprocess(pair_of(image(0), labels), config())

    assert done.cropped_away == pytest.approx(0.5)
    assert done.resampled_away == 0


def test_the_share_of_foreground_that_resampling_removes_is_told(image):
    labels = np.zeros((16, 16, 16))
    labels[::4, ::4, ::4] = 1  # single voxels, which a coarse grid mostly misses
    textured = np.random.default_rng(0).uniform(1, 2, labels.shape)
    done = preprocess(pair_of(textured, labels), config(spacing_mm=(3.0, 3.0, 3.0)))

    kept_mm3 = done.mask.sum() * 27
    assert done.resampled_away == pytest.approx(max(0, 1 - kept_mm3 / labels.sum()))
    assert done.cropped_away == 0


def test_a_window_means_the_same_in_every_scan_and_pads_with_air(mask):
    def scan(shift: float) -> np.ndarray:
        image = np.full(mask().shape, -1024, dtype=np.float32)
        image[2:9, 2:11, 2:7] = np.random.default_rng(0).uniform(-300, 100, size=(7, 9, 5))
        image[5, 5, 4], image[5, 6, 4], image[6, 6, 4] = 25 + shift, 250, 3000
        return image

    done = preprocess(pair_of(scan(0), mask()), config(window=(-200, 250), shape=(14, 12, 8)))
    moved = preprocess(pair_of(scan(45), mask()), config(window=(-200, 250), shape=(14, 12, 8)))

    assert done.image.shape == (1, 14, 12, 8)
    assert done.image.min() == -1.0 and done.image.max() == 1.0
    assert (done.image[0, 0] == -1.0).all()
    changed = done.image != moved.image
    assert changed.sum() == 1 and (done.image[changed], moved.image[changed]) == (
        pytest.approx(0.0, abs=1e-6),
        pytest.approx(0.2),
    )


def test_air_outside_and_inside_the_scanners_field_is_one_background_under_a_window(mask):
    image = np.full(mask().shape, -3024, dtype=np.float32)
    image[1:, 1:, 1:] = -1000
    image[3:8, 4:9, 3:7] = 50

    done = preprocess(pair_of(image, mask()), config(window=(-200, 250)))

    assert done.image.shape == (1, 5, 5, 4)


@given(orientation=st.sampled_from(["RAS", "SRA", "SAR", "LPS", "IAR", "PIL"]))
@settings(deadline=None, max_examples=6)
def test_the_axes_point_where_they_should(orientation):
    rng = np.random.default_rng(0)
    data = rng.uniform(50, 100, size=(6, 7, 8)).astype(np.float32)
    affine = np.diag([1.0, 2.0, 3.0, 1.0])  # stored as RAS
    marks = np.zeros(data.shape, dtype=np.uint8)
    marks[5, 0, 0], marks[0, 6, 0], marks[0, 0, 7] = 1, 1, 1

    done = preprocess(pair_of(data, marks, affine), config(crop_foreground=False, orientation=orientation))

    sizes, spacings = {"R": 6, "A": 7, "S": 8}, {"R": 1.0, "A": 2.0, "S": 3.0}
    same = {"L": "R", "P": "A", "I": "S"}
    letters = [same.get(letter, letter) for letter in orientation]
    assert done.mask.shape == tuple(sizes[letter] for letter in letters)
    assert done.spacing_mm == pytest.approx([spacings[letter] for letter in letters])
    for letter in "RAS":
        ends = [(sizes[one] - 1 if one == letter else 0) for one in letters]
        turned = [
            size - 1 - end if way in "LPI" else end
            for way, end, size in zip(orientation, ends, done.mask.shape, strict=True)
        ]
        assert done.mask[tuple(turned)] == 1


def test_slices_come_first_where_the_orientation_says_so():
    data = np.random.default_rng(0).uniform(50, 100, size=(44, 51, 5)).astype(np.float32)
    labels = np.zeros(data.shape, dtype=np.uint8)
    labels[20, 25, 2] = 1
    affine = np.diag([-0.5, -0.5, 6.5, 1.0])  # axial slices, stored as LPS

    done = preprocess(pair_of(data, labels, affine), config(orientation="SRA", shape=(8, 32, 40)))

    assert done.image.shape == (1, 8, 32, 40)
    assert done.spacing_mm == pytest.approx((6.5, 0.5, 0.5))
    assert (int(done.mask.sum()), done.cropped_away) == (1, 0.0)
    assert done.mask[3].any()  # the middle slice of five, one empty slice before them


def test_each_channel_is_scaled_by_itself_and_all_are_cropped_to_the_same_box(image, mask):
    first, second = image(0), np.zeros_like(image(0))
    second[1:4, 1:5, 1:6] = 1000 * np.random.default_rng(1).uniform(1, 2, size=(3, 4, 5))
    one = pair_of(first, mask())
    both = Pair(one.image, one.labels, one.label_values, (pair_of(second, mask()).image,))

    done = preprocess(both, config())
    alone = preprocess(one, config(crop_foreground=False))

    assert done.image.shape == (2, 8, 10, 6)  # the second channel reaches one voxel further
    np.testing.assert_allclose(done.image[0], alone.image[0, 1:9, 1:11, 1:7], atol=1e-6)
    shown = done.image[1][second[1:9, 1:11, 1:7] > 0]
    assert shown.mean() == pytest.approx(0, abs=1e-5) and shown.std() == pytest.approx(1, abs=1e-5)


def test_foreground_beside_the_patient_is_told_but_not_that_in_a_hollow(image, mask):
    hollow = image(0)
    hollow[5, 5, 4] = 0
    assert preprocess(pair_of(hollow, mask()), config()).outside == 0.0

    beside = np.zeros_like(mask())
    beside[4, 4, 4], beside[0, 0, 0:3] = 1, 1
    assert preprocess(pair_of(hollow, beside), config()).outside == pytest.approx(3 / 4)


def block(background: float, inside: np.ndarray) -> np.ndarray:
    image = np.full((12, 12, 12), background, dtype=np.float32)
    image[3:9, 4:9, 2:11] = inside
    return image


@pytest.mark.parametrize("background", [0.0, -1024.0, 55.0])
def test_whatever_differs_from_the_constant_around_it_is_foreground(background):
    image = block(background, np.random.default_rng(0).uniform(100, 200, (6, 5, 9)))

    assert background_value(image) == background
    assert bounding_box(foreground_mask(image)) == np.s_[3:9, 4:9, 2:11]
    assert foreground_mask(image).sum() == 6 * 5 * 9


def test_negative_values_inside_a_standardised_scan_are_foreground():
    inside = np.random.default_rng(0).standard_normal((6, 5, 9))

    assert foreground_mask(block(0.0, inside)).sum() >= 0.99 * inside.size


def test_one_hot_voxel_does_not_hide_the_patient():
    image = block(0.0, np.random.default_rng(0).uniform(100, 200, (6, 5, 9)))
    image[5, 5, 5] = 1e7

    assert foreground_mask(image).sum() == 6 * 5 * 9


def test_a_crop_from_inside_the_head_has_no_background():
    image = np.random.default_rng(0).uniform(0, 1, (8, 8, 8)).astype(np.float32)

    assert background_value(image) is None
    assert foreground_mask(image).all()


def test_the_box_of_an_empty_mask_is_the_whole_volume():
    assert bounding_box(np.zeros((3, 4, 5), dtype=bool)) == np.s_[0:3, 0:4, 0:5]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10),
    shape=st.none() | st.tuples(*[st.integers(2, 18)] * 3),
    crop=st.booleans(),
    orientation=st.sampled_from(["RAS", "LIP"]),
)
def test_mask_and_lost_voxels_are_together_all_of_the_foreground(seed, shape, crop, orientation):
    rng = np.random.default_rng(seed)
    data, labels = np.zeros((12, 9, 10)), rng.random((12, 9, 10)) < 0.1
    data[3:9, 2:8, 4:9] = rng.uniform(5, 9, (6, 6, 5))
    pair, values = pair_of(data, labels), config(crop_foreground=crop, shape=shape, orientation=orientation)
    done, placed = preprocess(pair, values), prepare_scan(pair.images, values.preprocess).placement
    whole = preprocess(pair, config(crop_foreground=False, orientation=orientation)).mask

    first = np.add(placed.box_start, placed.start)
    there = {tuple(voxel) for voxel in np.argwhere(whole) - first}
    kept, lost = ({tuple(voxel) for voxel in voxels} for voxels in (np.argwhere(done.mask), done.lost))
    assert kept | lost == there and not kept & lost
    assert len(done.lost) == len(lost) == pytest.approx(done.cropped_away * len(there))
