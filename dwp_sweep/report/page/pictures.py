"""Slices of a report: source and target with their truth (Figure 3), every method's contour (Figure 6).

All networks of a split show the same subject and slice (`stages.examples`), so the panels can be compared.
What no node has kept is left out; the caller says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from dwp_sweep.report.answers.cell import Repeat
from dwp_sweep.report.page.canvas import INK, MUTED, Picture, drawing, new_figure
from dwp_sweep.report.page.evidence import Evidence
from dwp_sweep.stages.drawing import PREDICTION, TRUTH, black_background, outline
from dwp_sweep.stages.examples import STEM, Example, load_example
from dwp_sweep.tracking.read.rows import NodeRow

FILES = (f"{STEM}.json", f"{STEM}.safetensors")
_UNSURE = LinearSegmentedColormap.from_list("unsure", ["#ffffff", "#d7a8cd", "#7a1760", "#2b0722"])
_PER_ROW = 5


def example_of(evidence: Evidence, row: NodeRow | None) -> Example | None:
    """The slice that a node kept; None where it kept none, or none that can be read."""
    folder = evidence.files.folder(row, FILES) if row is not None else None
    if folder is None:
        return None
    try:
        return load_example(folder)
    except ValueError:
        return None


def source_example(evidence: Evidence) -> Example | None:
    """Of the source task: the first source node that kept one."""
    sources = [row for row in evidence.rows if row.stage == "source" and row.state == "done"]
    found = (
        example_of(evidence, row) for row in sorted(sources, key=lambda row: str(row.labels.get("seed")))
    )
    return next((one for one in found if one is not None), None)


def method_examples(evidence: Evidence, size: int) -> tuple[Repeat | None, dict[str, Example]]:
    """Slices of all methods at one size, of the first (split, seed) that has most of them."""
    best: tuple[Repeat | None, dict[str, Example]] = (None, {})
    for repeat in evidence.repeats:
        found = {}
        for name in evidence.columns:
            target = evidence.chosen(name, size).get(repeat)
            if target is None or target.state != "done":
                continue
            example = example_of(evidence, evidence.row(target))
            if example is not None and example.mask is not None:
                found[name] = example
        if len(found) > len(best[1]):
            best = repeat, found
        if len(best[1]) == len(evidence.columns):
            break
    return best


def tasks_picture(source: Example | None, target: Example | None) -> Picture | None:
    """Figure 3: a slice of source and target with the truth's outline; None without either."""
    both = [
        (name, one) for name, one in (("Source task", source), ("Target task", target)) if one is not None
    ]
    if not both:
        return None
    with drawing():
        figure = new_figure(3.6 * len(both), 4.0)
        for axis, (name, example) in zip(np.atleast_1d(figure.subplots(1, len(both))), both, strict=True):
            _scan(axis, example)
            _outline(axis, example.truth, TRUTH, 1.8)
            _title(axis, name, example.facts.subject)
        figure.legend([Line2D([], [], color=TRUTH, lw=2)], ["truth"], loc="outside lower center", fontsize=9)
    names = " and ".join(name.lower() for name, _ in both)
    caption = (
        "The slice with most foreground of the first subject that has any, and its truth. After Figure 3."
    )
    return Picture("source_and_target", figure, f"One slice of the {names}, truth outlined.", caption)


def predictions_picture(
    evidence: Evidence, size: int, repeat: Repeat, examples: Mapping[str, Example]
) -> Picture:
    """Figure 6 at one training size: scan and truth, then each method's contour over its uncertainty.

    Args:
        evidence: For the labels.
        size: Training size m.
        repeat: Split and seed that the examples are of.
        examples: By method or variant; at least one, all of the same slice.
    """
    first = next(iter(examples.values()))
    names = [None, *examples]
    per_row = min(_PER_ROW, len(names))
    n_blocks = math.ceil(len(names) / per_row)
    rows, columns = first.image.shape
    spacing = first.facts.spacing_mm
    height = 1.95 * min(1.6, max(0.5, columns * spacing[1] / (rows * spacing[0])))
    with drawing():
        figure = new_figure(2.0 * per_row, n_blocks * (2 * height + 0.35) + 0.5)
        grid = figure.subplots(2 * n_blocks, per_row, squeeze=False)
        for axis in grid.flat:
            axis.set_axis_off()
        for place, name in enumerate(names):
            block, column = divmod(place, per_row)
            above, below = grid[2 * block][column], grid[2 * block + 1][column]
            if name is None:
                _scan(above, first)
                _title(above, "Scan", "")
                _scan(below, first)
                _outline(below, first.truth, TRUTH, 1.4)
                _title(below, "with truth", "")
            else:
                _method(above, below, evidence.columns[name], examples[name])
        lines = [Line2D([], [], color=colour, lw=2) for colour in (TRUTH, PREDICTION)]
        figure.legend(lines, ["truth", "prediction"], loc="outside lower center", ncols=2, fontsize=9)
    others = [one.facts.uncertainty for one in examples.values()]
    caption = (
        f"m = {size}, split {repeat[0]}: {first.facts.subject}, slice {first.facts.index}, the first test "
        "subject with foreground. Above: outlines of truth and prediction; below: predictive entropy"
        + (
            " of the mean over weight draws (Bayesian methods) or of the softmax"
            if "draws" in others
            else " of the softmax"
        )
        + ", white 0 to dark 0.69 nats."
        + (" Part of the plane around the truth." if first.facts.is_cut else "")
        + " After Figure 6."
    )
    alt = f"Scan, truth, and the contour and uncertainty of {len(examples)} methods trained on {size} scans."
    return Picture(f"predictions_m{size}", figure, alt, caption)


def _method(above: Axes, below: Axes, label: str, example: Example) -> None:
    mask = example.mask if example.mask is not None else np.zeros_like(example.truth)
    _scan(above, example)
    _outline(above, example.truth, TRUTH, 1.8)
    _outline(above, mask, PREDICTION, 0.9)
    _title(above, label, f"Dice of this slice {_dice(mask, example.truth):.2f}")
    if example.entropy is not None:
        _show(below, example, example.entropy.astype(np.float32), _UNSURE, 0.0, math.log(2))
        _outline(below, example.truth, TRUTH, 1.2)
        _title(below, "", "draws" if example.facts.uncertainty == "draws" else "softmax")


def _scan(axis: Axes, example: Example) -> None:
    volume, low, high = black_background(example.image.astype(np.float32))
    _show(axis, example, volume, "gray", low, high)


def _show(axis: Axes, example: Example, values: NDArray[Any], colours: Any, low: float, high: float) -> None:
    # Rows of the array run along the volume's first kept axis: transposed, so that it runs to the right.
    aspect = example.facts.spacing_mm[1] / example.facts.spacing_mm[0]
    axis.imshow(
        values.T, cmap=colours, vmin=low, vmax=high, origin="lower", interpolation="none", aspect=aspect
    )
    axis.set_axis_off()


def _outline(axis: Axes, mask: NDArray[np.bool_], colour: str, width: float) -> None:
    outline(axis, mask.T, colour, width)


def _title(axis: Axes, name: str, more: str) -> None:
    if name:
        axis.set_title(name, fontsize=9, color=INK, loc="left", pad=14 if more else 4)
    if more:
        axis.annotate(
            more, (0, 1), xycoords="axes fraction", xytext=(0, 3), textcoords="offset points", fontsize=7,
            color=MUTED,
        )  # fmt: skip


def _dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else 1.0


def example_sizes(sizes: Sequence[int], most: int = 4) -> list[int]:
    """Which training sizes to show: all, or the ends and those between where they are many."""
    if len(sizes) <= most:
        return list(sizes)
    places = {round(place * (len(sizes) - 1) / (most - 1)) for place in range(most)}
    return [sizes[place] for place in sorted(places)]
