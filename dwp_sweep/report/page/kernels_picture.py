"""Kernels of source networks beside samples of the prior, by group (Figure 5).

Priors that keep what their own figure shows as numbers are drawn together; of older ones their picture is
taken as it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray

from dwp_sweep.report.page.canvas import INK, MUTED, Picture, drawing, new_figure
from dwp_sweep.report.page.evidence import Evidence
from dwp_sweep.tracking.read.rows import NodeRow

_NUMBERS = ("kernels_and_samples.safetensors", "kernels_and_samples.json")
_PICTURE = "figures/kernels_and_samples.png"
_COLOURS = LinearSegmentedColormap.from_list("kernel", ["#0b5394", "#f7f7f7", "#b45309"])
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


def prior_sets(evidence: Evidence) -> list[PriorSet]:
    """Priors that the shown networks came from, grouped by their settings; the set used most comes first."""
    used = _used(evidence)
    groups: dict[str, dict[int, NodeRow]] = {}
    for row in evidence.rows:
        if row.stage == "prior" and row.state == "done" and (not used or used.get(row.key, 0)):
            groups.setdefault(_identity(row), {})[int(row.labels.get("group") or 0)] = row
    sets = [tuple(one[group] for group in sorted(one)) for one in groups.values()]
    sets.sort(key=lambda rows: -sum(used.get(row.key, 0) for row in rows))
    return [PriorSet(_title(rows, sets), rows) for rows in sets]


def kernels_picture(evidence: Evidence, found: PriorSet, name: str) -> Picture | None:
    """All groups of a set in one figure; None where the nodes did not keep the numbers."""
    read = [(row, _numbers(evidence, row)) for row in found.rows]
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
            left.set_ylabel(f"{row.labels.get('group')}", rotation=0, ha="right", va="center", fontsize=9)
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


def old_pictures(evidence: Evidence, found: PriorSet) -> list[tuple[str, bytes]]:
    """(Title, PNG) of each group that has its own picture only."""
    paths = [(row, evidence.files.path(row, _PICTURE)) for row in found.rows]
    return [
        (f"Kernel group {row.labels.get('group')}", path.read_bytes())
        for row, path in paths
        if path is not None
    ]


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


def _settings(row: NodeRow) -> dict[str, Any]:
    return {
        name: value for name, value in row.params.items() if name.startswith("prior.") and ".path" not in name
    }


def _title(rows: Sequence[NodeRow], sets: Sequence[Sequence[NodeRow]]) -> str:
    own, others = _settings(rows[0]), [_settings(one[0]) for one in sets if one is not rows]
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
    axis.imshow(canvas, cmap=_COLOURS, vmin=-1, vmax=1, interpolation="none", aspect="equal")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
