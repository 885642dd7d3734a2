"""Logits from windows, and the clean-up of masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dwp_sweep.data.patches import PatchConfig
from dwp_sweep.nets.bayes_conv import BayesConv3d, make_bayesian, sampling
from dwp_sweep.stages.prediction import PostprocessConfig, clean_mask, logits_of, n_windows
from dwp_sweep.training.compute import named_generator

PATCH = PatchConfig(shape=(8, 16, 8))
SIZES = [(8, 16, 8), (5, 9, 8), (20, 16, 8), (13, 40, 21), (6, 30, 30)]


def one_convolution() -> nn.Conv3d:
    torch.manual_seed(0)
    return nn.Conv3d(1, 2, 3, padding=1, bias=False)


def image(size: tuple[int, int, int]) -> Tensor:
    return torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(1))


def counted(net: nn.Module) -> tuple[nn.Module, list[tuple[int, ...]]]:
    seen: list[tuple[int, ...]] = []
    net.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[2:])))
    return net, seen


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.75])
def test_stitching_a_constant_gives_the_constant(size, overlap) -> None:
    def constant(part: Tensor) -> Tensor:
        return torch.tensor([0.25, -3.0])[None, :, None, None, None].repeat(1, 1, *part.shape[2:])

    patch = PATCH.model_copy(update={"overlap": overlap})
    logits = logits_of(constant, image(size), patch)

    assert logits.shape == (1, 2, *size)
    torch.testing.assert_close(logits, constant(image(size)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_stitched_is_whole_where_no_window_lacks_the_neighbours_that_the_network_sees(size) -> None:
    net = one_convolution()
    with torch.no_grad():
        whole, stitched = net(image(size)), logits_of(net, image(size), PATCH)
    complete = (rim_share(size) == 0).expand_as(whole)

    assert complete.any()
    torch.testing.assert_close(stitched[complete], whole[complete], rtol=1e-5, atol=1e-5)


def rim_share(size: tuple[int, int, int]) -> Tensor:
    """Weight that the outermost voxels of windows have in the stitched volume, 0 to 1."""

    def rim(part: Tensor) -> Tensor:
        found = torch.ones(1, 1, *part.shape[2:])
        found[:, :, 1:-1, 1:-1, 1:-1] = 0
        return found

    return logits_of(rim, torch.zeros(1, 1, *size), PATCH)


def test_stitched_is_whole_everywhere_for_a_network_that_sees_one_voxel() -> None:
    torch.manual_seed(0)
    net = nn.Conv3d(1, 2, 1)
    with torch.no_grad():
        for size in SIZES:
            torch.testing.assert_close(logits_of(net, image(size), PATCH), net(image(size)))


def test_windows_weigh_most_in_their_middle() -> None:
    """At the rim of a window, where a neighbour has its middle, the neighbour decides."""
    calls = iter([1.0, 0.0])

    def first_window_only(part: Tensor) -> Tensor:
        return torch.full((1, 1, *part.shape[2:]), next(calls))

    share = logits_of(first_window_only, torch.zeros(1, 1, 12, 16, 8), PATCH)[0, 0, :, 8, 4]

    assert share[:4].eq(1).all() and share[8:].eq(0).all()
    assert share[4] > 0.9 and share[7] < 0.1 and (share[4:8].diff() < 0).all()


def test_a_volume_that_fits_is_predicted_at_once_and_padded_as_its_patches_were() -> None:
    net, seen = counted(one_convolution())
    with torch.no_grad():
        found = logits_of(net, image((8, 9, 6)), PATCH, background=-1.0)
        padded = torch.full((1, 1, 8, 16, 8), -1.0)
        padded[:, :, :, 3:12, 1:7] = image((8, 9, 6))

        assert seen == [(8, 16, 8)]
        torch.testing.assert_close(found, one_convolution()(padded)[:, :, :, 3:12, 1:7])


def test_without_a_shape_the_network_gets_the_volume_as_it_is() -> None:
    net, seen = counted(one_convolution())
    with torch.no_grad():
        torch.testing.assert_close(logits_of(net, image((5, 9, 40)), PatchConfig()), net(image((5, 9, 40))))
    assert seen[0] == (5, 9, 40)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.6])
def test_the_number_of_passes_is_known_beforehand(size, overlap) -> None:
    told: list[None] = []
    patch = PATCH.model_copy(update={"overlap": overlap})
    with torch.no_grad():
        logits_of(one_convolution(), image(size), patch, notify=lambda: told.append(None))

    assert len(told) == n_windows(size, patch)


def test_all_windows_of_a_volume_see_one_draw_of_the_weights_and_the_next_volume_another() -> None:
    net = nn.Sequential(one_convolution())
    make_bayesian(net, init_log_var=-1.0)
    layer = net[0]
    assert isinstance(layer, BayesConv3d)
    used: list[Tensor] = []
    layer.register_forward_hook(lambda *_: used.append(layer.sample.detach().clone()))  # type: ignore[union-attr]
    net.eval()
    with torch.no_grad(), sampling(net, named_generator(0, "monte_carlo")) as _:
        logits_of(net, image((13, 16, 8)), PATCH)
        n_first = len(used)
        logits_of(net, image((8, 16, 8)), PATCH)
    with torch.no_grad(), sampling(net, named_generator(0, "monte_carlo")):
        net(image((8, 16, 8)))
        net(image((8, 16, 8)))

    assert n_first > 1 and all(torch.equal(one, used[0]) for one in used[:n_first])
    assert not torch.equal(used[n_first], used[0])
    assert torch.equal(used[-2], used[0]) and torch.equal(used[-1], used[n_first]), "as for whole volumes"


@pytest.fixture
def mask() -> np.ndarray:
    """Pieces of 8, 4 and 1 voxels; those of the second touch by corners alone."""
    mask = np.zeros((10, 10, 10), dtype=bool)
    mask[0:2, 0:2, 0:2] = True
    mask[5, 5, 5] = mask[6, 6, 6] = mask[7, 7, 7] = mask[7, 8, 7] = True
    mask[9, 0, 9] = True
    return mask


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, 13),
        ({"largest_component": True}, 8),
        ({"min_lesion_voxels": 4}, 12),
        ({"min_lesion_voxels": 5}, 8),
        ({"min_lesion_voxels": 9}, 0),
        ({"min_lesion_ml": 0.008}, 12),  # 2 mm3 a voxel: 4 voxels are just that
        ({"min_lesion_ml": 0.0081}, 8),
        ({"largest_component": True, "min_lesion_voxels": 9}, 0),
    ],
)
def test_pieces_are_dropped_by_their_size(mask, settings, kept):
    assert clean_mask(mask, PostprocessConfig(**settings), (1.0, 2.0, 1.0)).sum() == kept


def test_by_default_and_without_foreground_nothing_changes(mask):
    assert clean_mask(mask, PostprocessConfig(), (1, 1, 1)) is mask
    empty = np.zeros_like(mask)
    assert not clean_mask(empty, PostprocessConfig(largest_component=True), (1, 1, 1)).any()
