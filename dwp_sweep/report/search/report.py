"""A search's figures, importances and trials, kept as files with the sweep and with its parent run.

Written when a run ends; read back by whoever asks later, also from elsewhere. Knows nothing of Optuna.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.report.search.figures import SearchFigures, search_figures
from dwp_sweep.tables.table import Table, TableCell, left, right, table_row
from dwp_sweep.tracking.client import Tracking
from dwp_sweep.tracking.read.answer_tables import setting_texts
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
_BAR = 24
"""Length of a bar that stands for all of the importance, in characters."""


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

    def tables(self) -> tuple[Table, ...]:
        """Counts and the best configuration of each condition, then the importances."""
        is_one_study, is_one_goal = len(self.trials.conditions) == 1, len(self.trials.goals) == 1
        found = (_importance(one, is_one_study, is_one_goal) for one in self.importances)
        return _winners(self.trials), *found

    def _repr_html_(self) -> str:
        from dwp_sweep.tables.html import notebook_html

        return notebook_html(self.tables())


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


def _winners(found: SearchTrials) -> Table:
    """One row a condition; none for several objectives, which have a front and no best configuration."""
    counts, n_studies = found.counts(), len(found.conditions)
    n_all, parts = sum(counts.values()), ", ".join(counted(counts))
    subtitle = (
        f": {n_all} configuration{'s' if n_all != 1 else ''}"
        + (f": {parts}" if parts else "")
        + f" in {n_studies} stud{'y' if n_studies == 1 else 'ies'}"
    )
    names = [parameter.name for parameter in found.parameters]
    rows = []
    if len(found.goals) == 1 and any(map(found.best, found.conditions)):
        for condition in found.conditions:
            best, own = found.best(condition), found.counts(condition)
            rows.append(table_row([
                condition if n_studies > 1 else "best",
                *setting_texts(best.values if best else {}, names),
                *([f"{best.results[0]:.4f}", str(best.number)] if best else ["-", "-"]),
                *(str(own[state]) for state in ("complete", "pruned", "failed")),
            ]))  # fmt: skip
    columns = (
        *left("condition" if n_studies > 1 else "", *names),
        *right(f"best {found.goals[0].metric}", "trial", "complete", "given up", "failed"),
    )
    return Table(columns, tuple(rows), f"Search {found.sweep}", subtitle)


def _importance(one: Importance, is_one_study: bool, is_one_goal: bool) -> Table:
    about = [*([] if is_one_study else [one.condition]), *([] if is_one_goal else [one.metric])]
    title = "Importance" + (f" ({', '.join(about)})" if about else "")
    if not one.shares:
        return Table(left(""), (), title, f": not told, {one.note}")
    rows = []
    for name, share in one.shares.items():
        bar = round(_BAR * share)
        drawn = TableCell("█" * bar, "bar", "·" * (_BAR - bar))
        rows.append(table_row([f"  {name}", f"{100 * share:3.0f} %", drawn]))
    return Table(left("", "", ""), tuple(rows), title, f", {one.note}" if one.note else "")
