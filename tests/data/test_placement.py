"""Boxes of voxels, and the way back from a network's input to the scan."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms.croppad.array import ResizeWithPadOrCrop

from dwp_sweep.data.config import PreprocessConfig
from dwp_sweep.data.files.volumes import Volume
from dwp_sweep.data.placement import centred_start, cut, no_voxels, with_lost
from dwp_sweep.data.preprocess import prepare_scan

SPACING = (1.0, 2.0, 1.5)


def scan_of(data: np.ndarray, affine: np.ndarray) -> Volume:
    spacing = tuple(float(size) for size in nib.affines.voxel_sizes(affine))
    return Volume(np.ascontiguousarray(data, dtype=np.float32), affine, spacing)  # type: ignore[arg-type]


def head(shape: tuple[int, int, int] = (12, 10, 8), seed: int = 0) -> np.ndarray:
    data = np.zeros(shape, dtype=np.float32)
    data[2:-1, 1:-2, 1:-1] = np.random.default_rng(seed).uniform(
        5, 9, [n - 3 for n in shape[:2]] + [shape[2] - 2]
    )
    return data


def turned(data: np.ndarray, affine: np.ndarray, axes, flips) -> tuple[np.ndarray, np.ndarray]:
    """The same scan stored in other axes: other order of voxels, the same places in space."""
    turn = nib.orientations.ornt_transform(
        np.stack([np.arange(3), np.ones(3)], axis=1), np.stack([axes, flips], axis=1)
    )
    stored = nib.orientations.apply_orientation(data, turn)
    return stored, affine @ nib.orientations.inv_ornt_aff(turn, data.shape)


@settings(max_examples=16, deadline=None)
@given(
    axes=st.permutations([0, 1, 2]),
    flips=st.tuples(*[st.sampled_from([1, -1])] * 3),
    shape=st.none() | st.tuples(*[st.integers(3, 20)] * 3),
    crop=st.booleans(),
    orientation=st.sampled_from(["RAS", "LPS", "SRA", "PIR"]),
)
def test_what_a_voxel_gets_is_what_the_input_says_of_it_however_the_scan_is_stored(
    axes, flips, shape, crop, orientation
):
    oblique = nib.affines.from_matvec(
        nib.eulerangles.euler2mat(0.1, 0.05, -0.08) @ np.diag(SPACING), (-20.0, 7.0, 3.0)
    )
    data, affine = turned(head(), oblique, axes, flips)
    config = PreprocessConfig(shape=shape, crop_foreground=crop, orientation=orientation, window=(0.0, 10.0))
    scan = prepare_scan([scan_of(data, affine)], config)

    back = scan.placement.to_scan(scan.image[0], -7.0)

    assert scan.placement.is_exact and back.shape == data.shape
    kept = back != -7.0
    assert kept.any()
    np.testing.assert_allclose(back[kept], (data / 5 - 1)[kept], atol=1e-6)
    if shape is None:
        assert kept[data > 0].all() and scan.unseen == 0
    if shape is None and not crop:
        assert kept.all()


def test_a_crop_tells_how_much_of_the_patient_it_leaves_out():
    config = PreprocessConfig(shape=(9, 7, 3))  # of the patient's 9 x 7 x 6
    scan = prepare_scan([scan_of(head(), np.eye(4))], config)

    assert scan.unseen == pytest.approx(0.5)


@pytest.mark.parametrize("spacing_mm", [(2.0, 2.0, 2.0), (0.7, 1.1, 0.9)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1)])
def test_resampled_voxels_come_back_to_their_place_in_space(spacing_mm, flips):
    shape = (24, 20, 16)
    affine = nib.affines.from_matvec(np.diag(SPACING), (-10.0, 5.0, 2.0))
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    places_mm = nib.affines.apply_affine(affine, index)
    ramp = (places_mm @ [1.0, 0.5, -0.8]).astype(np.float32)
    data, stored_affine = turned(ramp, affine, (1, 2, 0), flips)
    config = PreprocessConfig(spacing_mm=spacing_mm, crop_foreground=False, window=(-100.0, 100.0))
    scan = prepare_scan([scan_of(data, stored_affine)], config)

    back = scan.placement.to_scan(scan.image[0], 0.0)

    assert not scan.placement.is_exact and back.shape == data.shape
    inner = (slice(3, -3),) * 3
    # Interpolating a ramp twice gives the ramp: any shift of the grid would show.
    np.testing.assert_allclose(back[inner] * 100, data[inner], atol=0.02)


def test_a_spacing_that_the_scan_has_already_is_no_resampling():
    affine = np.diag([*SPACING, 1.0])
    scan = prepare_scan([scan_of(head(), affine)], PreprocessConfig(spacing_mm=SPACING))

    assert scan.placement.is_exact


SIZES = st.tuples(*[st.integers(1, 9)] * 3)


@settings(max_examples=60, deadline=None)
@given(size=SIZES, shape=SIZES)
def test_the_centred_box_is_that_of_monais_crop_or_pad(size, shape):
    values = np.arange(1, 1 + np.prod(size), dtype=np.float32).reshape(size)
    resize = ResizeWithPadOrCrop(shape, mode="constant", constant_values=-3.0)

    found = cut(values, centred_start(size, shape), shape, -3.0)

    np.testing.assert_array_equal(found, resize(torch.from_numpy(values)[None])[0].numpy())


@settings(max_examples=60, deadline=None)
@given(size=SIZES, shape=SIZES, start=st.tuples(*[st.integers(-12, 12)] * 3))
def test_cutting_back_gives_the_volume_where_the_box_was_and_the_fill_elsewhere(size, shape, start):
    values = np.arange(1, 1 + np.prod(size), dtype=np.int32).reshape(size)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"))
    first, end = np.reshape(start, (3, 1, 1, 1)), np.reshape(np.add(start, shape), (3, 1, 1, 1))
    inside = ((index >= first) & (index < end)).all(0)

    box = cut(values, start, shape, 0)
    back = cut(box, [-n for n in start], size, 0)

    assert box.shape == tuple(shape) and (box > 0).sum() == inside.sum()
    np.testing.assert_array_equal(back, np.where(inside, values, 0))


def test_channels_are_cut_alike():
    values = np.random.default_rng(0).normal(size=(2, 5, 6, 7))

    box = cut(values, (-1, 2, 0), (4, 4, 9), 0.5)

    assert box.shape == (2, 4, 4, 9)
    for channel in range(2):
        np.testing.assert_array_equal(box[channel], cut(values[channel], (-1, 2, 0), (4, 4, 9), 0.5))


def test_axes_that_do_not_match_are_refused():
    with pytest.raises(ValueError):
        cut(np.zeros((3, 3, 3)), (0, 0), (2, 2, 2), 0)


def test_nothing_lost_leaves_masks_as_they_are():
    predicted, truth = np.ones((2, 3, 4), dtype=bool), np.zeros((2, 3, 4), dtype=bool)

    assert with_lost(predicted, truth, no_voxels()) == (predicted, truth)


def test_lost_voxels_are_truth_that_nobody_predicts_beyond_the_masks_and_in_their_padding():
    predicted, truth = np.ones((2, 2, 2), dtype=bool), np.zeros((2, 2, 2), dtype=bool)
    truth[0, 0, 0] = True
    lost = np.array([[-1, 0, 0], [1, 1, 3], [1, 1, 1]], dtype=np.int32)
    whole_predicted, whole_truth = with_lost(predicted, truth, lost)

    assert whole_predicted.shape == whole_truth.shape == (3, 2, 4)
    assert {tuple(voxel) for voxel in np.argwhere(whole_truth)} == {
        (1, 0, 0),
        (0, 0, 0),
        (2, 1, 3),
        (2, 1, 1),
    }
    assert whole_predicted.sum() == 8 and not whole_predicted[0].any() and not whole_predicted[..., 2:].any()
    assert truth.sum() == 1
