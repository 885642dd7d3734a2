"""The same scan stored in another way gives the same segmentation in the same places."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage

from dwp_sweep.data.files.volumes import Volume
from dwp_sweep.metrics.calibration import entropy
from dwp_sweep.metrics.overlap import overlap
from dwp_sweep.metrics.temperature import Temperature
from dwp_sweep.prediction.segment import Segmentation, mask_on_scan, numbers_on_scan, segment
from dwp_sweep.prediction.trained import Trained, find_trained
from tests.prediction.conftest import AFFINE, KEY

TURNS = [
    ((0, 1, 2), (1, 1, 1)),
    ((0, 1, 2), (-1, 1, -1)),
    ((1, 0, 2), (1, -1, 1)),  # a quarter turn
    ((2, 0, 1), (1, 1, 1)),
    ((2, 1, 0), (-1, -1, -1)),
]


def stored(data: np.ndarray, affine: np.ndarray) -> list[Volume]:
    data = np.ascontiguousarray(data, dtype=np.float32)
    spacing = tuple(float(n) for n in nib.affines.voxel_sizes(affine))
    return [Volume(data, affine, spacing)]  # type: ignore[arg-type]


def turn_of(axes, flips) -> np.ndarray:
    return nib.orientations.ornt_transform(
        np.stack([np.arange(3), np.ones(3)], axis=1), np.stack([axes, flips], axis=1)
    )


FINE = np.eye(4)


def thin_and_thick(scan: np.ndarray, trained: Trained) -> tuple[Segmentation, Segmentation]:
    """Segmentations of a scan of 1 mm slices and of its copy with slices of 2 mm."""
    coarse = np.diag([1.0, 1.0, 2.0, 1.0])
    coarse[2, 3] = 0.5  # a thick slice lies between the two that it is the mean of
    thick = (scan[..., ::2] + scan[..., 1::2]) / 2
    return segment(stored(scan, FINE), trained), segment(stored(thick, coarse), trained)


def teach(net: torch.nn.Module, image: np.ndarray, mask: np.ndarray) -> None:
    """Forty steps on one scan."""
    optimizer = torch.optim.Adam(net.train().parameters(), lr=0.02)
    inputs, truth = torch.from_numpy(image)[None], torch.from_numpy(mask.astype(np.int64))[None]
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(inputs), truth, weight=torch.tensor([1.0, 10.0])).backward()
        optimizer.step()
    net.eval()


def network(storage: Path, add_target, **settings) -> Trained:
    return find_trained(add_target(**settings), storage, device="cpu")


@pytest.mark.parametrize(("axes", "flips"), TURNS)
@pytest.mark.parametrize(
    ("preprocess", "target", "log_var"),
    [
        ({"shape": [16, 16, 8]}, {}, None),
        ({"shape": [20, 10, 12], "orientation": "SRA", "crop_foreground": False}, {}, -3.0),
        ({}, {"patch": {"shape": [8, 8, 8]}}, -3.0),
    ],
)
def test_turned_and_flipped_copies_get_the_same_segmentation_exactly(
    storage, add_target, scan, axes, flips, preprocess, target, log_var
):
    trained = network(storage, add_target, preprocess=preprocess, target=target, log_var=log_var)
    turn = turn_of(axes, flips)
    turned = nib.orientations.apply_orientation(scan, turn)
    affine = AFFINE @ nib.orientations.inv_ornt_aff(turn, scan.shape)

    straight = segment(stored(scan, AFFINE), trained)
    other = segment(stored(turned, affine), trained)

    assert 0 < straight.mask.sum() < straight.mask.size and straight.mask.shape == scan.shape
    for name in ("mask", "probability", "uncertainty"):
        expected = nib.orientations.apply_orientation(getattr(straight, name), turn)
        np.testing.assert_array_equal(getattr(other, name), expected)
    assert other.volume_ml == pytest.approx(straight.volume_ml)
    assert straight.volume_ml == pytest.approx(straight.mask.sum() * 3 / 1000)


def test_an_anisotropic_copy_gets_nearly_the_same_segmentation(storage, add_target):
    """Where training resamples, so does the way back: the same places, up to what interpolation loses."""
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=(32, 32, 32)), 3).astype(np.float32)
    smooth += np.float32(5 - smooth.min())
    trained = network(storage, add_target, preprocess={"spacing_mm": [1, 1, 1], "crop_foreground": False})

    straight, thick = thin_and_thick(smooth, trained)

    assert thick.mask.shape == (32, 32, 16)
    expected = (straight.probability[..., ::2] + straight.probability[..., 1::2]) / 2
    inner = (slice(4, -4), slice(4, -4), slice(2, -2))
    close = np.abs(thick.probability - expected)[inner]
    spread = np.abs(expected - expected[inner].mean())[inner]
    shifted = np.abs(thick.probability - np.roll(expected, 2, axis=2))[inner]
    assert close.mean() < 0.35 * spread.mean() and close.mean() < 0.5 * shifted.mean()
    # Measured: 0.80, and 0.52 one slice off; what an untrained network says hangs on single voxels.
    back = np.repeat(thick.mask, 2, axis=2)
    assert overlap(back, straight.mask).dice >= 0.75 > overlap(np.roll(back, 2, axis=2), straight.mask).dice


@pytest.mark.slow
def test_an_anisotropic_copy_gets_the_same_lesion_from_a_network_that_learned_it(storage, add_target):
    """Measured for this and three other scans: Dice 0.91 to 0.95, and 0.70 to 0.76 one slice off."""
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.normal(size=(32, 32, 32)), 1.5)
    grid = (np.indices(noise.shape).T - [14, 17, 15]).T
    lesion = np.einsum("i...,i->...", grid**2, 1 / np.array([7.0, 5.0, 6.0]) ** 2) < 1
    bright = ndimage.gaussian_filter(lesion.astype(float), 0.7)
    scan = (50 + 10 * noise / noise.std() + 30 * bright).astype(np.float32)
    trained = network(storage, add_target, preprocess={"spacing_mm": [1, 1, 1], "crop_foreground": False})
    teach(trained.net, segment(stored(scan, FINE), trained).case.image, lesion)

    straight, thick = thin_and_thick(scan, trained)

    back = np.repeat(thick.mask, 2, axis=2)
    assert overlap(straight.mask, lesion).dice > 0.8
    assert overlap(back, straight.mask).dice >= 0.88 > overlap(np.roll(back, 2, axis=2), straight.mask).dice


def test_voxels_are_compared_as_the_network_sees_them(storage, add_target, scan):
    """Turned as in training, and resampled where training resampled: then nothing is left to tell."""
    trained_mm = {"facts": {"spacing_mm": [2.0, 1.5, 1.0]}}
    turned = network(storage, add_target, preprocess={"orientation": "SRA"}, **trained_mm)
    plain = network(storage, add_target, key="cc" * 10, **trained_mm)
    resampled = network(
        storage,
        add_target,
        key="dd" * 10,
        preprocess={"spacing_mm": [3, 3, 3]},
        facts={"spacing_mm": [3.0, 3.0, 3.0]},
    )

    assert segment(stored(scan, AFFINE), turned).notes == segment(stored(scan, AFFINE), resampled).notes == ()
    (note,) = segment(stored(scan, AFFINE), plain).notes
    assert "1.5 x 1 x 2 mm" in note and "2 x 1.5 x 1 mm" in note


@pytest.mark.parametrize("log_var", [None, -3.0])
def test_the_uncertainty_is_the_entropy_of_the_probability(storage, add_target, scan, log_var):
    found = segment(stored(scan, AFFINE), network(storage, add_target, log_var=log_var))

    probs = np.stack([1 - found.probability, found.probability])
    outside = found.probability == 0
    np.testing.assert_allclose(found.uncertainty[~outside], entropy(probs)[~outside], atol=1e-5)
    assert not found.uncertainty[outside].any() and outside.any()
    assert found.uncertainty.max() <= np.log(2) + 1e-6


@pytest.mark.parametrize("n_samples", [0, 3])
@pytest.mark.parametrize("spacing", [None, [1.3, 1.2, 1.7]])
@pytest.mark.parametrize("log_var", [None, -3.0])
def test_the_mask_is_where_the_probability_passes_one_half(
    storage, add_target, scan, log_var, spacing, n_samples
):
    trained = network(storage, add_target, log_var=log_var, preprocess={"spacing_mm": spacing})
    found = segment(stored(scan, AFFINE), replace(trained, n_samples=n_samples))

    assert 0 < found.mask.sum() < found.mask.size
    np.testing.assert_array_equal(found.mask, found.probability > 0.5)


def test_without_draws_a_variational_network_is_its_posterior_mean(storage, add_target, scan):
    plain = segment(stored(scan, AFFINE), network(storage, add_target))
    variational = network(storage, add_target, key="dd" * 10, log_var=-3.0)
    mean = segment(stored(scan, AFFINE), replace(variational, n_samples=0))
    draws = segment(stored(scan, AFFINE), variational)

    np.testing.assert_array_equal(mean.mask, plain.mask)
    np.testing.assert_allclose(mean.probability, plain.probability, atol=1e-6)
    np.testing.assert_allclose(mean.uncertainty, plain.uncertainty, atol=1e-5)
    assert (draws.mask != mean.mask).any()


def test_the_mask_of_draws_is_cleaned_up_as_the_run_says(storage, add_target, scan):
    clean = {"postprocess": {"largest_component": True}}
    raw = segment(stored(scan, AFFINE), network(storage, add_target, log_var=-3.0))
    found = segment(
        stored(scan, AFFINE), network(storage, add_target, key="cc" * 10, log_var=-3.0, target=clean)
    )

    pieces, n_pieces = ndimage.label(raw.mask, np.ones((3, 3, 3)))
    assert n_pieces > 1
    largest = np.bincount(pieces.ravel())[1:].argmax() + 1
    np.testing.assert_array_equal(found.mask, pieces == largest)


def test_what_a_crop_leaves_out_is_background_and_told(storage, add_target, scan):
    found = segment(stored(scan, AFFINE), network(storage, add_target, preprocess={"shape": [8, 8, 8]}))

    assert found.unseen == pytest.approx(1 - 8 * 8 * 8 / (14 * 12 * 8))
    assert (found.probability > 0).sum() <= 8**3 and found.case.image.shape == (1, 8, 8, 8)


def test_what_a_clean_up_dropped_does_not_come_back_by_resampling(storage, add_target, scan):
    spacing = {"spacing_mm": [1.5, 1.5, 1.5]}
    raw = network(storage, add_target, preprocess=spacing)
    clean = network(
        storage,
        add_target,
        key="ff" * 10,
        preprocess=spacing,
        target={"postprocess": {"largest_component": True}},
    )

    one, other = (segment(stored(scan, AFFINE), trained) for trained in (raw, clean))

    n_pieces = [ndimage.label(found.case.mask, np.ones((3, 3, 3)))[1] for found in (one, other)]
    assert n_pieces[0] > 1 == n_pieces[1]
    assert 0 < other.mask.sum() < one.mask.sum()
    np.testing.assert_array_equal(one.probability, other.probability)


def test_after_resampling_the_mask_is_that_of_the_resampled_probability_without_what_was_cleaned_up():
    class Doubling:
        is_exact = False

        def to_scan(self, values, fill):
            return np.repeat(values, 2, axis=0)

    probability, mask = np.array([[[0.7, 0.2, 0.9]]], np.float32), np.array([[[True, False, False]]])
    on_scan = mask_on_scan(mask, probability, Doubling())  # type: ignore[arg-type]
    assert on_scan.tolist() == [[[1, 0, 0]], [[1, 0, 0]]]


CLASSES = {"oedema": [9, 7], "core": [3]}


@pytest.mark.parametrize("spacing", [None, (1.2, 1.2, 1.2)])
def test_with_classes_the_mask_has_the_labels_of_the_user_and_each_class_its_probability(
    spacing, storage, add_target, scan
):
    preprocess = {"spacing_mm": spacing}
    found = segment(
        stored(scan, AFFINE), network(storage, add_target, classes=CLASSES, preprocess=preprocess)
    )

    assert found.class_names == ("core", "oedema")
    assert set(np.unique(found.mask)) == {0, 3, 7} and found.mask.dtype == np.uint8
    assert found.probability.shape == (*scan.shape, 2)
    background = 1 - found.probability.sum(axis=-1)
    inside = background < 0.999  # outside the crop nothing is said
    likeliest = np.stack([background, *np.moveaxis(found.probability, -1, 0)]).argmax(axis=0)
    agreeing = np.array([0, 3, 7])[likeliest] == found.mask
    assert agreeing[inside].mean() > 0.999
    assert sum(found.volumes_ml.values()) == pytest.approx(found.volume_ml)


def test_resampled_classes_are_the_likeliest_ones_and_what_was_cleaned_up_stays_away():
    class Doubling:
        is_exact = False

        def to_scan(self, values, fill):
            return np.repeat(values, 2, axis=0)

    probs = np.array([[0.2, 0.1, 0.5], [0.7, 0.3, 0.3], [0.1, 0.6, 0.2]], np.float32).reshape(3, 1, 1, 3)
    mask = np.array([[[1, 0, 0]]], np.uint8)  # the second voxel, of class 2, was cleaned up
    assert numbers_on_scan(mask, probs, Doubling()).tolist() == [[[1, 0, 0]], [[1, 0, 0]]]  # type: ignore[arg-type]


def test_progress_counts_every_forward_pass(storage, add_target, scan):
    trained = network(storage, add_target, log_var=-3.0, target={"patch": {"shape": [8, 8, 8]}})
    seen: list[tuple[int, int]] = []

    segment(stored(scan, AFFINE), trained, lambda done, total: seen.append((done, total)))

    # 14 x 12 x 8 voxels in windows of 8, half of them shared; the mean network, then three draws.
    assert seen == [(done, 3 * 2 * 1 * 4) for done in range(25)]


def test_a_key_may_be_given_by_its_beginning(storage, add_target):
    add_target()
    assert find_trained(KEY[:6], storage, device="cpu").title == "random_init, m = 5, split 0, seed 3"


def test_probability_and_uncertainty_are_at_the_temperature_and_the_mask_does_not_move(
    scan: np.ndarray, storage: Path, add_target
) -> None:
    for log_var in (None, -4.0):
        trained = find_trained(add_target(key=f"{KEY[:-1]}{log_var is None:d}", log_var=log_var), storage)
        plain = segment(stored(scan, AFFINE), trained)
        warm = segment(stored(scan, AFFINE), replace(trained, temperature=Temperature(3.0, 2)))
        np.testing.assert_array_equal(warm.mask, plain.mask)
        seen = plain.uncertainty > 0
        odds = np.log(plain.probability[seen] / (1 - plain.probability[seen])) / 3
        np.testing.assert_allclose(warm.probability[seen], 1 / (1 + np.exp(-odds)), atol=1e-4)
        assert (warm.uncertainty[seen] >= plain.uncertainty[seen] - 1e-5).all()
