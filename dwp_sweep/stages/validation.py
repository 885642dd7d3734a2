"""A trained network on its validation scans once more: overlap by scan, temperature of its probabilities.

Between training, which chose the epoch by these scans, and the final evaluation, which never sees them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dwp_sweep.data.cache.cases import Case
from dwp_sweep.metrics.calibration import near_foreground
from dwp_sweep.metrics.overlap import overlap_row
from dwp_sweep.metrics.temperature import ScoredVoxels, Temperature, fit_temperature
from dwp_sweep.stages.evaluation import Prediction
from dwp_sweep.strict import json_of

TEMPERATURE_FILE = "temperature.json"

_TRAINED_ON = "the validation scans trained this network too, and say nothing about how sure it may be"


@dataclass(frozen=True)
class Validation:
    """Validation scans of one network.

    Attributes:
        overlaps: By scan what `overlap_row` says of the network's own mask, the posterior mean's of a
            variational one.
        temperature: Of the probabilities that are scored and shown: of a variational network the mean over
            draws.
    """

    overlaps: Mapping[str, Mapping[str, float]]
    temperature: Temperature


def validate(
    predict: Callable[[Case], Prediction],
    cases: Sequence[Case],
    near_voxels: float,
    have_trained: bool = False,
    classes: Sequence[str] = (),
) -> Validation:
    """Score the validation scans and fit the temperature on their voxels near the foreground.

    Args:
        predict: Gives the network's `Prediction` of a case.
        cases: Any number.
        near_voxels: As for `test_scores`.
        have_trained: The scans took part in training as well: no temperature is fitted on them.
        classes: Names of the classes 1, 2, ...; none with one foreground.
    """
    overlaps, voxels = {}, []
    for case in cases:
        prediction = predict(case)
        truth = np.asarray(case.mask) if classes else np.asarray(case.mask) == 1
        overlaps[case.id] = overlap_row(prediction.mask, truth, classes)
        near = near_foreground(truth, near_voxels)
        voxels.append(ScoredVoxels(prediction.probs[:, near], truth[near]))
    return Validation(overlaps, Temperature(note=_TRAINED_ON) if have_trained else fit_temperature(voxels))


def save_temperature(temperature: Temperature, folder: Path) -> None:
    """Write ``temperature.json`` into a folder that exists."""
    (folder / TEMPERATURE_FILE).write_text(json.dumps(asdict(temperature), indent=1) + "\n")


def load_temperature(folder: Path) -> Temperature:
    """Read what `save_temperature` wrote; none where the network is of a version that fitted none.

    Raises:
        ValueError: The file is damaged; names it.
    """
    path = folder / TEMPERATURE_FILE
    if not path.is_file():
        return Temperature(note="the run is of a version that fitted no temperature")
    try:
        found = Temperature(**json_of(path.read_text()))
        is_sound = 0 < found.value < float("inf") and found.n_scans >= 0
    except (TypeError, ValueError):
        is_sound = False
    if not is_sound:
        raise ValueError(f"{path} holds no temperature")
    return found
