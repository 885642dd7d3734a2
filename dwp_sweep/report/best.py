"""The best configuration as a person reads it: what won, how sure, what stood against it, where it lies."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dwp_sweep.tracking.answers import Best
from dwp_sweep.tracking.candidates import Candidate
from dwp_sweep.tracking.setting_text import setting_text
from dwp_sweep.tracking.statistic import Stat

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
            table.add_row(escape(name), f"[bold]{_spread(best.metrics[name])}[/] [dim]{note}[/]")
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


def _spread(summary: Stat) -> str:
    if summary.std is None:
        return f"{summary.mean:.4f} (one run: no spread known)"
    return f"{summary.mean:.4f} (std {summary.std:.4f}, n = {summary.n})"
