"""Changes of intensities: what they keep, and what a scanner would say to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from dwp_sweep.data.augment.draw import Tone
from dwp_sweep.data.augment.intensity import toned
from dwp_sweep.data.augment.separable import along_axes, blur_matrix, coarse_matrix, spline_matrix
from tests.data.augment.volumes import CPU, noisy_case

MM = (1.0, 1.0, 1.0)
IMAGE = torch.from_numpy(noisy_case((14, 16, 12)).image[0])
INSIDE = IMAGE != 0
TONES = {
    "remap": Tone(remap=(0.9, 0.1, 0.5, 0.7, 0.0, 0.3)),
    "gamma": Tone(gamma=0.6),
    "gain": Tone(gain=1.3),
    "blur": Tone(blur=0.8),
    "low resolution": Tone(low_resolution=0.5),
    "noise": Tone(noise=0.1, noise_seed=4),
}


@pytest.mark.parametrize("name", TONES)
def test_background_stays_what_it_was_and_the_patient_changes(name: str) -> None:
    for background in (0.0, -1.0):
        image = torch.where(INSIDE, IMAGE, background)
        found = toned(image, TONES[name], MM, background)
        assert torch.equal(found[~INSIDE], image[~INSIDE])
        assert not torch.allclose(found[INSIDE], image[INSIDE], atol=1e-3)
        assert torch.isfinite(found).all()


@pytest.mark.parametrize("name", ["remap", "gamma"])
def test_other_contrasts_keep_mean_and_deviation_of_the_patient(name: str) -> None:
    found = toned(IMAGE, TONES[name], MM, 0.0)[INSIDE]
    assert float(found.mean()) == pytest.approx(float(IMAGE[INSIDE].mean()), abs=1e-4)
    assert float(found.std()) == pytest.approx(float(IMAGE[INSIDE].std()), rel=1e-4)


def test_gamma_keeps_the_order_of_intensities_and_a_falling_curve_inverts_it() -> None:
    order = IMAGE[INSIDE].argsort()
    assert (toned(IMAGE, TONES["gamma"], MM, 0.0)[INSIDE][order].diff() >= 0).all()
    falling = Tone(remap=tuple(np.linspace(1, 0, 6)))
    inverted = toned(IMAGE, falling, MM, 0.0)[INSIDE]
    mean = IMAGE[INSIDE].mean()
    assert torch.allclose(inverted - mean, mean - IMAGE[INSIDE], atol=1e-4)
    rising = Tone(remap=tuple(np.linspace(0, 1, 6)))
    assert torch.allclose(toned(IMAGE, rising, MM, 0.0), IMAGE, atol=1e-4)


def test_a_gain_is_a_factor_about_the_mean_of_the_patient() -> None:
    found = toned(IMAGE, TONES["gain"], MM, 0.0)[INSIDE]
    inside = IMAGE[INSIDE]
    assert torch.allclose(found, inside.mean() + 1.3 * (inside - inside.mean()), atol=1e-5)


def test_noise_has_its_deviation_and_its_seed() -> None:
    image = torch.from_numpy(noisy_case((30, 30, 30)).image[0])
    inside = image != 0
    noise = (toned(image, TONES["noise"], MM, 0.0) - image)[inside]
    assert float(noise.std()) == pytest.approx(0.1, rel=0.03) and abs(float(noise.mean())) < 0.003
    again = toned(image, TONES["noise"], MM, 0.0)
    other = toned(image, Tone(noise=0.1, noise_seed=5), MM, 0.0)
    assert torch.equal(again, toned(image, TONES["noise"], MM, 0.0)) and not torch.equal(again, other)


def test_a_blur_is_scipy_s_gaussian_away_from_the_ends() -> None:
    image = torch.from_numpy(np.random.default_rng(0).standard_normal((20, 18, 22)).astype(np.float32))
    found = along_axes(image, [blur_matrix(n, 0.9, CPU) for n in image.shape])
    expected = ndimage.gaussian_filter(image.numpy(), 0.9, truncate=8)
    assert np.allclose(found[5:-5, 5:-5, 5:-5], expected[5:-5, 5:-5, 5:-5], atol=1e-5)


def test_thick_slices_are_blurred_and_thinned_as_much_less() -> None:
    image = torch.zeros(17, 17, 17)
    image[8, 8, 8] = 1
    image[image == 0] = 1e-9  # no background
    found = toned(image, Tone(blur=1.0), (1.0, 1.0, 4.0), 0.0)
    place = torch.arange(17) - 8.0
    stds = [float((found.sum(other) @ place**2 / found.sum()).sqrt()) for other in ((1, 2), (0, 1))]
    assert stds[0] == pytest.approx(1, rel=0.05)
    assert stds[1] < 0.3
    noise = torch.randn(16, 16, 16, generator=torch.Generator().manual_seed(0))
    coarse = toned(noise, Tone(low_resolution=0.5), (1.0, 1.0, 2.0), 0.0)
    rough = [float(coarse.diff(dim=axis).square().mean()) for axis in range(3)]
    assert rough[2] > 3 * rough[0], "slices of 2 mm are as coarse as half of 1 mm already"


@pytest.mark.parametrize("n", [2, 7, 16])
def test_matrices_keep_a_constant(n: int) -> None:
    for matrix in (blur_matrix(n, 0.7, CPU), coarse_matrix(n, 0.5, CPU), spline_matrix(n, 3.0, CPU)):
        assert matrix is not None and len(matrix) == n
        assert torch.allclose(matrix.sum(1), torch.ones(n), atol=1e-6)


def test_nothing_is_done_where_nothing_is_to_do() -> None:
    assert toned(IMAGE, Tone(noise_seed=9), MM, 0.0) is IMAGE
    empty = torch.zeros(4, 4, 4)
    assert torch.equal(toned(empty, TONES["gamma"], MM, 0.0), empty)
    flat = torch.full((4, 4, 4), 2.0)
    for tone in TONES.values():
        assert torch.isfinite(toned(flat, tone, MM, 0.0)).all()
