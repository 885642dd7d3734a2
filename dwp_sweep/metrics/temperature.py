"""One temperature that makes the probabilities of a trained network believable, fitted on validation scans.

``p ** (1 / T)``, normalised over the classes: of a deterministic network that is the softmax of its logits
divided by T. Of the mean over weight draws, or over the networks of an ensemble, the mean probability itself
is changed and not the logits of each draw. The mean is what is scored and shown, and averaging changes how
confident it is: temperatures of the single draws would leave their mean too unsure. So one rule serves every
method, and the likeliest class of a voxel, and with it every mask, stays what it was.

Sources: Guo et al. (2017), "On Calibration of Modern Neural Networks"; for the order, first the mean and then
the temperature, Rahaman and Thiery (2021), "Uncertainty Quantification and Deep Ensembles".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dwp_sweep.metrics.calibration import Mask, Probs

LOWEST, HIGHEST = 1 / 20, 20.0
"""Of a temperature. Scans on which no voxel is wrong would have 0, useless probabilities infinity."""


@dataclass(frozen=True)
class Temperature:
    """What was fitted.

    Attributes:
        value: Above 1 where the network is too sure, below 1 where it is too unsure; 1 changes nothing.
        n_scans: Validation scans that it was fitted on; 0: none was fitted.
        note: Why there is none, or what a person should know of it; empty as a rule.
    """

    value: float = 1.0
    n_scans: int = 0
    note: str = ""

    @property
    def is_fitted(self) -> bool:
        """Whether there is one."""
        return self.n_scans > 0


@dataclass(frozen=True, eq=False)
class ScoredVoxels:
    """Voxels of one validation scan.

    Attributes:
        probs: Probability of each class (n_classes, n).
        truth: True class of each voxel (n,), 0 to n_classes - 1.
    """

    probs: Probs
    truth: Mask


def tempered(probs: Probs, temperature: float) -> Probs:
    """Probabilities ``(n_classes, ...)`` at a temperature, in their own type; unchanged, bit by bit, at 1.

    Args:
        probs: A probability for every class, since 1 - p loses what float32 says near 1.
        temperature: Above 0.
    """
    if temperature == 1:
        return probs
    powers = _logarithms(probs) / temperature
    powers -= powers.max(axis=0)
    np.exp(powers, out=powers)
    powers /= powers.sum(axis=0)
    return powers.astype(probs.dtype)


def fit_temperature(scans: Sequence[ScoredVoxels]) -> Temperature:
    """The temperature with the least negative log-likelihood, each scan counting alike as in `test_nll`.

    The likelihood is convex in 1 / T, so there is one. None is fitted where it would be below `LOWEST`, and
    none is above `HIGHEST`; both are said in words. Scans without foreground are left out: on them every
    network that finds nothing becomes the more likely the surer it is, whatever it says where there is a
    lesion.

    Args:
        scans: Voxels of each validation scan, those near the foreground as a rule.
    """
    with_foreground = [scan for scan in scans if np.any(scan.truth)]
    if not with_foreground:
        return Temperature(note=_no_foreground(len(scans)))
    parts = [(_logarithms(scan.probs), _index(scan.truth)) for scan in with_foreground]

    def slope(log_sharpness: float) -> float:
        return float(np.mean([_slope(logs, truth, math.exp(log_sharpness)) for logs, truth in parts]))

    # The slope rises with the sharpness 1 / T.
    dullest, sharpest = -math.log(HIGHEST), -math.log(LOWEST)
    if slope(sharpest) <= 0:
        # Voxels that are all right ask for certainty, which the next scan would refute at any price.
        note = "hardly a validation voxel is wrong, so that nothing tells how sure the network may be"
        return Temperature(note=note)
    if slope(dullest) >= 0:
        note = "the network's probabilities say next to nothing about the validation scans"
        return Temperature(HIGHEST, len(parts), f"it is the highest that is tried: {note}")
    from scipy.optimize import brentq

    return Temperature(math.exp(-brentq(slope, dullest, sharpest, xtol=1e-9)), len(parts))


def _no_foreground(n_scans: int) -> str:
    which = "the only validation scan" if n_scans == 1 else f"none of the {n_scans} validation scans"
    verb = "has no" if n_scans == 1 else "has"
    return f"{which} {verb} foreground, and a temperature cannot be fitted without any"


def _slope(logs: NDArray[np.float64], truth: NDArray[np.intp], sharpness: float) -> float:
    """Derivative of the mean negative log-likelihood by 1 / T: expected minus observed log-probability."""
    weights = np.exp(sharpness * (logs - logs.max(axis=0)))
    expected = (weights * logs).sum(axis=0) / weights.sum(axis=0)
    observed = np.take_along_axis(logs, truth[None], axis=0)[0]
    return float((expected - observed).mean())


def _index(truth: NDArray[Any]) -> NDArray[np.intp]:
    return np.asarray(truth).astype(np.intp)


def _logarithms(probs: Probs) -> NDArray[np.float64]:
    """In float64; a probability that float32 cannot tell from 0 counts as its smallest number."""
    return np.asarray(np.log(np.maximum(probs.astype(np.float64), np.finfo(np.float32).tiny)))
