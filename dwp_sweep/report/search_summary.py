"""A search as a person reads it in a terminal: what was tried, what won in each condition, what mattered."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dwp_sweep.tracking.html import settings
from dwp_sweep.tracking.trials import Importance, SearchTrials, counted

_BAR = 24


def render_search(found: SearchTrials, importances: Sequence[Importance], console: Console) -> None:
    """Print counts, the best configuration of each condition and the importances."""
    n_studies = len(found.conditions)
    console.print(
        f"[bold]Search {escape(found.sweep)}[/]: {counts_text(found.counts())} in {n_studies} "
        f"stud{'y' if n_studies == 1 else 'ies'}"
    )
    if len(found.goals) == 1 and any(found.best(condition) for condition in found.conditions):
        console.print(_winners(found))
    for one in importances:
        _importance(one, n_studies > 1, len(found.goals) > 1, console)


def counts_text(counts: dict[str, int]) -> str:
    """``12 configurations: 5 complete, 6 given up, 1 failed``."""
    n_all = sum(counts.values())
    parts = counted(counts)
    return f"{n_all} configuration{'s' if n_all != 1 else ''}" + (f": {', '.join(parts)}" if parts else "")


def _winners(found: SearchTrials) -> Table:
    goal = found.goals[0]
    table = Table(header_style="bold", box=None, padding=(0, 2))
    table.add_column("" if len(found.conditions) == 1 else "condition")
    for parameter in found.parameters:
        table.add_column(escape(parameter.name))
    table.add_column(f"best {escape(goal.metric)}", justify="right")
    table.add_column("trial", justify="right")
    for word in ("complete", "given up", "failed"):
        table.add_column(word, justify="right")
    names = [parameter.name for parameter in found.parameters]
    for condition in found.conditions:
        best, counts = found.best(condition), found.counts(condition)
        cells = settings(best.values, names) if best else ["-"] * len(names)
        result = [f"{best.results[0]:.4f}", str(best.number)] if best else ["-", "-"]
        numbers = [str(counts[state]) for state in ("complete", "pruned", "failed")]
        name = condition if len(found.conditions) > 1 else "best"
        table.add_row(escape(name), *(escape(cell) for cell in cells), *result, *numbers)
    return table


def _importance(one: Importance, has_conditions: bool, has_goals: bool, console: Console) -> None:
    about = [one.condition] if has_conditions else []
    about += [one.metric] if has_goals else []
    title = "Importance" + (f" ({escape(', '.join(about))})" if about else "")
    if not one.shares:
        console.print(f"[bold]{title}[/]: not told, {escape(one.note)}", soft_wrap=True)
        return
    console.print(f"[bold]{title}[/]" + (f", {escape(one.note)}" if one.note else ""), soft_wrap=True)
    table = Table.grid(padding=(0, 2))
    for name, share in one.shares.items():
        filled = round(_BAR * share)
        table.add_row(
            f"  {escape(name)}",
            f"{100 * share:3.0f} %",
            f"[cyan]{'█' * filled}[/][dim]{'·' * (_BAR - filled)}[/]",
        )
    console.print(table)
