"""The phantom's source tasks from alike to unlike the target: one property at a time, defaults as before."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from dwp_sweep.data.config import DatasetConfig, PhantomConfig
from dwp_sweep.data.phantom.dataset import _description, _settings
from dwp_sweep.data.phantom.subject import PhantomScan, scan_subject, spacing_of
from dwp_sweep.strict import keyed_values

SHAPE = (40, 40, 40)
NEW = ("disease", "contrast", "slice_ratio", "lesion_scale", "noise")


def scan(**values: Any) -> PhantomScan:
    return scan_subject(PhantomConfig(shape=SHAPE, **values), 0)


def brightness(found: PhantomScan) -> tuple[float, float]:
    """Of lesion and of the healthy brain."""
    is_ill = found.labels > 0
    return float(found.image[is_ill].mean()), float(found.image[(found.image > 0) & ~is_ill].mean())


@pytest.mark.parametrize(("kind", "digest"), [("source", "eb0d6c3064214be8"), ("target", "d93eae193bda5a7e")])
def test_without_new_settings_every_voxel_is_as_before(kind: Any, digest: str) -> None:
    found = hashlib.sha256()
    for index in range(2):
        one = scan_subject(PhantomConfig(kind=kind, shape=(16, 16, 16), seed=3), index)
        for part in (one.image, one.labels, one.affine):
            found.update(part.tobytes())
    assert found.hexdigest()[:16] == digest


def test_settings_that_are_the_kind_s_take_no_part_in_keys_and_files() -> None:
    plain = PhantomConfig()
    dataset = keyed_values(DatasetConfig(layout="phantom", phantom=plain))
    assert set(dataset["phantom"]) == {"kind", "n_subjects", "shape", "seed"}
    assert not set(_settings(plain)) & set(NEW)
    assert set(_settings(PhantomConfig(noise=2.0, contrast=0.0))) >= {"noise", "contrast"}


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("source", {"disease": "lesions", "contrast": 0.5, "slice_ratio": 1.5}),
        ("target", {"disease": "tumour", "contrast": 0.0, "slice_ratio": 1.0}),
    ],
)
def test_the_kind_s_own_values_given_by_name_change_no_voxel(kind: str, own: dict[str, Any]) -> None:
    plain, named = scan(kind=kind), scan(kind=kind, **own)
    np.testing.assert_array_equal(plain.image, named.image)
    np.testing.assert_array_equal(plain.labels, named.labels)
    np.testing.assert_allclose(plain.affine, named.affine, rtol=1e-12)


def test_each_setting_changes_its_own_property_alone() -> None:
    plain = scan()
    for values in ({"contrast": 1.0}, {"noise": 3.0}):
        np.testing.assert_array_equal(scan(**values).labels, plain.labels)
    assert (scan(disease="tumour").labels == 2).any() and not (plain.labels == 2).any()


def test_contrast_goes_from_the_target_s_over_flair_to_its_inverse() -> None:
    tumours = [scan(disease="tumour", contrast=value) for value in (0.0, 0.5, 1.0)]
    ratios = [lesion / brain for lesion, brain in map(brightness, tumours)]
    assert ratios[0] > 1.2 and ratios[1] > 1.2 and ratios[2] < 1
    # A contrast and its inverse add up to a constant, but for the scanner's bias.
    first, second = (scan(contrast=value, noise=0.0) for value in (0.0, 1.0))
    # The rim of the head has voxels that are brain in part.
    healthy = binary_erosion(first.image > 0, iterations=3) & (first.labels == 0)
    one, both = first.image[healthy].astype(float), (first.image + second.image)[healthy].astype(float)
    assert both.std() / both.mean() < 0.5 * one.std() / one.mean()


def test_contrasts_between_two_are_their_mixture() -> None:
    ends = [scan(disease="tumour", contrast=value, noise=0.0).image.astype(float) for value in (0, 0.5)]
    middle = scan(disease="tumour", contrast=0.25, noise=0.0).image.astype(float)
    inside = middle > 1
    assert np.abs(middle - (ends[0] + ends[1]) / 2)[inside].max() < 2


def test_slices_are_as_thick_as_the_ratio_says_and_the_head_fits() -> None:
    for ratio in (1.0, 1.5, 3.0):
        size = spacing_of(PhantomConfig(shape=(32, 32, 32), slice_ratio=ratio))
        assert size[2] == pytest.approx(ratio * size[0]) and size[0] == size[1]
        assert all(mm * 32 >= head - 1e-9 for mm, head in zip(size, (154, 194, 150), strict=True))
    flat = spacing_of(PhantomConfig(shape=(32, 32, 8), slice_ratio=1.0))
    assert flat[2] * 8 >= 150, "few slices of a small ratio make all voxels larger"


def test_lesions_grow_by_the_factor() -> None:
    def core(scale: float) -> float:
        config = PhantomConfig(kind="target", shape=SHAPE, lesion_scale=scale)
        return float(np.mean([(scan_subject(config, index).labels == 2).sum() for index in range(3)]))

    volumes = [core(scale) for scale in (0.5, 1.0, 1.5)]
    assert 4 < volumes[1] / volumes[0] < 13 and 2 < volumes[2] / volumes[1] < 4
    small, plain = (scan(lesion_scale=scale).labels.sum() for scale in (0.3, 1.0))
    assert 0 < small < plain


def test_noise_is_as_many_times_as_loud() -> None:
    def noise(factor: float) -> float:
        clean, noisy = (scan(kind="target", noise=value).image.astype(float) for value in (0.0, factor))
        return float((noisy - clean)[clean > 200].std())

    assert noise(2.0) / noise(1.0) == pytest.approx(2, rel=0.1)


def test_the_description_says_what_was_drawn() -> None:
    described = _description(PhantomConfig(disease="tumour", contrast=1.0, n_subjects=1))
    assert described["labels"] == {"0": "background", "1": "oedema", "2": "core"}
    assert "contrast 1 between" in described["modality"]["0"]
    assert _description(PhantomConfig(n_subjects=1))["modality"] == {"0": "FLAIR-like"}
