"""Final evaluation: predictions of a trained network on test images, and how far they can be believed.

A deterministic network predicts with its softmax; a variational
one with its posterior mean (its Dice) and with the mean softmax over weight draws (its uncertainty).
Whether a network is variational is seen from its layers.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial, reduce
from typing import Any

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
    Region,
    Reliability,
    brier_score,
    entropy,
    expected_dice,
    near_foreground,
    negative_log_lik,
    reliability,
)
from dwp_sweep.metrics.overlap import overlap
from dwp_sweep.metrics.physical import physical_scores
from dwp_sweep.metrics.temperature import Temperature, tempered
from dwp_sweep.nets.bayes_conv import sampling, variational_layers
from dwp_sweep.stages.prediction import (
    UNTOUCHED,
    WHOLE,
    Notify,
    PostprocessConfig,
    PredictedMask,
    clean_mask,
    predict_case,
    silent,
)
from dwp_sweep.stages.scores import SubjectScores, WholeScores, scores_over_classes
from dwp_sweep.training.compute import ComputeConfig, named_generator, resolve_device

NO_TEMPERATURE = Temperature()
"""Probabilities as the network says them."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a network says about one volume.

    Attributes:
        mask: Its own mask (D, H, W), the posterior mean's where it is variational: truth values, or with
            several classes their numbers.
        probs: Probability of the background and of the foreground, or of each class
            (n_classes, D, H, W), float32.
        mutual_information: Of each voxel's class and the weights (D, H, W), nats; None if deterministic.
        draws_mask: Mask of the mean over weight draws (D, H, W), cleaned up as `mask` is; None if
            deterministic.
    """

    mask: PredictedMask
    probs: NDArray[np.float32]
    mutual_information: NDArray[np.float64] | None = None
    draws_mask: PredictedMask | None = None

    @property
    def probs_mask(self) -> PredictedMask:
        """Where the foreground is the likelier class, or the likeliest class, before any clean-up."""
        return likeliest(self.probs)


def likeliest(probs: Probs) -> PredictedMask:
    """The mask of probabilities (n_classes, D, H, W): truth values, of several classes their numbers."""
    if len(probs) == 2:
        return np.asarray(probs[1] > probs[0])
    return np.asarray(probs.argmax(axis=0), dtype=np.uint8)


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
    classes: Sequence[str] = (),
) -> Evaluation:
    """Overlap with the truth and belief in the probabilities, case by case.

    Args:
        predict: Gives the network's `Prediction` of a case.
        cases: Any number; no case's scores depend on the others.
        near_voxels: Distance from the true foreground up to which voxels count as near it; the whole
            volume counts where there is none.
        temperature: Of the network; where one was fitted, calibration is scored with it as well.
        classes: Names of the classes 1, 2, ...; none with one foreground.
    """
    pairs = {case.id: _scores(predict(case), case, near_voxels, temperature, classes) for case in cases}
    return Evaluation(
        {name: scores for name, (scores, _) in pairs.items()},
        {name: bins for name, (_, bins) in pairs.items()},
    )


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


def _own_mask(logits: Tensor, case: Case, postprocess: PostprocessConfig) -> PredictedMask:
    numbers = logits[0].argmax(0)
    mask = numbers == 1 if logits.shape[1] == 2 else numbers.to(torch.uint8)
    return clean_mask(mask.cpu().numpy(), postprocess, case.spacing_mm)


def _mean_over_draws(
    net: nn.Module,
    case: Case,
    compute: ComputeConfig,
    n_samples: int,
    seed: int,
    patch: PatchConfig,
    notify: Notify,
) -> tuple[Tensor, Tensor]:
    """Mean probabilities (n_classes, D, H, W) and mean entropy (D, H, W) over draws, both float64.

    The mutual information of so few draws is too small: of n draws it shows about (n - 1) / n.
    """
    device = resolve_device(compute)
    total = entropies = torch.zeros((), dtype=torch.float64, device=device)
    with sampling(net, named_generator(seed, "monte_carlo", device)):
        for _ in range(n_samples):
            probs = _probs(predict_case(net, case, compute, patch, notify)[0]).double()
            total = total + probs
            entropies = entropies + torch.special.entr(probs).sum(0)
    return total / n_samples, entropies / n_samples


def _probs(logits: Tensor) -> Tensor:
    """Probability of each class, background first (n_classes, D, H, W)."""
    return logits[0].softmax(0)


def _scores(
    prediction: Prediction, case: Case, near_voxels: float, temperature: Temperature, classes: Sequence[str]
) -> tuple[SubjectScores, Reliability]:
    def calibrated(near: Region) -> Probs:
        return tempered(prediction.probs[:, near], temperature.value)

    if not classes:
        fitted = calibrated if temperature.is_fitted else None
        return _one_foreground(prediction, case, near_voxels, prediction.probs_mask, fitted)
    of_all = prediction.probs_mask
    scores: dict[str, SubjectScores] = {}
    bins: list[Reliability] = []
    for number, name in enumerate(classes, 1):
        one, is_one = _of_class(prediction, number), of_all == number
        of_one = partial(_against_rest_of, calibrated, number) if temperature.is_fitted else None
        scores[name], of_class = _one_foreground(one, case.of_class(number), near_voxels, is_one, of_one)
        bins.append(of_class)
    truth = np.asarray(case.mask)
    near = near_foreground(truth, near_voxels)
    probs, information = prediction.probs[:, near], prediction.mutual_information
    whole = WholeScores(
        nll=negative_log_lik(probs, truth[near]),
        nll_volume=negative_log_lik(prediction.probs, truth),
        entropy=float(entropy(probs).mean()),
        mutual_information=None if information is None else float(information[near].mean()),
        nll_calibrated=negative_log_lik(calibrated(near), truth[near]) if temperature.is_fitted else None,
    )
    return scores_over_classes(scores, whole), reduce(operator.add, bins)


def _of_class(prediction: Prediction, number: int) -> Prediction:
    """A prediction with one class as the foreground and all others as background."""
    draws_mask = prediction.draws_mask
    return Prediction(
        prediction.mask == number,
        _against_rest(prediction.probs, number),
        draws_mask=None if draws_mask is None else draws_mask == number,
    )


def _against_rest_of(of_region: Callable[[Region], Probs], number: int, region: Region) -> Probs:
    return _against_rest(of_region(region), number)


def _against_rest(probs: NDArray[Any], number: int) -> NDArray[Any]:
    """Probabilities (2, ...) of all other classes together and of one."""
    return np.stack([np.delete(probs, number, axis=0).sum(axis=0), probs[number]])


def _one_foreground(
    prediction: Prediction,
    case: Case,
    near_voxels: float,
    probs_mask: PredictedMask,
    calibrated: Callable[[Region], Probs] | None,
) -> tuple[SubjectScores, Reliability]:
    """Scores of a prediction with one foreground; ``calibrated`` gives its probabilities at a temperature."""
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
        expected_dice=expected_dice(prediction.probs, probs_mask),
        dice_mc=dice_mc,
        mutual_information=None if information is None else float(information[near].mean()),
        physical=physical_scores(mask, whole_truth, case.spacing_mm),
    )
    return scores if calibrated is None else _calibrated(scores, calibrated(near), truth[near]), bins


def _calibrated(scores: SubjectScores, probs: Probs, truth: Mask) -> SubjectScores:
    """With the scores of the same voxels at a temperature."""
    return replace(
        scores,
        brier_calibrated=brier_score(probs, truth),
        ece_calibrated=reliability(probs, truth).ece,
        nll_calibrated=negative_log_lik(probs, truth),
    )
