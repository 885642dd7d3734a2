"""The segmentation loss against MONAI, torch and values by hand."""

from __future__ import annotations

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from monai.losses.dice import DiceLoss
from pydantic import ValidationError
from torch import Tensor

from dwp_sweep.losses.segmentation import SMOOTHING, LossConfig, segmentation_loss


def batch(n: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(n, 2, 5, 6, 7, generator=generator)
    return logits, (torch.rand(n, 5, 6, 7, generator=generator) < 0.2).long()


def test_dice_part_is_that_of_monai() -> None:
    logits, mask = batch()
    reference = DiceLoss(include_background=False, softmax=True, smooth_nr=SMOOTHING, smooth_dr=SMOOTHING)
    expected = reference(logits, F.one_hot(mask, 2).movedim(-1, 1))
    torch.testing.assert_close(segmentation_loss(logits, mask, LossConfig()).dice, expected)


def test_cross_entropy_part_is_that_of_torch_by_mean_and_by_sum() -> None:
    logits, mask = batch()
    mean = segmentation_loss(logits, mask, LossConfig()).cross_entropy
    total = segmentation_loss(logits, mask, LossConfig(ce_reduction="sum")).cross_entropy
    torch.testing.assert_close(mean, F.cross_entropy(logits, mask))
    torch.testing.assert_close(total, F.cross_entropy(logits, mask, reduction="sum") / len(logits))


def test_over_all_patches_of_a_volume_the_mean_of_the_scaled_sums_is_the_volumes_sum() -> None:
    generator = torch.Generator().manual_seed(3)
    logits, mask = (
        torch.randn(1, 2, 8, 8, 16, generator=generator),
        torch.rand(1, 8, 8, 16, generator=generator),
    )
    truth, config = (mask > 0.8).long(), LossConfig(dice_weight=0, ce_weight=1, ce_reduction="sum")
    whole = segmentation_loss(logits, truth, config).loss
    corners = list(product((0, 4), (0, 4), (0, 8)))
    patches = torch.cat([logits[..., d : d + 4, h : h + 4, w : w + 8] for d, h, w in corners])
    masks = torch.cat([truth[..., d : d + 4, h : h + 4, w : w + 8] for d, h, w in corners])
    scaled = segmentation_loss(patches, masks, config, torch.full((8,), 8.0)).loss
    torch.testing.assert_close(scaled, whole)
    assert float(segmentation_loss(patches, masks, config).loss) == pytest.approx(float(whole) / 8, rel=1e-4)
    mean = config.model_copy(update={"ce_reduction": "mean"})
    by_mean = [segmentation_loss(patches, masks, mean, n).loss for n in (None, torch.full((8,), 8.0))]
    assert torch.equal(*by_mean)


def test_the_mixture_has_the_weights_of_the_paper() -> None:
    logits, mask = batch()
    loss, dice, cross_entropy = segmentation_loss(logits, mask, LossConfig())
    torch.testing.assert_close(loss, 0.99 * dice + 0.01 * cross_entropy)


def test_loss_of_a_batch_is_the_mean_of_the_losses_of_its_images() -> None:
    logits, mask = batch()
    mask[1] = 0  # pooling voxels of the whole batch would differ most here
    single = [segmentation_loss(logits[i : i + 1], mask[i : i + 1], LossConfig()).loss for i in range(3)]
    torch.testing.assert_close(segmentation_loss(logits, mask, LossConfig()).loss, torch.stack(single).mean())


def test_values_by_hand() -> None:
    """Probability 1/2 everywhere, 2 of 8 voxels foreground."""
    mask = torch.zeros(1, 2, 2, 2, dtype=torch.int64)
    mask[0, 0, 0] = 1
    _, dice, cross_entropy = segmentation_loss(torch.zeros(1, 2, 2, 2, 2), mask, LossConfig())
    assert dice.item() == pytest.approx(1 - (2 + SMOOTHING) / (6 + SMOOTHING))
    assert cross_entropy.item() == pytest.approx(0.6931472)


def several(n_classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(3, n_classes, 5, 6, 7, generator=generator)
    return logits, torch.randint(0, n_classes, (3, 5, 6, 7), generator=generator)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_several_classes_have_the_dice_of_monai_and_the_cross_entropy_of_torch(reduction: str) -> None:
    logits, mask = several()
    config = LossConfig(ce_reduction=reduction)  # type: ignore[arg-type]
    reference = DiceLoss(include_background=False, softmax=True, smooth_nr=SMOOTHING, smooth_dr=SMOOTHING)
    ours, theirs = logits.clone().requires_grad_(True), logits.clone().requires_grad_(True)
    terms = segmentation_loss(ours, mask, config)
    dice = reference(theirs, F.one_hot(mask, 4).movedim(-1, 1))
    by_voxel = F.cross_entropy(theirs, mask, reduction=reduction) / (3 if reduction == "sum" else 1)
    torch.testing.assert_close(terms.dice, dice)
    torch.testing.assert_close(terms.cross_entropy, by_voxel)
    terms.loss.backward()
    (0.99 * dice + 0.01 * by_voxel).backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-7)


def test_a_class_that_never_has_a_chance_leaves_the_cross_entropy_of_two_classes() -> None:
    logits, mask = batch()
    third = torch.cat([logits, torch.full_like(logits[:, :1], -1e4)], dim=1)
    two, three = (segmentation_loss(some, mask, LossConfig()) for some in (logits, third))
    torch.testing.assert_close(three.cross_entropy, two.cross_entropy)
    torch.testing.assert_close(three.dice, two.dice / 2)  # the class that is nowhere is found nowhere


def test_perfect_and_empty_predictions_have_no_loss() -> None:
    _, mask = batch()
    mask[0] = 0
    perfect = 50.0 * torch.stack([1 - mask, mask], 1).float()
    assert segmentation_loss(perfect, mask, LossConfig()).loss.item() == pytest.approx(0, abs=1e-5)


def test_every_label_above_zero_is_foreground() -> None:
    logits, mask = batch()
    assert torch.equal(
        segmentation_loss(logits, 4 * mask, LossConfig()).loss,
        segmentation_loss(logits, mask, LossConfig()).loss,
    )


def test_gradient_is_that_of_softmax_dice_and_cross_entropy() -> None:
    logits, mask = batch()
    ours, theirs = logits.clone().requires_grad_(True), logits.clone().requires_grad_(True)
    segmentation_loss(ours, mask, LossConfig()).loss.backward()
    dice = DiceLoss(include_background=False, softmax=True, smooth_nr=SMOOTHING, smooth_dr=SMOOTHING)
    one_hot = F.one_hot(mask, 2).movedim(-1, 1)
    (0.99 * dice(theirs, one_hot) + 0.01 * F.cross_entropy(theirs, mask)).backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-8)


def test_extreme_logits_stay_finite() -> None:
    logits, mask = batch()
    logits = (1e4 * logits).requires_grad_(True)
    segmentation_loss(logits, mask, LossConfig(ce_reduction="sum")).loss.backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("shape", [(3, 1, 5, 6, 7), (3, 2, 5, 6, 8), (2, 5, 6, 7)])
def test_shapes_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(B, 2 or more, D, H, W\)"):
        segmentation_loss(torch.zeros(shape), batch()[1], LossConfig())


@pytest.mark.parametrize(
    "bad", [{"dice_weight": -1}, {"ce_reduction": "max"}, {"dice_weight": 0, "ce_weight": 0}, {"dice": 1}]
)
def test_config_out_of_range_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LossConfig.model_validate(bad)
