"""What the scans of a task are like: read once, before anything is chosen for them.

Stands between the layouts and the choices of a first search space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from dwp_sweep.config.initial.modalities import Modalities
from dwp_sweep.data.cache.memory import side_by_side
from dwp_sweep.data.check.check import SubjectRow, examine
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.files.volumes import read_volume
from dwp_sweep.data.layouts import Listing, Subject, scan_layout
from dwp_sweep.data.layouts.dataset_json import IGNORE
from dwp_sweep.data.pair import foreground_of, read_pair
from dwp_sweep.errors import InputError, Problem

Progress = Callable[[str, int, int], None]

_N_NAMED = 3
_N_INTENSITIES = 20
"""Scans whose intensities are looked at."""
_AIR_HU = -500.0
"""No MRI has so low values in most of its scans; air has -1000 Hounsfield units."""
_MASK_SHARE = (0.5, 99.5)
"""Percentiles of the foreground's intensities that a window keeps, as in nnU-Net (Isensee et al. 2021)."""


@dataclass(frozen=True)
class Facts:
    """What is known of a task's scans.

    Attributes:
        key: ``source`` or ``target``.
        config: With layout, root and what was chosen for its files.
        rows: One a usable subject.
        patients: Of each usable subject.
        labels: Values above 0 of all masks, rising, without nnU-Net's ``ignore``.
        label_names: Their names, where the data set has them.
        modalities: What every patient has.
        left_out: Subjects that lack a file, or that nobody annotated.
        window: Percentiles of the foreground in Hounsfield units; None: no CT.
    """

    key: str
    config: DatasetConfig
    rows: tuple[SubjectRow, ...]
    patients: Mapping[str, str]
    labels: tuple[int, ...]
    label_names: Mapping[int, str]
    modalities: Modalities
    left_out: tuple[str, ...] = ()
    window: tuple[float, float] | None = None

    @property
    def boxes(self) -> tuple[tuple[int, int, int], ...]:
        """Voxels of each prepared scan."""
        return tuple((row.input_shape[1], row.input_shape[2], row.input_shape[3]) for row in self.rows)

    @property
    def spacings_mm(self) -> tuple[tuple[float, float, float], ...]:
        """Voxel size of each scan along right, front and top."""
        return tuple(in_ras(row) for row in self.rows)


def in_ras(row: SubjectRow) -> tuple[float, float, float]:
    """A scan's voxel size along the patient's right, front and top."""
    along = dict(zip(row.orientation, row.spacing_mm, strict=True))
    sizes = [next(along[letter] for letter in pair if letter in along) for pair in ("RL", "AP", "SI")]
    return sizes[0], sizes[1], sizes[2]


def look_at(
    key: str,
    config: DatasetConfig,
    modalities: Modalities,
    left_out: tuple[str, ...],
    progress: Progress,
) -> Facts:
    """Read every scan of a task.

    Args:
        key: ``source`` or ``target``.
        config: With layout and files chosen.
        modalities: What every patient has.
        left_out: Incomplete subjects that the config leaves out already.
        progress: Called with (what, done, total).

    Raises:
        InputError: No subject is complete, or scans that cannot be used: all problems at once.
    """
    listing = scan_layout(config)
    if listing.broken and len(listing.broken) >= len(listing.subjects):
        raise InputError(_mostly_incomplete(config, listing))
    problems = [one for one in listing.problems if "'ignore'" not in one.what]
    if problems:
        raise InputError(dict.fromkeys(problems))
    rows = _rows(key, config, listing, progress)
    ignored = {value for value, name in listing.label_names.items() if name.lower() == IGNORE}
    found = {label for row in rows for label in row.labels} - {0} - ignored
    return Facts(
        key=key,
        config=config,
        rows=rows,
        patients={row.id: listing.patients[row.id] for row in rows},
        labels=tuple(sorted(found)),
        label_names=listing.label_names,
        modalities=modalities,
        left_out=left_out,
        window=_window(config, listing, modalities),
    )


def _rows(key: str, config: DatasetConfig, listing: Listing, progress: Progress) -> tuple[SubjectRow, ...]:
    answers: dict[int, SubjectRow] = {}
    problems: list[Problem] = []
    work = partial(examine, config=config, label_set=listing.label_set)
    for done, (place, answer) in enumerate(side_by_side(work, listing.subjects), 1):
        if isinstance(answer, InputError):
            problems += answer.problems
        else:
            answers[place] = answer.row
        progress(f"looking at {key} {config.root}", done, len(listing.subjects))
    if problems:
        raise InputError(dict.fromkeys(problems))
    return tuple(answers[place] for place in sorted(answers))


def _window(config: DatasetConfig, listing: Listing, modalities: Modalities) -> tuple[float, float] | None:
    """Where the foreground's Hounsfield units lie, if the scans are CT."""
    subjects = listing.subjects[:: max(1, len(listing.subjects) // _N_INTENSITIES)][:_N_INTENSITIES]
    is_named = modalities.kinds == ("ct",)
    if not is_named and not _has_air(config, subjects[:5]):
        return None
    values = []
    for subject in subjects:
        pair = read_pair(subject, config)
        inside = pair.image.data[foreground_of(pair.labels, config.labels)]
        values.append(inside[:: max(1, inside.size // 10_000)])
    together = np.concatenate(values) if values else np.zeros(0)
    if not together.size:
        return None
    low, high = np.percentile(together, _MASK_SHARE)
    return float(low), float(high)


def _has_air(config: DatasetConfig, subjects: Sequence[Subject]) -> bool:
    lowest = [float(read_volume(one.image, config.volumes[0]).data.min()) for one in subjects]
    return sum(value <= _AIR_HU for value in lowest) * 2 > len(lowest)


def _mostly_incomplete(config: DatasetConfig, listing: Listing) -> list[Problem]:
    first = [problems[0] for problems in listing.broken.values()][:_N_NAMED]
    what = f"{len(listing.broken)} of {len(listing.ids)} subjects lack an image or a mask, the first below"
    fix = "add their files: a sweep needs the masks of its scans"
    return [Problem(config.root or "", what, fix), *first]
