"""One slice of one subject, kept for the figures of a report: scan, truth, and what the network says of it.

The target and the source stage write it beside their scores. Which subject and which slice is decided by a
rule that looks at no prediction, so networks of one split show the same slice and can stand side by side.
Small (below 200 kB): a report fetches one from every network it shows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from dwp_sweep.data.cache.cases import Case
from dwp_sweep.data.placement import fullest_slice
from dwp_sweep.metrics.calibration import entropy
from dwp_sweep.stages.prediction import PredictedMask

STEM = "example"
MAX_PIXELS = 28_000
"""Of the slice: image, probability and entropy as float16 and the truth as a byte are then 196 kB."""
MAX_PIXELS_OF_CLASSES = 24_500
"""With classes, of which truth and mask take a byte each."""
_MARGIN = 8
"""Pixels around the truth that are kept where a plane is cut."""

Window = tuple[slice, slice]


@dataclass(frozen=True)
class ExampleFacts:
    """What the pixels of an example are.

    Attributes:
        subject: Its id.
        axis: The volume's axis that the slice cuts: the one with fewest voxels, the last of equal ones.
        index: Place of the slice along it: the one with most true foreground.
        spacing_mm: Distance of neighbouring pixels along rows and columns.
        is_cut: The window does not hold the whole plane.
        uncertainty: What the entropy is of: ``softmax``, or ``draws`` (mean softmax over weight draws);
            empty where there is no prediction.
        classes: Names of the classes 1, 2, ... of truth and mask; empty with one foreground.
    """

    subject: str
    axis: int
    index: int
    spacing_mm: tuple[float, float]
    is_cut: bool
    uncertainty: str = ""
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Example:
    """One slice; all arrays have the same shape (rows, columns).

    Attributes:
        facts: What the pixels are.
        image: First channel, float16.
        truth: Where the foreground is; with classes their numbers.
        probs: Probability of the foreground, of whichever class, float16; None without a prediction.
        entropy: Predictive entropy, nats, float16; None beside no ``probs``.
        mask: Of the same estimate as ``probs``, cleaned up; None beside no ``probs``.
    """

    facts: ExampleFacts
    image: NDArray[np.float16]
    truth: PredictedMask
    probs: NDArray[np.float16] | None = None
    entropy: NDArray[np.float16] | None = None
    mask: PredictedMask | None = None


def example_case(cases: Sequence[Case], classes: Sequence[str] = ()) -> Case:
    """The first subject by id that has foreground, or most classes; the first one where none has.

    Args:
        cases: At least one.
        classes: Names of the classes 1, 2, ...; none with one foreground.
    """
    ordered = sorted(cases, key=lambda case: case.id)
    if classes:
        return max(ordered, key=lambda case: np.count_nonzero(np.bincount(np.ravel(case.mask))[1:]))
    return next((case for case in ordered if bool((np.asarray(case.mask) == 1).any())), ordered[0])


def scan_example(case: Case, classes: Sequence[str] = ()) -> Example:
    """A slice of a scan with its truth, without any prediction."""
    return _cut(case, {}, "", classes)


def predicted_example(
    case: Case,
    mask: PredictedMask,
    probs: NDArray[np.float32],
    is_variational: bool,
    classes: Sequence[str] = (),
) -> Example:
    """The same slice with what a network says of it.

    Args:
        case: The scan.
        mask: (D, H, W), of the same estimate as the probabilities.
        probs: Probability of each class, background first (n_classes, D, H, W).
        is_variational: The probabilities are means over weight draws.
        classes: Names of the classes 1, 2, ...; none with one foreground.
    """
    uncertainty = "draws" if is_variational else "softmax"
    if classes:
        return _cut(case, {"probs": 1 - probs[0], "mask": mask, "classes": probs}, uncertainty, classes)
    example = _cut(case, {"probs": probs[1], "mask": mask}, uncertainty)
    assert example.probs is not None, "a predicted example has probabilities"
    plane = example.probs.astype(np.float64)
    return replace(example, entropy=entropy(np.stack([1 - plane, plane])).astype(np.float16))


def save_example(example: Example, folder: Path) -> None:
    """Write ``example.safetensors`` and ``example.json`` into a folder, which is made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    named: dict[str, NDArray[Any] | None] = {
        name: getattr(example, name) for name in ("image", "probs", "entropy")
    }
    if example.facts.classes:
        named |= {"truth": example.truth, "mask": example.mask}
    else:
        # Both masks share a byte, which keeps the largest example below 200 kB.
        masks = example.truth.astype(np.uint8)
        named["masks"] = masks if example.mask is None else masks + 2 * example.mask.astype(np.uint8)
    arrays = {name: np.ascontiguousarray(values) for name, values in named.items() if values is not None}
    save_file(arrays, folder / f"{STEM}.safetensors")
    facts = {name: value for name, value in asdict(example.facts).items() if name != "classes" or value}
    (folder / f"{STEM}.json").write_text(json.dumps(facts, indent=1) + "\n")


def load_example(folder: Path) -> Example:
    """Read what `save_example` wrote.

    Raises:
        ValueError: A file is missing or damaged; names the folder.
    """
    try:
        values = json.loads((folder / f"{STEM}.json").read_text())
        tuples = {name: tuple(values.get(name, ())) for name in ("spacing_mm", "classes")}
        facts = ExampleFacts(**values | tuples)
        arrays = load_file(folder / f"{STEM}.safetensors")
        maps = (arrays.get("probs"), arrays.get("entropy"))
        if facts.classes:
            return Example(facts, arrays["image"], arrays["truth"], *maps, arrays.get("mask"))
        masks = arrays["masks"]
        mask = masks >= 2 if "probs" in arrays else None
        return Example(facts, arrays["image"], masks % 2 == 1, *maps, mask)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ValueError(f"{folder}: no readable example: {error}") from None


def _cut(
    case: Case, maps: Mapping[str, NDArray[Any]], uncertainty: str, classes: Sequence[str] = ()
) -> Example:
    truth: PredictedMask = np.asarray(case.mask) if classes else np.asarray(case.mask) == 1
    # The axis with fewest slices: its planes show most, and are the ones acquired where slices are thick.
    axis = max(range(truth.ndim), key=lambda axis: (-truth.shape[axis], axis))
    index = fullest_slice(truth, axis)
    plane = np.take(truth, index, axis=axis)
    window, step = _window(plane, MAX_PIXELS_OF_CLASSES if classes else MAX_PIXELS)

    def view(volume: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(np.take(volume, index, axis=axis - truth.ndim)[(..., *window)])

    rows, columns = (length for place, length in enumerate(case.spacing_mm) if place != axis)
    spacing_mm = (float(rows) * step, float(columns) * step)
    held = plane[window]
    is_cut = held.size * step**2 < plane.size
    facts = ExampleFacts(case.id, axis, index, spacing_mm, is_cut, uncertainty, tuple(classes))
    mask: PredictedMask | None = None
    if "mask" in maps:
        said = view(maps["mask"])
        mask = said.astype(np.uint8) if classes else said.astype(np.bool_)
    return Example(
        facts,
        _half(view(case.image[0])),
        held,
        _half(view(maps["probs"])) if "probs" in maps else None,
        _half(entropy(view(maps["classes"]))) if "classes" in maps else None,
        mask,
    )


def _half(values: NDArray[Any]) -> NDArray[np.float16]:
    limit = float(np.finfo(np.float16).max)
    return np.clip(values.astype(np.float64), -limit, limit).astype(np.float16)


def _window(plane: NDArray[Any], most: int) -> tuple[Window, int]:
    """Part of a plane of at most so many pixels: around the truth, every n-th pixel where it is large."""
    if plane.size <= most:
        return (slice(None), slice(None)), 1
    box = [_extent(np.asarray(plane.any(axis=1 - axis)), plane.shape[axis]) for axis in (0, 1)]
    step = max(1, math.ceil(math.sqrt(math.prod(high - low for low, high in box) / most)))
    if step == 1:
        box = _grown(box, plane.shape, most)
    (top, bottom), (left, right) = box
    # A step may leave one pixel more a side than the area says.
    while math.prod(math.ceil((high - low) / step) for low, high in box) > most:
        step += 1
    return (slice(top, bottom, step), slice(left, right, step)), step


def _extent(has_truth: NDArray[np.bool_], length: int) -> tuple[int, int]:
    places = np.flatnonzero(has_truth)
    if not len(places):
        return length // 2, length // 2
    return max(0, int(places[0]) - _MARGIN), min(length, int(places[-1]) + 1 + _MARGIN)


def _grown(box: list[tuple[int, int]], shape: tuple[int, ...], most: int) -> list[tuple[int, int]]:
    """The box with as much around it as the budget of pixels allows, inside the plane."""
    while True:
        wider = [(max(0, low - 1), min(size, high + 1)) for (low, high), size in zip(box, shape, strict=True)]
        if wider == box or math.prod(high - low for low, high in wider) > most:
            return box
        box = wider
