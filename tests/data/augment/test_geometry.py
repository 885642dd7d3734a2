"""Turns, scales, bends and flips against what they must be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dwp_sweep.data.augment.augmenter import changed
from dwp_sweep.data.augment.draw import Changes, Tone, turn
from dwp_sweep.data.augment.geometry import Box, mirrored, read_box, read_moved
from dwp_sweep.data.cache.cases import Case
from tests.data.augment.volumes import CPU, ball, noisy_case, whole

OTHERS = ((1, 2), (0, 2), (0, 1))


def by(matrix: np.ndarray, **more: float) -> Changes:
    return Changes(matrix=tuple(tuple(map(float, row)) for row in matrix), **more)


def test_no_change_gives_the_very_voxels() -> None:
    case = noisy_case()
    image, mask = changed(case, whole(case), Changes(tones=(Tone(),)), CPU)
    assert np.array_equal(image, case.image) and np.array_equal(mask, case.mask)
    image[:], mask[:] = 7, 7
    assert (case.image != 7).any() and (case.mask != 7).all(), "the case itself stays as it is"


@pytest.mark.parametrize("axis", range(3))
def test_a_turn_of_90_degrees_is_rot90(axis: int) -> None:
    case = noisy_case((11, 11, 11), n_channels=2)
    image, mask = read_moved(case, whole(case), by(turn(axis, 90)), CPU)
    first, second = OTHERS[axis]
    expected = torch.rot90(torch.from_numpy(case.image), 1, (first + 1, second + 1))
    assert torch.allclose(image, expected, atol=1e-4)
    assert torch.equal(mask, torch.rot90(torch.from_numpy(case.mask), 1, (first, second)))
    assert mask.dtype == torch.uint8


def test_a_turn_keeps_lengths_in_mm_where_voxels_are_longer_along_one_axis() -> None:
    # A rod of 25 x 1 x 3 mm along voxels of 1 mm; turned upright it crosses voxels of 3 mm.
    mask = np.zeros((41, 5, 15), dtype=np.uint8)
    mask[8:33, 2, 7] = 1
    case = Case("rod", mask[None].astype(np.float32), mask, (1.0, 1.0, 3.0))
    _, turned = read_moved(case, whole(case), by(turn(1, 90)), CPU)
    places = torch.nonzero(turned)
    assert places[:, 0].unique().tolist() == [19, 20, 21]
    assert places[:, 2].unique().tolist() == list(range(3, 12)), "9 voxels of 3 mm"


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (1.0, 1.0, 2.5)])
@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_a_ball_grows_by_the_determinant(spacing_mm: tuple[float, float, float], factor: float) -> None:
    case = ball((64, 64, 64), spacing_mm, 18.0)
    changes = by(turn(0, 20) @ turn(2, 30) * factor)
    image, mask = read_moved(case, whole(case), changes, CPU)
    before, after = case.mask.sum(), mask.sum()
    assert float(after) / before == pytest.approx(factor**3, rel=0.03)
    assert float(image.sum()) / before == pytest.approx(factor**3, rel=0.03)


def test_a_ball_stays_itself_in_any_turn_of_anisotropic_voxels() -> None:
    case = ball((48, 48, 24), (1.0, 1.0, 2.0), 14.0)
    for matrix in (turn(0, 37), turn(1, 61), turn(2, 45), turn(0, 30) @ turn(1, 30)):
        _, mask = read_moved(case, whole(case), by(matrix), CPU)
        truth = torch.from_numpy(case.mask)
        assert 2 * float((mask & truth).sum()) / float(mask.sum() + truth.sum()) > 0.95


def test_a_marker_moves_with_its_label_under_every_change() -> None:
    rng = np.random.default_rng(1)
    for draw in range(20):
        mask = np.zeros((24, 26, 20), dtype=np.uint8)
        start = rng.integers(8, 12, 3)
        mask[tuple(slice(n, n + 3) for n in start)] = 1
        case = Case("marker", 5.0 * mask[None].astype(np.float32), mask, (1.0, 1.5, 2.0))
        matrix = turn(0, rng.uniform(-30, 30)) @ turn(2, rng.uniform(-30, 30)) * rng.uniform(0.9, 1.3)
        changes = by(matrix, bend=1.0, bend_distance=8.0, bend_seed=draw)
        image, label = mirrored(*read_moved(case, whole(case), changes, CPU), (True, draw % 2 == 0, False))
        bright = torch.nonzero(image[0] > 2.5).float().mean(0)
        assert torch.allclose(bright, torch.nonzero(label).float().mean(0), atol=0.5)


def test_labels_stay_whole_numbers() -> None:
    case = noisy_case()
    changes = by(turn(0, 17) @ turn(1, 31) * 1.1, bend=0.8, bend_distance=6.0)
    _, mask = read_moved(case, whole(case), changes, CPU)
    assert set(mask.unique().tolist()) <= {0, 1, 2, 3} and len(mask.unique()) == 4


def test_what_lies_beyond_the_volume_is_background() -> None:
    case = noisy_case(background=-1.0)
    image, mask = read_moved(case, whole(case), by(np.eye(3) * 0.5), CPU)
    assert (image[0, 0] == -1).all() and (mask[0] == 0).all()
    assert float(image.min()) >= float(case.image.min())
    far, label = read_moved(case, Box((-40, 0, 0), (8, 8, 8)), by(turn(0, 10)), CPU)
    assert (far == -1).all() and (label == 0).all()


def test_a_turned_patch_shows_what_the_turned_volume_shows() -> None:
    case = noisy_case((30, 30, 30))
    box, changes = Box((7, 7, 7), (16, 16, 16)), by(turn(2, 25) @ turn(0, 10) * 1.1)
    image, mask = read_moved(case, box, changes, CPU)  # about the same middle as the volume's
    volume, labels = read_moved(case, whole(case), changes, CPU)
    assert torch.allclose(image, volume[:, 7:23, 7:23, 7:23], atol=1e-4)
    assert float((mask == labels[7:23, 7:23, 7:23]).float().mean()) > 0.999
    assert (image != 0).all(), "no corner is filled with background"


def test_a_patch_that_reaches_beyond_its_volume_is_padded_there() -> None:
    case = noisy_case((10, 12, 8))
    box = Box((-3, 0, 0), (16, 12, 8))
    plain, _ = read_box(case, box, CPU)
    turned, _ = read_moved(case, box, by(turn(1, 180)), CPU)
    assert turned.shape == plain.shape == (1, 16, 12, 8)
    assert torch.allclose(turned, plain.flip(1, 3), atol=1e-4)


def test_a_bend_moves_voxels_and_folds_none() -> None:
    n = 32
    ramps = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) + 1 for _ in range(3)), indexing="ij"))
    case = Case("ramps", ramps, np.zeros((n, n, n), dtype=np.uint8))
    changes = Changes(bend=2.0, bend_distance=12.0, bend_seed=3)
    image, _ = read_moved(case, whole(case), changes, CPU)
    inner = image[:, 6:-6, 6:-6, 6:-6]
    plain = torch.from_numpy(ramps[:, 6:-6, 6:-6, 6:-6])
    assert 0.3 < float((inner - plain).std()) < 2.0
    jacobian = torch.stack([torch.stack(torch.gradient(channel), -1) for channel in inner], -2)
    assert float(torch.linalg.det(jacobian).min()) > 0


def test_a_single_slice_turns_and_bends_within_itself() -> None:
    mask = np.zeros((21, 21, 1), dtype=np.uint8)
    mask[4:9, 10, 0] = 1
    case = Case("slice", mask[None].astype(np.float32), mask, (1.0, 1.0, 5.0))
    image, label = read_moved(case, whole(case), by(turn(2, 90), bend=0.01), CPU)
    assert float(image.sum()) == pytest.approx(5, rel=0.02)
    assert torch.equal(label, torch.rot90(torch.from_numpy(mask), 1, (0, 1)))
