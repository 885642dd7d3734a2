"""Segment scans with the network of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dwp_sweep.api.planning import DEFAULT_STORAGE, Checking
from dwp_sweep.data.files.names import home_path
from dwp_sweep.errors import InputError, Problem

if TYPE_CHECKING:
    from dwp_sweep.prediction.jobs import Outputs
    from dwp_sweep.prediction.segment import Segmentation
    from dwp_sweep.prediction.trained import Device, Estimate


def predict(
    run: str,
    image: str | Path | Sequence[str | Path],
    mask: str | Path | None = None,
    *,
    probability: str | Path | None = None,
    uncertainty: str | Path | None = None,
    picture: str | Path | None = None,
    force: bool = False,
    where: Mapping[str, Any] | None = None,
    storage: str | Path = DEFAULT_STORAGE,
    tracking_uri: str | None = None,
    device: Device = "auto",
    estimate: Estimate = "draws",
    calibrate: bool = True,
    ensemble: bool = False,
    progress: Checking | None = None,
) -> Segmentation:
    """Segment one scan with the network of a run; what comes back lies on the scan's own grid.

    The scan is prepared exactly as for the run's training, whatever its orientation and spacing.

    Args:
        run: ``best:SWEEP``, an MLflow run id, or the start of a node's key.
        image: NIfTI file; several are the channels, in the order of the training.
        mask: File to write; None writes none.
        probability: File for the foreground probability.
        uncertainty: File for the predictive entropy, nats.
        picture: PNG with three planes.
        force: Write over files that exist.
        where: With ``best:SWEEP``, as for `best_config`.
        storage: As for `run_sweep`.
        tracking_uri: As for `run_sweep`.
        device: ``auto``, ``cpu`` or ``cuda``.
        estimate: Of a variational network, for all results alike: ``draws`` is the mean over weight draws,
            scored as ``test_dice_mc``, ``test_nll`` and ``test_ece``; ``mean`` is the
            network at its posterior mean, scored as ``test_dice``.
        calibrate: Give probability and uncertainty at the temperature that was fitted on the run's validation
            scans, scored as ``test_nll_calibrated``; masks do not depend on it. Runs of older versions, and
            the posterior mean of a variational network, have none.
        ensemble: With ``best:SWEEP``: predict with the mean of all networks of the best configuration, over
            its splits and seeds, in place of the best of them. A configuration with one run is that network.
        progress: Receives (scan, forward passes done, in all).

    Raises:
        InputError: No such run, another number of channels, no 3D NIfTI, an output that exists.
    """
    from dwp_sweep.prediction.request import Request, make_ready
    from dwp_sweep.prediction.run import Done, run_jobs

    images = _paths(image)
    folders = [path for path in images if path.is_dir()]
    if folders:
        raise InputError(Problem(str(path), "is a folder", "use predict_folder") for path in folders)
    outputs = _outputs(mask, probability, uncertainty, picture)
    chosen = (device, estimate, calibrate, ensemble)
    request = Request(run, images, outputs, force, where, storage, tracking_uri, *chosen)
    (done,) = run_jobs(make_ready(request), progress)
    assert isinstance(done, Done), "the only scan fails by raising"
    return done.segmentation


def predict_folder(
    run: str,
    images: str | Path | Sequence[str | Path],
    masks: str | Path,
    *,
    probability: str | Path | None = None,
    uncertainty: str | Path | None = None,
    picture: str | Path | None = None,
    force: bool = False,
    where: Mapping[str, Any] | None = None,
    storage: str | Path = DEFAULT_STORAGE,
    tracking_uri: str | None = None,
    device: Device = "auto",
    estimate: Estimate = "draws",
    calibrate: bool = True,
    ensemble: bool = False,
    progress: Checking | None = None,
) -> tuple[Path, ...]:
    """Segment every NIfTI file of a folder; results get the names of their scans.

    Arguments are those of `predict`, but ``images`` is a folder, or several with files of the same names, one
    a channel; ``masks``, ``probability``, ``uncertainty`` and ``picture`` are folders, made if missing. Files
    that are named as masks are left out: ``..._seg``, ``..._mask``, ``label...`` and the like.

    Returns:
        The masks that were written, by name.

    Raises:
        InputError: As `predict`, with the problems of all names and headers before any is predicted; at the
            end, when the masks of all others are written, those of scans whose voxels cannot be used.
    """
    from dwp_sweep.prediction.request import Request, make_ready
    from dwp_sweep.prediction.run import Failed, run_jobs

    outputs = _outputs(masks, probability, uncertainty, picture)
    chosen = (device, estimate, calibrate, ensemble)
    ready = make_ready(Request(run, _paths(images), outputs, force, where, storage, tracking_uri, *chosen))
    problems: list[Problem] = []
    for result in run_jobs(ready, progress):  # one by one: their voxels together may be too many
        problems += result.problems if isinstance(result, Failed) else ()
    if problems:
        raise InputError(problems)
    return tuple(job.outputs.mask for job in ready.scans if job.outputs.mask)


def _paths(images: str | Path | Sequence[str | Path]) -> tuple[Path, ...]:
    from dwp_sweep.prediction.jobs import split_images

    if isinstance(images, str | Path):
        return split_images(images)
    return tuple(home_path(image) for image in images)


def _outputs(*places: str | Path | None) -> Outputs:
    from dwp_sweep.prediction.jobs import Outputs

    return Outputs(*(home_path(place) if place is not None else None for place in places))
