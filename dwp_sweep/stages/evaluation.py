"""Final evaluation: predictions of a trained network on test images, and how far they can be believed.

A deterministic network predicts with its softmax; a variational
one with its posterior mean (its Dice) and with the mean softmax over weight draws (its uncertainty).
Whether a network is variational is seen from its layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dwp_sweep.data.cache.cases import Case
from dwp_sweep.data.patches import PatchConfig
from dwp_sweep.data.placement import with_lost
from dwp_sweep.metrics.calibration import (
    Mask,
    Probs,
    Reliability,
    brier_score,
    correlation,
    entropy,
    expected_dice,
    near_foreground,
    negative_log_lik,
    reliability,
)
from dwp_sweep.metrics.overlap import overlap
from dwp_sweep.metrics.physical import (
    PhysicalScores,
    physical_json,
    physical_scores,
    summarise_physical,
)
from dwp_sweep.metrics.temperature import Temperature, tempered
from dwp_sweep.nets.bayes_conv import sampling, variational_layers
from dwp_sweep.stages.prediction import (
    UNTOUCHED,
    WHOLE,
    Notify,
    PostprocessConfig,
    clean_mask,
    predict_case,
    silent,
)
from dwp_sweep.training.compute import ComputeConfig, named_generator, resolve_device

NO_TEMPERATURE = Temperature()
"""Probabilities as the network says them."""


@dataclass(frozen=True)
class SubjectScores:
    """Scores of one test image; those of probabilities use the mean over draws of a variational network.

    Scores of masks count foreground that the crop lost as missed; those of probabilities see the network's
    input alone.

    Attributes:
        dice: Of the network's own mask, the posterior mean's where it is variational.
        iou: Of the same mask.
        empty: That mask and the truth have no foreground.
        brier: Brier score near the foreground.
        ece: Expected calibration error of the foreground probability near the foreground.
        nll: Mean negative log-likelihood near the foreground, nats.
        nll_volume: The same over the whole volume, where confident false positives anywhere are seen.
        entropy: Mean predictive entropy near the foreground, nats.
        expected_dice: The Dice that the probabilities promise for their own mask.
        dice_mc: Dice of the mask of the mean over draws, cleaned up too; variational networks only.
        mutual_information: Its mean near the foreground, nats; variational networks only.
        brier_calibrated: As `brier`, of the probabilities at the network's temperature; None without one, as
            are the next two.
        ece_calibrated: As `ece`, likewise.
        nll_calibrated: As `nll`, likewise.
        physical: Distances, lesions and volumes of the same mask as `dice`.
    """

    dice: float
    iou: float
    empty: bool
    brier: float
    ece: float
    nll: float
    nll_volume: float
    entropy: float
    expected_dice: float
    dice_mc: float | None = None
    mutual_information: float | None = None
    brier_calibrated: float | None = None
    ece_calibrated: float | None = None
    nll_calibrated: float | None = None
    physical: PhysicalScores | None = None

    @property
    def probs_dice(self) -> float:
        """Dice of the mask that the probabilities make, which `expected_dice` promises."""
        return self.dice if self.dice_mc is None else self.dice_mc

    def as_json(self) -> dict[str, float | None]:
        """The scores that this network has; None where one is undefined for this image."""
        own = {
            name: value for name, value in asdict(self).items() if value is not None and name != "physical"
        }
        return own | physical_json(self.physical)


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a network says about one volume.

    Attributes:
        mask: Its own mask (D, H, W), the posterior mean's where it is variational.
        probs: Background and foreground probability (2, D, H, W), float32.
        mutual_information: Of each voxel's class and the weights (D, H, W), nats; None if deterministic.
        draws_mask: Mask of the mean over weight draws (D, H, W), cleaned up as `mask` is; None if
            deterministic.
    """

    mask: NDArray[np.bool_]
    probs: NDArray[np.float32]
    mutual_information: NDArray[np.float64] | None = None
    draws_mask: NDArray[np.bool_] | None = None

    @property
    def probs_mask(self) -> NDArray[np.bool_]:
        """Where the foreground is the likelier class, before any clean-up."""
        return np.asarray(self.probs[1] > self.probs[0])


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Test images of one network.

    Attributes:
        scores: By subject.
        reliability: By subject, near the foreground; their sum pools all voxels.
    """

    scores: Mapping[str, SubjectScores]
    reliability: Mapping[str, Reliability]


def test_scores(
    predict: Callable[[Case], Prediction],
    cases: Sequence[Case],
    near_voxels: float,
    temperature: Temperature = NO_TEMPERATURE,
) -> Evaluation:
    """Overlap with the truth and belief in the probabilities, case by case.

    Args:
        predict: Gives the network's `Prediction` of a case.
        cases: Any number; no case's scores depend on the others.
        near_voxels: Distance from the true foreground up to which voxels count as near it; the whole
            volume counts where there is none.
        temperature: Of the network; where one was fitted, calibration is scored with it as well.
    """
    pairs = {case.id: _scores(predict(case), case, near_voxels, temperature) for case in cases}
    return Evaluation(
        {name: scores for name, (scores, _) in pairs.items()},
        {name: bins for name, (_, bins) in pairs.items()},
    )


def summarise(scores: Mapping[str, SubjectScores], prefix: str) -> dict[str, float]:
    """Means over images (Section 2.5), and how well the expected Dice tells the actual one.

    Images empty in truth and prediction count as Dice 1 and are counted. The correlation is left out
    where it is undefined (`dwp_sweep.metrics.calibration.correlation`).
    """
    values = list(scores.values())
    promised, actual = [each.expected_dice for each in values], [each.probs_dice for each in values]
    metrics = {name: _mean(values, name) for name in _ALWAYS}
    metrics |= {
        name: _mean(values, name)
        for name in ("dice_mc", "mutual_information", *_CALIBRATED)
        if all(getattr(each, name) is not None for each in values)
    }
    metrics["dice_prediction_error"] = float(np.mean(np.abs(np.subtract(promised, actual))))
    if (agreement := correlation(promised, actual)) is not None:
        metrics["dice_correlation"] = agreement
    counts = {
        f"n_{prefix}": float(len(values)),
        f"n_{prefix}_empty": float(sum(each.empty for each in values)),
    }
    physical = summarise_physical([each.physical for each in values if each.physical is not None], prefix)
    return {f"{prefix}_{name}": value for name, value in metrics.items()} | counts | physical


@torch.no_grad()
def predict_volume(
    net: nn.Module,
    case: Case,
    compute: ComputeConfig,
    n_samples: int,
    seed: int,
    patch: PatchConfig = WHOLE,
    postprocess: PostprocessConfig = UNTOUCHED,
    notify: Notify = silent,
) -> Prediction:
    """A network's masks and its probabilities of one whole volume.

    Args:
        net: Left in evaluation mode.
        case: The volume.
        compute: Device and precision.
        n_samples: Weight draws of a variational network, 0 for its posterior mean alone; a deterministic one
            is run once, whatever this is.
        seed: Of the node. Every case sees the same draws, whichever other cases there are.
        patch: Windows for volumes that are larger; each draw is one network for all of them.
        postprocess: Clean-up of the masks; probabilities stay what the network says.
        notify: Called after each forward pass.
    """
    net.eval()
    logits, _ = predict_case(net, case, compute, patch, notify)
    mask = _own_mask(logits, case, postprocess)
    if n_samples == 0 or not variational_layers(net):
        return Prediction(mask, _probs(logits).cpu().numpy())
    probs, mean_entropy = _mean_over_draws(net, case, compute, n_samples, seed, patch, notify)
    averaged = probs.float().cpu().numpy()
    # Rounding can leave -1e-17 where all draws agree.
    information = np.maximum(entropy(averaged) - mean_entropy.cpu().numpy(), 0)
    prediction = Prediction(mask, averaged, information)
    cleaned = clean_mask(prediction.probs_mask, postprocess, case.spacing_mm)
    return replace(prediction, draws_mask=cleaned)


def _own_mask(logits: Tensor, case: Case, postprocess: PostprocessConfig) -> NDArray[np.bool_]:
    return clean_mask((logits[0].argmax(0) == 1).cpu().numpy(), postprocess, case.spacing_mm)


def _mean_over_draws(
    net: nn.Module,
    case: Case,
    compute: ComputeConfig,
    n_samples: int,
    seed: int,
    patch: PatchConfig,
    notify: Notify,
) -> tuple[Tensor, Tensor]:
    """Mean probabilities (2, D, H, W) and mean entropy (D, H, W) over draws, both float64.

    The mutual information of so few draws is too small: of n draws it shows about (n - 1) / n.
    """
    device = resolve_device(compute)
    total = torch.zeros((2, *case.mask.shape), dtype=torch.float64, device=device)
    entropies = torch.zeros_like(total[0])
    with sampling(net, named_generator(seed, "monte_carlo", device)):
        for _ in range(n_samples):
            probs = _probs(predict_case(net, case, compute, patch, notify)[0]).double()
            total += probs
            entropies += torch.special.entr(probs).sum(0)
    return total / n_samples, entropies / n_samples


def _probs(logits: Tensor) -> Tensor:
    """Background and foreground (class 1) probability (2, D, H, W); further classes count as background."""
    probs = logits[0].softmax(0)
    return torch.stack([probs[0] + probs[2:].sum(0), probs[1]])


def _scores(
    prediction: Prediction, case: Case, near_voxels: float, temperature: Temperature
) -> tuple[SubjectScores, Reliability]:
    truth, lost = np.asarray(case.mask) == 1, case.lost
    mask, whole_truth = with_lost(prediction.mask, truth, lost)
    own = overlap(mask, whole_truth)
    of_draws = prediction.draws_mask
    dice_mc = None if of_draws is None else overlap(*with_lost(of_draws, truth, lost)).dice
    near = near_foreground(truth, near_voxels)
    probs, bins = prediction.probs[:, near], reliability(prediction.probs[:, near], truth[near])
    information = prediction.mutual_information
    scores = SubjectScores(
        **asdict(own),
        brier=brier_score(probs, truth[near]),
        ece=bins.ece,
        nll=negative_log_lik(probs, truth[near]),
        nll_volume=negative_log_lik(prediction.probs, truth),
        entropy=float(entropy(probs).mean()),
        expected_dice=expected_dice(prediction.probs, prediction.probs_mask),
        dice_mc=dice_mc,
        mutual_information=None if information is None else float(information[near].mean()),
        physical=physical_scores(mask, whole_truth, case.spacing_mm),
    )
    return _calibrated(scores, probs, truth[near], temperature), bins


def _calibrated(scores: SubjectScores, probs: Probs, truth: Mask, temperature: Temperature) -> SubjectScores:
    """With the scores of the same voxels at a temperature, if one was fitted."""
    if not temperature.is_fitted:
        return scores
    probs = tempered(probs, temperature.value)
    return replace(
        scores,
        brier_calibrated=brier_score(probs, truth),
        ece_calibrated=reliability(probs, truth).ece,
        nll_calibrated=negative_log_lik(probs, truth),
    )


_CALIBRATED = ("brier_calibrated", "ece_calibrated", "nll_calibrated")
_ALWAYS = ("dice", "iou", "brier", "ece", "nll", "nll_volume", "entropy")


def _mean(values: Sequence[SubjectScores], name: str) -> float:
    return float(np.mean([getattr(each, name) for each in values]))
