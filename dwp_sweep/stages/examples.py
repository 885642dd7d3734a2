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

STEM = "example"
MAX_PIXELS = 28_000
"""Of the slice: image, probability and entropy as float16 and the truth as a byte are then 196 kB."""
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
    """

    subject: str
    axis: int
    index: int
    spacing_mm: tuple[float, float]
    is_cut: bool
    uncertainty: str = ""


@dataclass(frozen=True, eq=False)
class Example:
    """One slice; all arrays have the same shape (rows, columns).

    Attributes:
        facts: What the pixels are.
        image: First channel, float16.
        truth: Where the foreground is.
        probs: Foreground probability, float16; None for a scan without a prediction.
        entropy: Predictive entropy, nats, float16; None beside no ``probs``.
        mask: Of the same estimate as ``probs``, cleaned up; None beside no ``probs``.
    """

    facts: ExampleFacts
    image: NDArray[np.float16]
    truth: NDArray[np.bool_]
    probs: NDArray[np.float16] | None = None
    entropy: NDArray[np.float16] | None = None
    mask: NDArray[np.bool_] | None = None


def example_case(cases: Sequence[Case]) -> Case:
    """The first subject by id that has foreground; the first one where none has.

    Args:
        cases: At least one.
    """
    ordered = sorted(cases, key=lambda case: case.id)
    return next((case for case in ordered if bool((np.asarray(case.mask) == 1).any())), ordered[0])


def scan_example(case: Case) -> Example:
    """A slice of a scan with its truth, without any prediction."""
    return _cut(case, {}, "")


def predicted_example(
    case: Case, mask: NDArray[np.bool_], probs: NDArray[np.float32], is_variational: bool
) -> Example:
    """The same slice with what a network says of it.

    Args:
        case: The scan.
        mask: (D, H, W), of the same estimate as the probabilities.
        probs: Background and foreground probability (2, D, H, W).
        is_variational: The probabilities are means over weight draws.
    """
    maps = {"probs": probs[1], "mask": mask}
    example = _cut(case, maps, "draws" if is_variational else "softmax")
    assert example.probs is not None, "a predicted example has probabilities"
    plane = example.probs.astype(np.float64)
    return replace(example, entropy=entropy(np.stack([1 - plane, plane])).astype(np.float16))


def save_example(example: Example, folder: Path) -> None:
    """Write ``example.safetensors`` and ``example.json`` into a folder, which is made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    named = {"image": example.image, "probs": example.probs, "entropy": example.entropy}
    arrays = {name: np.ascontiguousarray(values) for name, values in named.items() if values is not None}
    # Both masks share a byte, which keeps the largest example below 200 kB.
    masks = example.truth.astype(np.uint8)
    if example.mask is not None:
        masks = masks + 2 * example.mask.astype(np.uint8)
    save_file({**arrays, "masks": np.ascontiguousarray(masks)}, folder / f"{STEM}.safetensors")
    (folder / f"{STEM}.json").write_text(json.dumps(asdict(example.facts), indent=1) + "\n")


def load_example(folder: Path) -> Example:
    """Read what `save_example` wrote.

    Raises:
        ValueError: A file is missing or damaged; names the folder.
    """
    try:
        facts = json.loads((folder / f"{STEM}.json").read_text())
        arrays = load_file(folder / f"{STEM}.safetensors")
        masks = arrays["masks"]
        return Example(
            ExampleFacts(**facts | {"spacing_mm": tuple(facts["spacing_mm"])}),
            arrays["image"],
            masks % 2 == 1,
            arrays.get("probs"),
            arrays.get("entropy"),
            masks >= 2 if "probs" in arrays else None,
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ValueError(f"{folder}: no readable example: {error}") from None


def _cut(case: Case, maps: Mapping[str, NDArray[Any]], uncertainty: str) -> Example:
    truth = np.asarray(case.mask) == 1
    # The axis with fewest slices: its planes show most, and are the ones acquired where slices are thick.
    axis = max(range(truth.ndim), key=lambda axis: (-truth.shape[axis], axis))
    index = fullest_slice(truth, axis)
    plane = np.take(truth, index, axis=axis)
    window, step = _window(plane)

    def view(volume: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(np.take(volume, index, axis=axis)[window])

    rows, columns = (length for place, length in enumerate(case.spacing_mm) if place != axis)
    spacing_mm = (float(rows) * step, float(columns) * step)
    held = plane[window]
    facts = ExampleFacts(case.id, axis, index, spacing_mm, held.size * step**2 < plane.size, uncertainty)
    return Example(
        facts,
        _half(view(case.image[0])),
        held,
        _half(view(maps["probs"])) if "probs" in maps else None,
        None,
        view(maps["mask"]).astype(np.bool_) if "mask" in maps else None,
    )


def _half(values: NDArray[Any]) -> NDArray[np.float16]:
    limit = float(np.finfo(np.float16).max)
    return np.clip(values.astype(np.float64), -limit, limit).astype(np.float16)


def _window(plane: NDArray[np.bool_]) -> tuple[Window, int]:
    """Part of a plane that has at most `MAX_PIXELS`: around the truth, every n-th pixel where it is large."""
    if plane.size <= MAX_PIXELS:
        return (slice(None), slice(None)), 1
    box = [_extent(np.asarray(plane.any(axis=1 - axis)), plane.shape[axis]) for axis in (0, 1)]
    step = max(1, math.ceil(math.sqrt(math.prod(high - low for low, high in box) / MAX_PIXELS)))
    if step == 1:
        box = _grown(box, plane.shape)
    (top, bottom), (left, right) = box
    # A step may leave one pixel more a side than the area says.
    while math.prod(math.ceil((high - low) / step) for low, high in box) > MAX_PIXELS:
        step += 1
    return (slice(top, bottom, step), slice(left, right, step)), step


def _extent(has_truth: NDArray[np.bool_], length: int) -> tuple[int, int]:
    places = np.flatnonzero(has_truth)
    if not len(places):
        return length // 2, length // 2
    return max(0, int(places[0]) - _MARGIN), min(length, int(places[-1]) + 1 + _MARGIN)


def _grown(box: list[tuple[int, int]], shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """The box with as much around it as the budget of pixels allows, inside the plane."""
    while True:
        wider = [(max(0, low - 1), min(size, high + 1)) for (low, high), size in zip(box, shape, strict=True)]
        if wider == box or math.prod(high - low for low, high in wider) > MAX_PIXELS:
            return box
        box = wider
