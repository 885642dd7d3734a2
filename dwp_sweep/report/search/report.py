"""A search's figures, importances and trials, kept as files with the sweep and with its parent run.

Written when a run ends; read back by whoever asks later, also from elsewhere. Knows nothing of Optuna.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.report.search.figures import SearchFigures, search_figures
from dwp_sweep.tracking.client import Tracking
from dwp_sweep.tracking.read.html import search_as_html, settings
from dwp_sweep.tracking.read.parent import parent_text
from dwp_sweep.tracking.read.runs import open_reader
from dwp_sweep.tracking.read.trials import (
    Importance,
    SearchTrials,
    counted,
    importance_as_json,
    importances_from_json,
    trials_from_json,
)
from dwp_sweep.tracking.write.parent import log_parent_files

ParsedT = TypeVar("ParsedT")
TRIALS, IMPORTANCE, FIGURES = "trials.json", "importance.json", "figures"


@dataclass(frozen=True)
class SearchReport:
    """What a search has found so far.

    Attributes:
        trials: What was tried.
        importances: How much each parameter mattered, by condition and objective.
    """

    trials: SearchTrials
    importances: tuple[Importance, ...] = ()

    def figures(self) -> SearchFigures:
        """Draw it."""
        return search_figures(self.trials, self.importances)

    def write(self, folder: Path) -> dict[str, Path]:
        """Write ``figures/*.png``, ``importance.json`` and ``trials.json``.

        Args:
            folder: Made where it is not there.

        Returns:
            Place in the folder -> file.
        """
        folder.mkdir(parents=True, exist_ok=True)
        texts = {TRIALS: self.trials.to_json(), IMPORTANCE: importance_as_json(self.importances)}
        for name, text in texts.items():
            (folder / name).write_text(text + "\n")
        drawn = self.figures().save(folder / FIGURES)
        files = {f"{FIGURES}/{path.name}": path for path in drawn.values()}
        return files | {name: folder / name for name in texts}

    def keep(self, folder: Path, tracking: Tracking) -> tuple[Path, ...]:
        """`write`, and attach all of it to the sweep's parent run."""
        files = self.write(folder)
        log_parent_files(tracking, files)
        return tuple(files.values())

    def _repr_html_(self) -> str:
        return search_as_html(self.trials, self.importances)


def kept_report(sweep: str, folder: Path, tracking_uri: str | None) -> SearchReport:
    """The report that the last run left: in the sweep's folder, else with its parent run in MLflow.

    Args:
        sweep: Its name.
        folder: Of the sweep on the storage.
        tracking_uri: As for `best_config`.

    Raises:
        InputError: Neither has it.
    """
    texts = [_read(folder / name) for name in (TRIALS, IMPORTANCE)]
    if texts[0] is None:
        client, _ = open_reader(tracking_uri)
        texts = [parent_text(client, sweep, name) for name in (TRIALS, IMPORTANCE)]
    if texts[0] is None:
        fix = "a search space with a section 'search' leaves them when its run ends"
        raise InputError(Problem(sweep, "no search of this name has left its trials here", fix))
    trials = _parsed(trials_from_json, texts[0], sweep)
    return SearchReport(trials, _parsed(importances_from_json, texts[1] or "[]", sweep))


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _parsed(parse: Callable[[str], ParsedT], text: str, sweep: str) -> ParsedT:
    try:
        return parse(text)
    except ValueError as error:
        raise InputError(Problem(sweep, str(error), "run it again: it writes them anew")) from None


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
