"""The mean of several networks of one configuration, as one prediction.

Their probabilities are averaged, not their logits or masks: by Jensen's inequality the negative
log-likelihood of the mean is at most the mean of theirs, voxel by voxel. Used where several networks predict
for people.

Source: Lakshminarayanan et al. (2017), "Simple and Scalable Predictive Uncertainty Estimation using Deep
Ensembles".
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dwp_sweep.metrics.calibration import entropy
from dwp_sweep.stages.evaluation import Prediction, likeliest
from dwp_sweep.stages.prediction import PostprocessConfig, clean_mask


def mean_prediction(
    predictions: Iterable[Prediction], postprocess: PostprocessConfig, spacing_mm: tuple[float, float, float]
) -> Prediction:
    """What several networks say together about one volume; of a single one its own prediction.

    Args:
        predictions: Of the same volume, made one after another: only their sums are kept.
        postprocess: Clean-up of the mask: where the mean foreground probability passes 1/2, or the likeliest
            class.
        spacing_mm: Voxel size along D, H, W.

    Returns:
        `mutual_information` is that of a voxel's class and the choice of a network, or of a network and its
        weight draw: large where the networks disagree.

    Raises:
        ValueError: There is none.
    """
    each = iter(predictions)
    if (first := next(each, None)) is None:
        raise ValueError("an ensemble of no network predicts nothing")
    n, total, within = 1, first.probs.astype(np.float64), _entropy_within(first)
    for prediction in each:
        n += 1
        total += prediction.probs
        within += _entropy_within(prediction)
    if n == 1:
        return first
    probs = (total / n).astype(np.float32)
    information = np.maximum(entropy(probs) - within / n, 0)
    mask = clean_mask(likeliest(probs), postprocess, spacing_mm)
    return Prediction(mask, probs, information)


def _entropy_within(prediction: Prediction) -> np.ndarray:
    """Entropy (D, H, W) of what the network says by itself; the mean over its weight draws, if it has any."""
    own = entropy(prediction.probs)
    return own if prediction.mutual_information is None else own - prediction.mutual_information
