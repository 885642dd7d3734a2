"""Scores of test images, their means over classes and over images; `dwp_sweep.stages.evaluation` makes them.

With several classes each class is scored against all the rest, as if it were the only one, and the scores of
an image are the means over its classes. What is a matter of all classes at once (likelihood, entropy, mutual
information) is of the whole distribution, and of no class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields

import numpy as np

from dwp_sweep.metrics.calibration import correlation
from dwp_sweep.metrics.overlap import of_class
from dwp_sweep.metrics.physical import (
    PhysicalScores,
    mean_over_classes,
    physical_json,
    summarise_physical,
)


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
        classes: The same of each class against all the rest, by name; empty with one foreground.
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
    classes: Mapping[str, SubjectScores] = field(default_factory=dict)

    @property
    def probs_dice(self) -> float:
        """Dice of the mask that the probabilities make, which `expected_dice` promises."""
        return self.dice if self.dice_mc is None else self.dice_mc

    def as_json(self) -> dict[str, float | None]:
        """The scores that this network has, those of classes behind them; None: undefined for this image."""
        own = {
            name: value for name in _NUMBERS if (value := getattr(self, name)) is not None
        } | physical_json(self.physical)
        for class_name, scores in self.classes.items():
            own |= {
                of_class(name, class_name): value
                for name, value in scores.as_json().items()
                if name not in _OF_ALL_CLASSES
            }
        return own


@dataclass(frozen=True)
class WholeScores:
    """Scores of one image that are of all classes at once; the names are those of `SubjectScores`."""

    nll: float
    nll_volume: float
    entropy: float
    mutual_information: float | None = None
    nll_calibrated: float | None = None


def scores_over_classes(classes: Mapping[str, SubjectScores], whole: WholeScores) -> SubjectScores:
    """Scores of an image with several classes.

    A class that neither truth nor prediction has counts as Dice 1, as an image without foreground does.

    Args:
        classes: By name, at least one.
        whole: Of the whole distribution.
    """
    values = list(classes.values())
    means = {
        name: None if getattr(values[0], name) is None else _mean(values, name)
        for name in (*_ALWAYS, "expected_dice", "dice_mc", *_CALIBRATED)
        if name not in _OF_ALL_CLASSES
    }
    physical = [each.physical for each in values if each.physical is not None]
    return SubjectScores(
        **means,  # type: ignore[arg-type]
        **asdict(whole),
        empty=all(each.empty for each in values),
        physical=mean_over_classes(physical) if physical else None,
        classes=classes,
    )


def summarise(scores: Mapping[str, SubjectScores], prefix: str) -> dict[str, float]:
    """Means over images (Section 2.5), and how well the expected Dice tells the actual one.

    Images empty in truth and prediction count as Dice 1 and are counted. The correlation is left out
    where it is undefined (`dwp_sweep.metrics.calibration.correlation`).
    With several classes the same of each class stands beside them (`of_class`).
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
    own = {f"{prefix}_{name}": value for name, value in metrics.items()} | counts | physical
    hidden = {f"n_{prefix}", *(f"{prefix}_{name}" for name in _OF_ALL_CLASSES)}
    for class_name in values[0].classes if values else ():
        of_one = summarise({name: each.classes[class_name] for name, each in scores.items()}, prefix)
        own |= {of_class(name, class_name): value for name, value in of_one.items() if name not in hidden}
    return own


_CALIBRATED = ("brier_calibrated", "ece_calibrated", "nll_calibrated")
_OF_ALL_CLASSES = tuple(each.name for each in fields(WholeScores))
_NUMBERS = tuple(each.name for each in fields(SubjectScores) if each.name not in ("physical", "classes"))
_ALWAYS = ("dice", "iou", "brier", "ece", "nll", "nll_volume", "entropy")


def _mean(values: Sequence[SubjectScores], name: str) -> float:
    return float(np.mean([getattr(each, name) for each in values]))
