"""The best configuration as a person reads it: what won, how sure, what stood against it, where it lies."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dwp_sweep.tracking.params import setting_text
from dwp_sweep.tracking.read.best import Best
from dwp_sweep.tracking.read.candidates import Candidate, Stat
from dwp_sweep.tracking.read.conditions import BestByCondition
from dwp_sweep.tracking.read.html import settings
from dwp_sweep.tracking.read.pareto import Front

_N_CANDIDATES = 8
_SHOWN = ("test_dice", "test_iou")


def render_best(best: Best, console: Console) -> None:
    """Print a `Best`."""
    console.print(
        f"[bold]Best of {_count(best)} in sweep {escape(best.sweep)}[/], by mean {escape(best.metric)}"
    )
    console.print(_summary(best))
    if len(best.candidates) > 1:
        console.print(_ranking(best))
    for line in _places(best):
        console.print(line, soft_wrap=True)
    for note in best.notes:
        console.print(f"[yellow]note[/] {escape(note)}")


def _summary(best: Best) -> Table:
    table = Table.grid(padding=(0, 2))
    for name in dict.fromkeys(("method", "train_size", *best.varied)):
        if name in best.candidates[0].values:
            table.add_row(escape(name), f"[bold]{escape(setting_text(best.candidates[0].values[name]))}[/]")
    for name in (best.metric, *_SHOWN):
        if name in best.metrics:
            note = "decided" if name == best.metric else "reported only"
            table.add_row(escape(name), f"[bold]{best.metrics[name].explained()}[/] [dim]{note}[/]")
    return table


def _ranking(best: Best) -> Table:
    table = Table(title=None, header_style="bold", box=None, padding=(0, 2))
    table.add_column("#", justify="right")
    for name in best.varied:
        table.add_column(escape(name))
    metrics = [best.metric, *(name for name in _SHOWN if name in best.metrics)]
    for name in metrics:
        table.add_column(f"{escape(name)} mean (std)", justify="right")
    table.add_column("runs", justify="right")
    for rank, candidate in enumerate(best.candidates[:_N_CANDIDATES], start=1):
        table.add_row(str(rank), *_cells(candidate, best.varied, metrics), str(len(candidate.run_ids)))
    hidden = len(best.candidates) - _N_CANDIDATES
    if hidden > 0:
        table.add_row("", f"[dim]and {hidden} more[/]")
    return table


def _cells(candidate: Candidate, varied: tuple[str, ...], metrics: list[str]) -> list[str]:
    settings = [
        escape(setting_text(candidate.values[name])) if name in candidate.values else "-" for name in varied
    ]
    return settings + [str(candidate.metrics[name]) if name in candidate.metrics else "-" for name in metrics]


def _places(best: Best) -> list[str]:
    """Lines that are never cut, whatever the terminal's width: people copy run ids and addresses."""
    lines = [f"run {escape(run_id)}  [dim]{escape(best.artifacts[run_id])}[/]" for run_id in best.run_ids]
    stages = Counter(node.stage for node in best.upstream)
    if stages:
        counts = ", ".join(f"{n} {escape(stage)}" for stage, n in stages.items())
        lines.append(f"upstream: {counts} (--json names their runs)")
    return lines


def _count(best: Best) -> str:
    n = len(best.candidates)
    return f"{n} configuration" + ("s" if n != 1 else "")


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
        cells += [_short_spread(point.metrics.get(name)) for name in front.objectives]
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
        cells += [_short_spread(winner.metrics.get(name)) for name in metrics]
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


def _short_spread(found: Stat | None) -> str:
    return "-" if found is None else found.short()
