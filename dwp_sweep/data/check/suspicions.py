"""What is legal in a data set but rarely meant: empty masks, masks beside the patient, clipped scans.

Beside the plain errors of `dwp_sweep.data.pair`; each suspicion names its subject, so that a table can
show it in the subject's row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.files.forms import NO_FORM, SIDES, TWO_FORMS, UNIT, doubts_of
from dwp_sweep.data.files.volumes import FloatArray, Volume
from dwp_sweep.data.layouts import Subject
from dwp_sweep.data.pair import Pair
from dwp_sweep.data.preprocess import Prepared, foreground_mask
from dwp_sweep.errors import Problem

CROPPED_SHARE_WORTH_A_WARNING = 0.01
RESAMPLED_SHARE_WORTH_A_WARNING = 0.25
"""Resampling moves the border of a mask by parts of a voxel either way: small changes mean nothing."""
OUTSIDE_SHARE_WORTH_A_WARNING = 0.02
"""An outline may leave a skull-stripped brain by a voxel; a mask of another scan lies farther out."""
SPACING_RATIO_WORTH_A_WARNING = 1.25
SATURATED_SHARE_WORTH_A_WARNING = 1e-3
"""Of the patient's voxels. In 166 brain scans as hospitals publish them the maximum holds at most 3.4e-5."""
SATURATED_HEAP = 2
"""So many times more voxels at the maximum than at the next lower value: few grey levels make no heap."""
_FEWEST_SATURATED = 20


class Suspicion(NamedTuple):
    """One thing to look at.

    Attributes:
        subject: Its id.
        words: A few words for a table.
        warning: The same in full.
    """

    subject: str
    words: str
    warning: Problem


def empty_mask(subject: Subject, label_values: Sequence[int], config: DatasetConfig) -> Suspicion:
    """No voxel of the mask is foreground."""
    wanted = "above 0" if config.foreground is None else "in " + ", ".join(map(str, config.foreground))
    what = f"empty mask: no voxel is {wanted}; the file holds {', '.join(map(str, label_values))}"
    problem = Problem(str(subject.mask), what, "legal, if nothing is there to find")
    return Suspicion(subject.id, "empty mask", problem)


def lost_foreground(subject: Subject, prepared: Prepared) -> tuple[Suspicion, ...]:
    """Foreground that preparation removes, or that lies beside the patient."""
    suspicions = []
    for share, limit, words, what, fix in (
        (
            prepared.resampled_away,
            RESAMPLED_SHARE_WORTH_A_WARNING,
            "resampled away",
            "resampling removes {} of the foreground's volume",
            "choose a finer preprocess.spacing_mm",
        ),
        (
            prepared.cropped_away,
            CROPPED_SHARE_WORTH_A_WARNING,
            "cropped",
            "the crop removes {} of the foreground",
            "choose a larger preprocess.shape, or crop_foreground: false",
        ),
        (
            prepared.outside,
            OUTSIDE_SHARE_WORTH_A_WARNING,
            "outside the patient",
            "{} of the foreground lies outside the patient, where the image is background",
            "is it the mask of this image?",
        ),
    ):
        if share > limit:
            problem = Problem(str(subject.mask), what.format(f"{share:.0%}"), fix)
            suspicions.append(Suspicion(subject.id, f"{share:.0%} {words}", problem))
    for name in prepared.gone:
        what = f"resampling or the crop removes class {name} altogether"
        fix = "choose a finer preprocess.spacing_mm or a larger preprocess.shape"
        suspicions.append(Suspicion(subject.id, f"{name} is gone", Problem(str(subject.mask), what, fix)))
    return tuple(suspicions)


def saturated(subject: Subject, images: Sequence[Volume], config: DatasetConfig) -> tuple[Suspicion, ...]:
    """Many voxels exactly at the maximum: what was brighter has been clipped away.

    Values that `preprocess.window` clips anyway do not count.
    """
    suspicions = []
    for path, image in zip(_files(subject, images), images, strict=True):
        share = saturated_share(image.data, config.preprocess.window)
        if share > SATURATED_SHARE_WORTH_A_WARNING:
            what = f"{share:.1%} of the patient's voxels have exactly the maximum, {image.data.max():g}"
            problem = Problem(str(path), f"saturated: {what}", "export the scan again without clipping")
            suspicions.append(Suspicion(subject.id, "saturated", problem))
    return tuple(suspicions)


def _files(subject: Subject, images: Sequence[Volume]) -> tuple[Path, ...]:
    """A file each, or one file that holds several channels."""
    return subject.images if len(subject.images) == len(images) else (subject.image,) * len(images)


def saturated_share(data: FloatArray, window: tuple[float, float] | None) -> float:
    """Share of the patient's voxels that are heaped up at the maximum, 0 where they are no heap.

    Args:
        data: (D, H, W), as stored.
        window: What is clipped anyway.
    """
    inside = data[foreground_mask(data)]
    highest = inside.max(initial=-np.inf)
    if window is not None and highest >= window[1]:
        return 0.0
    n = int(np.count_nonzero(inside == highest))
    if n < max(_FEWEST_SATURATED, SATURATED_SHARE_WORTH_A_WARNING * inside.size):
        return 0.0
    lower = inside[inside < highest]
    n_below = int(np.count_nonzero(lower == lower.max())) if lower.size else 0
    return n / inside.size if n >= SATURATED_HEAP * n_below else 0.0


def header_suspicions(subject: Subject, pair: Pair) -> tuple[Suspicion, ...]:
    """What the headers leave open: where the scan lies, what is left and right, how large it is.

    The mask's header counts as well: a form that fits the image may not be the one that other programs read.
    """
    suspicions = dict[str, Suspicion]()
    forms = [image.forms for image in pair.images]
    files = [*zip(_files(subject, pair.images), forms, strict=True), (subject.mask, pair.mask_forms)]
    for path, stored in files:
        for doubt in doubts_of(stored, pair.labels.shape) if stored is not None else ():
            problem = Problem(str(path), doubt.what, doubt.fix)
            suspicions.setdefault(doubt.words, Suspicion(subject.id, doubt.words, problem))
    return tuple(suspicions.values())


def warnings_of(suspicions: Sequence[Suspicion]) -> list[Problem]:
    """The warnings in full; of headers one for all subjects with the same doubt, mostly they all have it."""
    in_headers = {words: list[Suspicion]() for words in (NO_FORM, TWO_FORMS, SIDES, UNIT)}
    warnings = []
    for suspicion in suspicions:
        if suspicion.words in in_headers:
            in_headers[suspicion.words].append(suspicion)
        else:
            warnings.append(suspicion.warning)
    for same in filter(None, in_headers.values()):
        first = same[0].warning
        more = f"; the same in {len(same) - 1} more" if len(same) > 1 else ""
        warnings.append(Problem(first.where, first.what + more, first.fix))
    return warnings


def at_border(subject: Subject, foreground: NDArray[np.bool_]) -> tuple[Suspicion, ...]:
    """Foreground on the outermost voxels of the volume: what it marks may go on outside.

    Args:
        subject: Whose mask it is.
        foreground: (D, H, W); an axis of one or two slices is all border and does not count.
    """
    inner = tuple(slice(1, -1) if n > 2 else slice(None) for n in foreground.shape)
    n = int(foreground.sum()) - int(foreground[inner].sum())
    if not n:
        return ()
    what = f"the mask touches the volume's border with {n} voxel{'s' * (n > 1)}"
    fix = "is what it marks cut off there, or is the mask shifted?"
    return (Suspicion(subject.id, "touches the border", Problem(str(subject.mask), what, fix)),)


def same_scans(hashes: Mapping[str, Sequence[str]]) -> list[Suspicion]:
    """The same voxels under two ids could stand in the training and the test set.

    Args:
        hashes: Subject id -> content hash of each of its channels.
    """
    first, repeated = dict[str, str](), dict[tuple[str, str], Suspicion]()
    for name, channels in hashes.items():
        if len(set(channels)) < len(channels):
            problem = Problem(name, "two of its channels hold the same voxels", "give different images")
            repeated[name, name] = Suspicion(name, "a channel twice", problem)
        for channel in channels:
            other = first.setdefault(channel, name)
            if other != name:
                problem = Problem(name, f"has the same voxels as {other}", "keep one of the two")
                repeated[name, other] = Suspicion(name, f"same voxels as {other}", problem)
    return list(repeated.values())


def uneven_spacing(
    spacings_mm: Sequence[tuple[float, float, float]], config: DatasetConfig, trusted: bool = True
) -> tuple[Problem, ...]:
    """Voxel sizes that differ between subjects, where nothing brings them to one.

    Args:
        spacings_mm: Of each subject.
        config: `preprocess` is read.
        trusted: Whether every header has one place only: resampling by a wrong form would do harm.
    """
    if not spacings_mm or config.preprocess.spacing_mm is not None:
        return ()
    sizes = np.array([np.sort(spacing) for spacing in spacings_mm])
    low, high = sizes.min(axis=0), sizes.max(axis=0)
    if (high <= SPACING_RATIO_WORTH_A_WARNING * low).all():
        return ()
    worst = int(np.argmax(high / low))
    what = f"voxel sizes differ between subjects, from {low[worst]:.3g} to {high[worst]:.3g} mm"
    fix = "consider preprocess.spacing_mm" if trusted else "first correct the headers with two places"
    return (Problem(config.root or config.layout, what, fix),)
