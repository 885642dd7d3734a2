from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from dwp_sweep.data.cache.cases import Case
from dwp_sweep.data.patches import PatchConfig, PatchSampler, padded_shape, require_patch_fits, too_large
from dwp_sweep.errors import InputError
from dwp_sweep.strict import parse


def case(shape: tuple[int, int, int] = (24, 20, 16), n_channels: int = 1) -> Case:
    index = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    mask = np.zeros(shape, dtype=np.uint8)
    mask[3, 4, 5] = mask[-1, -1, -1] = mask[-1, -2, -1] = 1
    return Case("s", np.stack([index + 1000 * n for n in range(n_channels)]), mask, background=-1.0)


def sampler(shape: tuple[int, int, int], share: float = 0.5, seed: int = 7) -> PatchSampler:
    return PatchSampler(PatchConfig(shape=shape, foreground_share=share), seed)


def test_a_patch_is_a_piece_of_image_and_mask_at_the_same_place():
    one = case(n_channels=2)
    for step in range(30):
        patch = sampler((8, 16, 8)).draw(one, step, 0)
        first = int(patch.image[0, 0, 0, 0])
        d, h, w = np.unravel_index(first, one.mask.shape)
        box = np.s_[d : d + 8, h : h + 16, w : w + 8]
        np.testing.assert_array_equal(patch.image, one.image[(slice(None), *box)])
        np.testing.assert_array_equal(patch.mask, one.mask[box])


def test_a_patch_depends_on_seed_step_and_row_alone():
    one, shape = case(), (8, 8, 8)
    drawn = sampler(shape)
    for step in range(5):  # draws that came before change nothing, as after a resume
        drawn.draw(one, step, 0)

    def at(found: PatchSampler, step: int, row: int) -> float:
        return float(found.draw(one, step, row).image[0, 0, 0, 0])

    assert at(drawn, 9, 1) == at(sampler(shape), 9, 1)
    places = {at(drawn, step, row) for step in range(20) for row in range(2)}
    assert len(places) > 20
    assert [at(sampler(shape, seed=8), n, 0) for n in range(9)] != [at(drawn, n, 0) for n in range(9)]


def test_foreground_patches_hold_foreground_and_every_voxel_of_it_gets_its_turn():
    one, foreground = case(), sampler((8, 8, 8), share=1.0)
    drawn = [foreground.draw(one, step, 0) for step in range(300)]

    assert all(patch.mask.any() for patch in drawn)
    # Around the corner voxel, a third of the draws, its neighbour is always there too; around the
    # neighbour, another third, the corner is there in one of the two places that a patch can take.
    counts = Counter(int(patch.mask.sum()) for patch in drawn)
    assert counts[2] / 300 == pytest.approx(1 / 2, abs=0.1) and counts[1] + counts[2] == 300


def test_the_others_lie_anywhere_in_the_volume():
    one, anywhere = case(), sampler((8, 8, 8), share=0.0)
    starts = np.array(
        [
            np.unravel_index(int(anywhere.draw(one, step, 0).image[0, 0, 0, 0]), one.mask.shape)
            for step in range(400)
        ]
    )

    assert starts.min(0).tolist() == [0, 0, 0]
    assert starts.max(0).tolist() == [16, 12, 8]
    assert np.abs(starts.mean(0) - [8, 6, 4]).max() < 1


def test_a_volume_without_foreground_gives_patches_all_the_same():
    empty = Case("s", np.ones((1, 16, 16, 16), dtype=np.float32), np.zeros((16, 16, 16), dtype=np.uint8))

    assert sampler((8, 8, 8), share=1.0).draw(empty, 0, 0).image.shape == (1, 8, 8, 8)


def test_a_smaller_volume_is_padded_on_both_sides_with_its_background():
    patch = sampler((16, 32, 16)).draw(case((16, 20, 10)), 0, 0)

    assert patch.image.shape == (1, 16, 32, 16) and patch.mask.shape == (16, 32, 16)
    np.testing.assert_array_equal(patch.image[:, :, 6:26, 3:13], case((16, 20, 10)).image)
    assert (patch.image == -1).sum() == 16 * 32 * 16 - 16 * 20 * 10


@pytest.mark.parametrize("shape", [[20, 16, 16], [0, 8, 8], [-8, 8, 8]])
def test_a_shape_that_is_no_multiple_of_8_is_refused_by_its_key(shape):
    with pytest.raises(InputError, match=r"target\.patch\.shape = .*multiples of 8"):
        parse(PatchConfig, {"shape": shape}, "file", "target.patch")


def test_a_patch_may_be_as_large_as_the_padded_volume_and_no_larger():
    volumes = [(22, 30, 40), (20, 33, 40)]

    assert padded_shape((22, 33, 40)) == (24, 40, 40)
    assert too_large(PatchConfig(shape=(24, 40, 40)), volumes, "target.patch") == ()
    assert too_large(PatchConfig(), volumes, "target.patch") == ()
    (problem,) = too_large(PatchConfig(shape=(32, 40, 40)), volumes, "target.patch")
    assert problem.where == "target.patch.shape" and "[24, 40, 40]" in str(problem)
    with pytest.raises(InputError, match=r"source\.patch\.shape.*larger than the volumes"):
        require_patch_fits(PatchConfig(shape=(32, 8, 8)), [case()], "source.patch")
