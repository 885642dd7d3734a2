"""One scan segmented: prepared as in training, predicted, brought back onto its own grid.

The step between reading and writing. Where training resampled, so does the way back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dwp_sweep.data.cache.cases import Case, Spacing, is_unlike
from dwp_sweep.data.classes import ClassPairs, labelled
from dwp_sweep.data.config import PreprocessConfig
from dwp_sweep.data.files.forms import Affine, Forms, doubts_of
from dwp_sweep.data.files.volumes import Volume
from dwp_sweep.data.placement import Placement
from dwp_sweep.data.preprocess import padding_value, prepare_scan
from dwp_sweep.metrics.calibration import entropy
from dwp_sweep.metrics.temperature import Temperature, tempered
from dwp_sweep.stages.evaluation import Prediction
from dwp_sweep.stages.prediction import Notify

PassesDone = Callable[[int, int], None]
"""Receives (forward passes done, in all)."""

_FAR_OUTSIDE = 0.01
"""Share of the patient beyond the training's crop from which on a person should know."""


class Segmenter(Protocol):
    """What segments prepared scans: the network of a run, or an exported one."""

    @property
    def preprocess(self) -> PreprocessConfig:
        """How a scan becomes an input."""
        ...

    @property
    def classes(self) -> ClassPairs:
        """Names and labels of the classes; empty with one foreground."""
        ...

    @property
    def temperature(self) -> Temperature:
        """At which probabilities are shown."""
        ...

    @property
    def spacing_mm(self) -> Spacing | None:
        """Median voxel size of the training scans, prepared; None where nobody kept it."""
        ...

    def predict(self, case: Case, notify: Notify = ...) -> Prediction:
        """What it says about a prepared scan; ``notify`` is called after each forward pass."""
        ...

    def n_passes(self, case: Case) -> int:
        """How many forward passes that takes."""
        ...


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What a network says about a scan, on the scan's own voxels (I, J, K).

    Attributes:
        mask: uint8, 1 is foreground: where the probability passes 1/2, cleaned up as the run's settings say.
            Where a scan was resampled, its probability at a temperature may pass 1/2 a part of a voxel away.
            With classes the likeliest one, by the lowest of its labels in the masks of the training.
        probability: Of the foreground, float32, at the network's temperature; of a variational network the
            mean over weight draws, or that of its posterior mean where `Trained.n_samples` is 0; of several
            networks their mean. With classes that of each (I, J, K, n), in the order of `class_names`.
        uncertainty: Predictive entropy, nats, float32: log 2 where the probability is 1/2. Where the scan was
            resampled it is interpolated from the voxels that the network saw, as the probability is.
        affine: (4, 4), the scan's, voxel index to mm.
        unseen: Share of the patient that the training's crop leaves out, background in the mask.
        case: The scan as the network saw it; its mask is the predicted one.
        entropy: On the voxels of `case`.
        trained_mm: Median voxel size of the training scans, mm; None where nobody kept it.
        forms: Of the scan's file, which written results repeat; None if it came from no file.
        classes: Names and labels of the training's classes; empty with one foreground.
    """

    mask: NDArray[np.uint8] | NDArray[np.int32]
    probability: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    affine: Affine
    unseen: float
    case: Case
    entropy: NDArray[np.float32]
    trained_mm: Spacing | None = None
    forms: Forms | None = None
    classes: ClassPairs = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes that the network tells apart, in the order of `probability`; empty with one foreground."""
        return tuple(name for name, _ in self.classes)

    @property
    def volumes_ml(self) -> dict[str, float]:
        """Volume of each class in millilitres, by name; empty with one foreground."""
        values = labelled(np.arange(len(self.classes) + 1, dtype=np.uint8), self.classes)
        return {
            name: self._ml(int(np.count_nonzero(self.mask == value)))
            for name, value in zip(self.class_names, values[1:], strict=True)
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know: where this scan is unlike those of the training or its place unsure."""
        doubts = () if self.forms is None else doubts_of(self.forms, self.mask.shape)
        return (
            *_note_on_crop(self.unseen),
            *_note_on_voxels(self.case.spacing_mm, self.trained_mm),
            *(doubt.what for doubt in doubts),
        )

    @property
    def volume_ml(self) -> float:
        """Volume of the mask in millilitres, of all classes together."""
        return self._ml(int(np.count_nonzero(self.mask)))

    def _ml(self, n_voxels: int) -> float:
        return float(n_voxels) * abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000


def segment(channels: Sequence[Volume], trained: Segmenter, report: PassesDone | None = None) -> Segmentation:
    """Segment one scan.

    Args:
        channels: Its volumes on one grid, in the order of the training's channels.
        trained: The network.
        report: Called once before the first and after every forward pass.
    """
    settings = trained.preprocess
    scan = prepare_scan(channels, settings)
    nothing = np.zeros(scan.placement.shape, dtype=np.uint8)
    case = Case("scan", scan.image, nothing, scan.spacing_mm, padding_value(settings))
    prediction = trained.predict(case, _passes(trained.n_passes(case), report))
    # Mask, probability and uncertainty are of one estimate: the draws', where there are any.
    mask = prediction.mask if prediction.draws_mask is None else prediction.draws_mask
    probs = tempered(prediction.probs, trained.temperature.value)
    unsure = entropy(probs).astype(np.float32)
    classes, on_scan = trained.classes, scan.placement.to_scan
    return Segmentation(
        mask=labelled(numbers_on_scan(mask, prediction.probs, scan.placement), classes)
        if classes
        else mask_on_scan(mask, prediction.probs[1], scan.placement),
        probability=np.stack([on_scan(one, 0.0) for one in probs[1:]], axis=-1)
        if classes
        else on_scan(probs[1], 0.0),
        uncertainty=scan.placement.to_scan(unsure, 0.0),
        affine=channels[0].affine,
        unseen=scan.unseen,
        case=Case(case.id, case.image, mask.astype(np.uint8), case.spacing_mm, case.background),
        entropy=unsure,
        trained_mm=trained.spacing_mm,
        forms=channels[0].forms,
        classes=classes,
    )


def numbers_on_scan(
    mask: NDArray[Any], probs: NDArray[np.float32], placement: Placement
) -> NDArray[np.uint8]:
    """Numbers of classes brought onto the scan: their very voxels, or where resampled the likeliest class.

    Args:
        mask: (D, H, W), on the network's grid.
        probs: Of each class, background first (n_classes, D, H, W).
        placement: Of this grid in the scan.
    """
    if placement.is_exact:
        return np.rint(placement.to_scan(mask.astype(np.float32), 0.0)).astype(np.uint8)
    # What a clean-up removed must not come back from its probability.
    kept = np.where(probs.argmax(axis=0) == mask, probs, np.float32(0))
    of_classes = np.stack([placement.to_scan(one, 0.0) for one in kept[1:]])
    likeliest, rest = of_classes.argmax(axis=0) + 1, 1 - of_classes.sum(axis=0)
    return np.where(of_classes.max(axis=0) > rest, likeliest, 0).astype(np.uint8)


def mask_on_scan(
    mask: NDArray[Any], probability: NDArray[np.float32], placement: Placement
) -> NDArray[np.uint8]:
    """A mask brought onto the scan: its very voxels, or where its resampled probability passes 1/2.

    Args:
        mask: (D, H, W), on the network's grid.
        probability: Of the foreground, likewise.
        placement: Of this grid in the scan.
    """
    if placement.is_exact:
        return (placement.to_scan(mask.astype(np.float32), 0.0) > 0.5).astype(np.uint8)
    # What a clean-up removed must not come back from its probability.
    kept = np.where((probability > 0.5) & ~mask, np.float32(0), probability)
    return (placement.to_scan(kept, 0.0) > 0.5).astype(np.uint8)


def _note_on_crop(unseen: float) -> tuple[str, ...]:
    if unseen <= _FAR_OUTSIDE:
        return ()
    what = f"the run's preprocess.shape crops {unseen:.0%} of what shows the patient away"
    return (f"{what}; it counts as background",)


def _note_on_voxels(scan: Spacing, trained: Spacing | None) -> tuple[str, ...]:
    if trained is None or not is_unlike(scan, trained):
        return ()
    sizes = f"its voxels are {_mm(scan)} mm, those of the training scans {_mm(trained)} mm (median)"
    return (f"{sizes}, and the run did not resample: trust the result less, or train with spacing_mm",)


def _mm(spacing: Spacing) -> str:
    return " x ".join(f"{size:.3g}" for size in spacing)


def _passes(total: int, report: PassesDone | None) -> Callable[[], None]:
    done = -1

    def one_more() -> None:
        nonlocal done
        done += 1
        if report is not None:
            report(done, total)

    one_more()
    return one_more
