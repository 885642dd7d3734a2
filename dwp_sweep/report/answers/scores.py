"""Which scores a report shows: their names for people, which way is better, and how many digits they have.

Used by tables and figures. A score that no run has is left out by whoever shows it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from dwp_sweep.metrics.overlap import of_class


@dataclass(frozen=True)
class Score:
    """One summary metric of a target node.

    Attributes:
        name: In MLflow.
        title: For people, with its unit.
        lower_is_better: True, False, or None where neither is better.
        digits: After the point.
        about: What it is, in one sentence.
    """

    name: str
    title: str
    lower_is_better: bool | None = False
    digits: int = 3
    about: str = ""

    @property
    def by_scan(self) -> str:
        """Its name in ``test_scores.json``, scan by scan."""
        name = self.name.removeprefix("test_")
        return f"n_{name}" if name.partition(".")[0] == "false_lesions" else name

    @property
    def n_undefined(self) -> str:
        """The metric that counts the scans on which it is undefined."""
        base, dot, class_name = self.name.partition(".")
        return f"n_{base}_undefined{dot}{class_name}"

    def of_class(self, class_name: str) -> Score:
        """The same score of one class against all the rest."""
        title = f"{self.title}: {class_name}"
        return replace(self, name=of_class(self.name, class_name), title=title, about="")

    @property
    def way(self) -> str:
        """Which way is better, in words."""
        if self.lower_is_better is None:
            return "neither way is better"
        return "lower is better" if self.lower_is_better else "higher is better"


OVERLAP = (
    Score("test_dice", "Test Dice", about="The form of the paper's Tables 3, 5 and 6."),
    Score("test_iou", "Test IoU", about="The form of the paper's Table 4."),
)
DECIDES = Score(
    "best_val_dice",
    "Validation Dice",
    about="What decides: of each network's epoch, of settings, and of the method named above.",
)
BOUNDARY = (
    Score(
        "test_hd95_mm",
        "95 % Hausdorff distance, mm",
        True,
        2,
        "Between the surfaces of prediction and truth.",
    ),
    Score(
        "test_asd_mm",
        "Average surface distance, mm",
        True,
        2,
        "Between the surfaces of prediction and truth.",
    ),
    Score(
        "test_lesion_sensitivity",
        "Lesion-wise sensitivity",
        False,
        3,
        "Share of true lesions that are found.",
    ),
    Score("test_false_lesions", "False lesions a scan", True, 2, "Predicted lesions that touch no true one."),
    Score("test_volume_error_ml", "Volume error, ml", True, 2, "Predicted volume against the true one."),
)
OTHER_TESTED = (OVERLAP[1], *BOUNDARY)
"""Scores with paired tests of their own, beside those of Dice."""
_AFTER = "The same at the one temperature that makes the validation scans most likely."
CALIBRATION = (
    Score(
        "test_nll", "NLL, nats", True, about="Mean negative log-likelihood of a voxel near the foreground."
    ),
    Score("test_ece", "ECE", True, about="Expected calibration error of the foreground probability near it."),
    Score("test_brier", "Brier score", True, about="Squared error of the foreground probability near it."),
    Score("test_nll_calibrated", "NLL after temperature, nats", True, about=_AFTER),
    Score("test_ece_calibrated", "ECE after temperature", True, about=_AFTER),
    Score("test_brier_calibrated", "Brier score after temperature", True, about=_AFTER),
    Score(
        "temperature",
        "Temperature",
        None,
        2,
        "Fitted on the validation scans: above 1 where the network is too sure of itself.",
    ),
)
LOWER_IS_BETTER = frozenset(
    f"test_{score.by_scan}" for score in (*OVERLAP, *OTHER_TESTED, *CALIBRATION) if score.lower_is_better
) | {"test_nll_volume", "test_dice_prediction_error"}
"""Scores of ``test_scores.json`` of which less is better; entropy is neither good nor bad."""
BY_CLASS = (*OVERLAP, *BOUNDARY[:2], CALIBRATION[1])
"""Scores with a table for each class, where there are several."""


def is_lower_better(metric: str) -> bool:
    """Whether less of a score of scans is better, that of one class among them."""
    return metric.partition(".")[0] in LOWER_IS_BETTER


def classes_of(metrics: Iterable[str]) -> tuple[str, ...]:
    """Names of the classes that have scores of their own, from the names of a run's metrics."""
    prefix = of_class(OVERLAP[0].name, "")
    return tuple(sorted(name.removeprefix(prefix) for name in metrics if name.startswith(prefix)))
