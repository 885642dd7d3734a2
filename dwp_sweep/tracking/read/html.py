"""Answers as a notebook shows them: small HTML tables in the notebook's own colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from dwp_sweep.tracking.params import setting_text
from dwp_sweep.tracking.read.candidates import Stat
from dwp_sweep.tracking.read.trials import counted

if TYPE_CHECKING:
    from dwp_sweep.tracking.read.best import Best
    from dwp_sweep.tracking.read.candidates import Candidate
    from dwp_sweep.tracking.read.conditions import BestByCondition
    from dwp_sweep.tracking.read.pareto import Front
    from dwp_sweep.tracking.read.trials import Importance, SearchTrials

_N_SHOWN = 8
_REPORTED = ("test_dice", "test_iou")


def best_as_html(best: Best) -> str:
    """The winner first, what stood against it beneath."""
    metrics = [best.metric, *(name for name in _REPORTED if name in best.metrics)]
    own = best.candidates[0].values
    names = [n for n in dict.fromkeys(("method", "train_size", *best.varied)) if n in own or n in best.varied]
    rows = [
        [str(rank), *settings(one.values, names), *(spread(one.metrics.get(name)) for name in metrics)]
        for rank, one in enumerate(best.candidates[:_N_SHOWN], start=1)
    ]
    n = len(best.candidates)
    title = f"Best of {n} configuration{'s' if n != 1 else ''} in sweep {best.sweep}, by mean {best.metric}"
    return _page(title, ["#", *names, *metrics], rows, best.notes, strong=0)


def conditions_as_html(found: BestByCondition) -> str:
    """One row a condition."""
    winners: list[Candidate] = [one.best.candidates[0] for one in found]
    metrics = [found.metric, *(name for name in _REPORTED if any(name in one.metrics for one in winners))]
    rows = [
        [
            *settings(one.values, found.by),
            *settings(winner.values, found.varied),
            *(spread(winner.metrics.get(name)) for name in metrics),
        ]
        for one, winner in zip(found, winners, strict=True)
    ]
    title = f"Best of sweep {found.sweep} by {', '.join(found.by)}, by mean {found.metric}"
    return _page(title, [*found.by, *found.varied, *metrics], rows, found.left_out)


def front_as_html(front: Front) -> str:
    """One row a point, the knee in bold."""
    rows = [
        [
            *settings(point.values, front.varied),
            *(spread(point.metrics.get(name)) for name in front.objectives),
            "knee" if point.is_knee else "",
        ]
        for point in front.points
    ]
    knee = next((place for place, point in enumerate(front.points) if point.is_knee), None)
    title = f"Pareto front of sweep {front.sweep}: {len(front.points)} of {front.n_compared} configurations"
    return _page(title, [*front.varied, *front.objectives, ""], rows, front.notes, knee)


def search_as_html(found: SearchTrials, importances: Sequence[Importance]) -> str:
    """What was tried, the best of each condition, what mattered."""
    counts = found.counts()
    parts = ", ".join(counted(counts))
    title = f"Search {found.sweep}: {sum(counts.values())} configurations" + (f", {parts}" if parts else "")
    names = [parameter.name for parameter in found.parameters]
    goal = found.goals[0].metric
    rows = [
        [condition, *settings(best.values, names), f"{best.results[0]:.4f}", str(best.number)]
        for condition in found.conditions
        if (best := found.best(condition)) is not None
    ]
    notes = [
        f"importance, {one.condition}, {one.metric}: "
        + (", ".join(f"{name} {100 * share:.0f} %" for name, share in one.shares.items()) or one.note)
        for one in importances
    ]
    return _page(title, ["condition", *names, f"best {goal}", "trial"], rows, notes)


def settings(values: Mapping[str, object], names: Sequence[str]) -> list[str]:
    """The texts of some settings; a dash where one does not apply."""
    return [setting_text(values[name]) if name in values else "-" for name in names]


def spread(found: Stat | None) -> str:
    """``0.7382 ± 0.011 (n = 2)``; a dash for nothing."""
    return "-" if found is None else found.short_plus_minus()


def _page(
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    notes: Sequence[str],
    strong: int | None = None,
) -> str:
    head = "".join(f"<th style='text-align:left'>{escape(text)}</th>" for text in header)
    lines = [
        "<tr>"
        + "".join(f"<td style='text-align:left'>{_cell(text, place == strong)}</td>" for text in row)
        + "</tr>"
        for place, row in enumerate(rows)
    ]
    below = "".join(f"<div><small>{escape(note)}</small></div>" for note in notes)
    return (
        f"<div><b>{escape(title)}</b><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table>{below}</div>"
    )


def _cell(text: str, is_strong: bool) -> str:
    return f"<b>{escape(text)}</b>" if is_strong else escape(text)
