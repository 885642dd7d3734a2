"""Segment scans with the network of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dwp_sweep.api.telling import DEFAULT_STORAGE, Checking
from dwp_sweep.errors import InputError, Problem

if TYPE_CHECKING:
    from dwp_sweep.prediction.jobs import Outputs
    from dwp_sweep.prediction.segment import Segmentation
    from dwp_sweep.prediction.trained import Device


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
    progress: Checking | None = None,
) -> Segmentation:
    """Segment one scan with the network of a run; what comes back lies on the scan's own grid.

    The scan is prepared exactly as for the run's training, whatever its orientation and spacing.

    Args:
        run: ``best:SWEEP``, an MLflow run id, or the start of a node's key.
        image: NIfTI file; several are the channels, in the order of the training.
        mask: File to write; None writes none.
        probability: File for the foreground probability.
        uncertainty: File for the predictive entropy, nats: over weight draws for variational networks.
        picture: PNG with three planes.
        force: Write over files that exist.
        where: With ``best:SWEEP``, as for `best_config`.
        storage: As for `run_sweep`.
        tracking_uri: As for `run_sweep`.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: Receives (scan, forward passes done, in all).

    Raises:
        InputError: No such run, another number of channels, no 3D NIfTI, an output that exists.
    """
    from dwp_sweep.prediction.jobs import make_jobs
    from dwp_sweep.prediction.run import run_jobs
    from dwp_sweep.prediction.trained import find_trained

    images = _paths(image)
    folders = [path for path in images if path.is_dir()]
    if folders:
        raise InputError(Problem(str(path), "is a folder", "use predict_folder") for path in folders)
    jobs = make_jobs(images, _outputs(mask, probability, uncertainty, picture), force)
    trained = find_trained(run, storage, tracking_uri, where, device)
    (done,) = run_jobs(jobs, trained, progress)
    return done.found


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
    progress: Checking | None = None,
) -> tuple[Path, ...]:
    """Segment every NIfTI file of a folder; results get the names of their scans.

    Args:
        run: As for `predict`.
        images: Folder; several are the channels, with files of the same names.
        masks: Folder to write to, made if missing; likewise the next three.
        probability: As for `predict`.
        uncertainty: As for `predict`.
        picture: As for `predict`.
        force: As for `predict`.
        where: As for `predict`.
        storage: As for `predict`.
        tracking_uri: As for `predict`.
        device: As for `predict`.
        progress: As for `predict`.

    Returns:
        The masks that were written, by name.

    Raises:
        InputError: As `predict`, with the problems of all scans before any is predicted.
    """
    from dwp_sweep.prediction.jobs import make_jobs
    from dwp_sweep.prediction.run import run_jobs
    from dwp_sweep.prediction.trained import find_trained

    jobs = make_jobs(_paths(images), _outputs(masks, probability, uncertainty, picture), force)
    trained = find_trained(run, storage, tracking_uri, where, device)
    return tuple(done.job.outputs.mask for done in run_jobs(jobs, trained, progress) if done.job.outputs.mask)


def _paths(images: str | Path | Sequence[str | Path]) -> tuple[Path, ...]:
    from dwp_sweep.prediction.jobs import split_images

    if isinstance(images, str | Path):
        return split_images(images)
    return tuple(Path(image).expanduser() for image in images)


def _outputs(*places: str | Path | None) -> Outputs:
    from dwp_sweep.prediction.jobs import Outputs

    return Outputs(*(Path(one).expanduser() if one is not None else None for one in places))
