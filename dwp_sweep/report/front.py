"""A Pareto front, and the best of each condition, as a person reads them in a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dwp_sweep.tracking.conditions import BestByCondition
from dwp_sweep.tracking.html import settings
from dwp_sweep.tracking.pareto import Front
from dwp_sweep.tracking.statistic import Stat

_REPORTED = ("test_dice", "test_iou")


def render_front(front: Front, console: Console) -> None:
    """Print a `Front`, the best of its first objective first."""
    ways = ", ".join(
        f"{goal.metric} ({'more' if goal.mode == 'max' else 'less'} is better)" for goal in front.goals
    )
    console.print(
        f"[bold]Pareto front of sweep {escape(front.sweep)}[/]: {len(front.points)} of {front.n_compared} "
        f"configurations, none of them beaten in all of {escape(ways)}",
        soft_wrap=True,
    )
    table = Table(header_style="bold", box=None, padding=(0, 2))
    table.add_column("#", justify="right")
    for name in front.varied:
        table.add_column(escape(name))
    for name in front.objectives:
        table.add_column(f"{escape(name)} mean (std)", justify="right")
    table.add_column("runs", justify="right")
    table.add_column("")
    for rank, point in enumerate(front.points, start=1):
        cells = [escape(text) for text in settings(point.values, front.varied)]
        cells += [_spread(point.metrics.get(name)) for name in front.objectives]
        style = "bold" if point.is_knee else None
        mark = "knee" if point.is_knee else ""
        table.add_row(str(rank), *cells, str(len(point.run_ids)), mark, style=style)
    console.print(table)
    knee = next((point for point in front.points if point.is_knee), None)
    if knee is not None:
        console.print("knee: nearest to the best of every objective at once, in shares of the front's ranges")
        for run_id in knee.run_ids:
            console.print(f"run {escape(run_id)}", soft_wrap=True)
    for note in front.notes:
        console.print(f"[yellow]note[/] {escape(note)}", soft_wrap=True)


def render_conditions(found: BestByCondition, console: Console) -> None:
    """Print one line a condition."""
    names = escape(", ".join(found.by))
    console.print(
        f"[bold]Best of sweep {escape(found.sweep)} for each {names}[/], by mean {escape(found.metric)}"
    )
    winners = [one.best.candidates[0] for one in found]
    metrics = [found.metric, *(name for name in _REPORTED if any(name in one.metrics for one in winners))]
    table = Table(header_style="bold", box=None, padding=(0, 2))
    for name in (*found.by, *found.varied):
        table.add_column(escape(name))
    for name in metrics:
        table.add_column(f"{escape(name)} mean (std)", justify="right")
    table.add_column("runs", justify="right")
    table.add_column("compared", justify="right")
    for one, winner in zip(found, winners, strict=True):
        cells = [escape(t) for t in (*settings(one.values, found.by), *settings(winner.values, found.varied))]
        cells += [_spread(winner.metrics.get(name)) for name in metrics]
        table.add_row(*cells, str(len(winner.run_ids)), str(len(one.best.candidates)))
    console.print(table)
    notes = [
        f"{', '.join(f'{name}={value}' for name, value in one.values.items())}: {note}"
        for one in found
        for note in one.best.notes
    ]
    common = {note for one in found for note in one.best.notes}
    for note in sorted(common) if all(set(one.best.notes) == common for one in found) else notes:
        console.print(f"[yellow]note[/] {escape(note)}", soft_wrap=True)
    for text in found.left_out:
        console.print(f"[yellow]note[/] left out {escape(text)}", soft_wrap=True)


def _spread(found: Stat | None) -> str:
    if found is None:
        return "-"
    return f"{found.mean:.4g}" + (f" ({found.std:.2g})" if found.std is not None else "")
