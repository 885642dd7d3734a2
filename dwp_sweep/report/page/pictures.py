"""Pictures of a report from files that nodes keep: slices with outlines (Figures 3, 6), kernels (Figure 5).

All networks of a split show the same subject and slice (`stages.examples`), so the panels can be compared.
Priors that keep the numbers of their own figure are drawn together; of older ones their picture is taken as
it is. What no node has kept is left out; the caller says so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from dwp_sweep.errors import figure_text
from dwp_sweep.metrics.overlap import overlap_row
from dwp_sweep.report.answers.runs import Repeat
from dwp_sweep.report.page.builder import INK, MUTED, Picture, drawing, new_figure
from dwp_sweep.report.page.evidence import Evidence
from dwp_sweep.stages.examples import STEM, Example, load_example
from dwp_sweep.stages.figures import PREDICTION, TRUTH, black_background, outline
from dwp_sweep.tracking.read.rows import NodeRow

FILES = (f"{STEM}.json", f"{STEM}.safetensors")
_UNSURE = LinearSegmentedColormap.from_list("unsure", ["#ffffff", "#d7a8cd", "#7a1760", "#2b0722"])
_PER_ROW = 5
_NUMBERS = ("kernels_and_samples.safetensors", "kernels_and_samples.json")
_PICTURE = "figures/kernels_and_samples.png"
_KERNEL_COLOURS = LinearSegmentedColormap.from_list("kernel", ["#0b5394", "#f7f7f7", "#b45309"])
_N_SHOWN = 16


@dataclass(frozen=True)
class PriorSet:
    """The priors of one configuration, one a kernel group.

    Attributes:
        title: What tells this set from others, e.g. ``kind = mixture``.
        rows: By group.
    """

    title: str
    rows: tuple[NodeRow, ...]


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
    examples = (
        example_of(evidence, row) for row in sorted(sources, key=lambda row: str(row.labels.get("seed")))
    )
    return next((example for example in examples if example is not None), None)


def method_examples(evidence: Evidence, size: int) -> tuple[Repeat | None, dict[str, Example]]:
    """Slices of all methods at one size, of the first (split, seed) that has most of them."""
    best: tuple[Repeat | None, dict[str, Example]] = (None, {})
    for repeat in evidence.repeats:
        examples = {}
        for name in evidence.columns:
            target = evidence.chosen(name, size).get(repeat)
            if target is None or target.state != "done":
                continue
            example = example_of(evidence, evidence.row(target))
            if example is not None and example.mask is not None:
                examples[name] = example
        if len(examples) > len(best[1]):
            best = repeat, examples
        if len(best[1]) == len(evidence.columns):
            break
    return best


def tasks_picture(source: Example | None, target: Example | None) -> Picture | None:
    """Figure 3: a slice of source and target with the truth's outline; None without either."""
    both = [
        (name, example)
        for name, example in (("Source task", source), ("Target task", target))
        if example is not None
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
    kinds = {example.facts.uncertainty for example in examples.values()}
    caption = (
        f"m = {size}, split {repeat[0]}: {first.facts.subject}, slice {first.facts.index}, the first test "
        "subject with foreground. Above: outlines of truth and prediction; below: predictive entropy"
        + (
            " of the mean over weight draws (Bayesian methods) or of the softmax"
            if "draws" in kinds
            else " of the softmax"
        )
        + f", white 0 to dark {_most_nats(first):.2f} nats."
        + (f" Edges of {', '.join(first.facts.classes)}." if first.facts.classes else "")
        + (" Part of the plane around the truth." if first.facts.is_cut else "")
        + " After Figure 6."
    )
    alt = f"Scan, truth, and the contour and uncertainty of {len(examples)} methods trained on {size} scans."
    return Picture(f"predictions_m{size}", figure, alt, caption)


def example_sizes(sizes: Sequence[int], most: int = 4) -> list[int]:
    """Which training sizes to show: all, or the ends and those between where they are many."""
    if len(sizes) <= most:
        return list(sizes)
    places = {round(place * (len(sizes) - 1) / (most - 1)) for place in range(most)}
    return [sizes[place] for place in sorted(places)]


def prior_sets(evidence: Evidence) -> list[PriorSet]:
    """Priors that the shown networks came from, grouped by their settings; the set used most comes first."""
    used = _used(evidence)
    groups: dict[str, dict[int, NodeRow]] = {}
    for row in evidence.rows:
        if row.stage == "prior" and row.state == "done" and (not used or used.get(row.key, 0)):
            groups.setdefault(_identity(row), {})[int(row.labels.get("group") or 0)] = row
    sets = [tuple(rows[group] for group in sorted(rows)) for rows in groups.values()]
    sets.sort(key=lambda rows: -sum(used.get(row.key, 0) for row in rows))
    return [PriorSet(_set_title(rows, sets), rows) for rows in sets]


def kernels_picture(evidence: Evidence, priors: PriorSet, name: str) -> Picture | None:
    """All groups of a set in one figure; None where the nodes did not keep the numbers."""
    read = [(row, _numbers(evidence, row)) for row in priors.rows]
    pairs = [(row, numbers) for row, numbers in read if numbers is not None]
    if not pairs:
        return None
    with drawing():
        figure = new_figure(10.0, 0.4 + 1.02 * len(pairs))
        figure.get_layout_engine().set(h_pad=0.08, hspace=0.0)  # type: ignore[union-attr, call-arg]
        grid = figure.subplots(len(pairs), 2, squeeze=False)
        for (left, right), (row, (kernels, samples)) in zip(grid, pairs, strict=True):
            for axis, side in ((left, kernels), (right, samples)):
                _strip(axis, side)
            left.set_ylabel(
                figure_text(str(row.labels.get("group"))), rotation=0, ha="right", va="center", fontsize=9
            )
        grid[0][0].set_title("Kernels of source networks", fontsize=9, color=INK)
        grid[0][1].set_title("Samples of the prior", fontsize=9, color=INK)
        figure.supylabel("Kernel group", fontsize=9, color=MUTED)
    caption = (
        "Each kernel: its three planes, one above the other, as shares of its largest weight; blue: below 0, "
        "orange: above. Groups 1 to 4: encoder, fine to coarse; 5 to 7: decoder, coarse to fine. "
        "After Figure 5."
    )
    alt = f"Kernels of source networks beside samples of the prior for {len(pairs)} kernel groups."
    return Picture(name, figure, alt, caption)


def old_pictures(evidence: Evidence, priors: PriorSet) -> list[tuple[str, bytes]]:
    """(Title, PNG) of each group that has its own picture only."""
    paths = [(row, evidence.files.path(row, _PICTURE)) for row in priors.rows]
    return [
        (f"Kernel group {row.labels.get('group')}", path.read_bytes())
        for row, path in paths
        if path is not None
    ]


def _scan(axis: Axes, example: Example) -> None:
    volume, low, high = black_background(example.image.astype(np.float32))
    _show(axis, example, volume, "gray", low, high)


def _outline(axis: Axes, mask: NDArray[Any], colour: str, width: float) -> None:
    outline(axis, mask.T, colour, width)


def _title(axis: Axes, name: str, more: str) -> None:
    if name:
        axis.set_title(figure_text(name, 26, 2), fontsize=9, color=INK, loc="left", pad=14 if more else 4)
    if more:
        axis.annotate(
            figure_text(more, 36), (0, 1), xycoords="axes fraction", xytext=(0, 3),
            textcoords="offset points", fontsize=7, color=MUTED,
        )  # fmt: skip


def _method(above: Axes, below: Axes, label: str, example: Example) -> None:
    mask: NDArray[Any] = example.mask if example.mask is not None else np.zeros_like(example.truth)
    _scan(above, example)
    _outline(above, example.truth, TRUTH, 1.8)
    _outline(above, mask, PREDICTION, 0.9)
    _title(above, label, f"Dice of this slice {_dice(example, mask):.2f}")
    if example.entropy is not None:
        _show(below, example, example.entropy.astype(np.float32), _UNSURE, 0.0, _most_nats(example))
        _outline(below, example.truth, TRUTH, 1.2)
        _title(below, "", "draws" if example.facts.uncertainty == "draws" else "softmax")


def _used(evidence: Evidence) -> dict[str, int]:
    """Prior's key -> how many of the shown networks came from it."""
    counts: dict[str, int] = {}
    for name in evidence.columns:
        for size in evidence.sizes:
            for target in evidence.chosen(name, size).values():
                row = evidence.row(target)
                for _, key in row.inputs.get("priors", ()) if row is not None else ():
                    counts[key] = counts.get(key, 0) + 1
    return counts


def _identity(row: NodeRow) -> str:
    return json.dumps(
        [_settings(row), sorted(map(list, row.inputs.get("bank", ())))], default=str, sort_keys=True
    )


def _set_title(rows: Sequence[NodeRow], sets: Sequence[Sequence[NodeRow]]) -> str:
    own, others = _settings(rows[0]), [_settings(other[0]) for other in sets if other is not rows]
    apart = [name for name in own if any(other.get(name) != own[name] for other in others)]
    first = [name for name in ("prior.kind", "prior.head", "prior.standardise") if name in apart] or apart[:2]
    return ", ".join(f"{name.removeprefix('prior.')} = {own[name]}" for name in first)


def _numbers(evidence: Evidence, row: NodeRow) -> tuple[NDArray[Any], NDArray[Any]] | None:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder: Path | None = evidence.files.folder(row, _NUMBERS)
    if folder is None:
        return None
    try:
        arrays = load_file(folder / _NUMBERS[0])
        return arrays["kernels"].reshape(-1, 27), arrays["samples"].reshape(-1, 27)
    except (OSError, KeyError, ValueError, SafetensorError):
        return None


def _strip(axis: Axes, kernels: NDArray[Any]) -> None:
    """Kernels side by side, the three planes of each one above the other; gaps are empty."""
    shown = kernels[:_N_SHOWN].astype(np.float32)
    largest = np.maximum(np.abs(shown).max(axis=1, keepdims=True, initial=0), 1e-12)
    canvas = np.full((11, 4 * len(shown) - 1), np.nan, dtype=np.float32)
    for place, kernel in enumerate((shown / largest).reshape(-1, 3, 3, 3)):
        for plane in range(3):
            canvas[4 * plane : 4 * plane + 3, 4 * place : 4 * place + 3] = kernel[plane]
    axis.imshow(canvas, cmap=_KERNEL_COLOURS, vmin=-1, vmax=1, interpolation="none", aspect="equal")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


def _show(axis: Axes, example: Example, values: NDArray[Any], colours: Any, low: float, high: float) -> None:
    # Rows of the array run along the volume's first kept axis: transposed, so that it runs to the right.
    aspect = example.facts.spacing_mm[1] / example.facts.spacing_mm[0]
    axis.imshow(
        values.T, cmap=colours, vmin=low, vmax=high, origin="lower", interpolation="none", aspect=aspect
    )
    axis.set_axis_off()


def _dice(example: Example, mask: NDArray[Any]) -> float:
    return overlap_row(mask, example.truth, example.facts.classes)["dice"]


def _most_nats(example: Example) -> float:
    """Entropy where every class is as likely as the others."""
    return math.log(1 + (len(example.facts.classes) or 1))


def _settings(row: NodeRow) -> dict[str, Any]:
    return {
        name: value for name, value in row.params.items() if name.startswith("prior.") and ".path" not in name
    }
