"""A search's figures, importances and trials, kept as files with the sweep and with its parent run.

Written when a run ends; read back by whoever asks later, on any machine.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TypeVar

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.report.search.outcome_plots import importance_plot, learning_curves, pareto_plot
from dwp_sweep.report.search.parameter_plots import parallel_plot, slice_plot
from dwp_sweep.report.search.picture import SearchPicture
from dwp_sweep.stages.figures import save
from dwp_sweep.tables import Table, TableCell, left, right, table_row
from dwp_sweep.tracking.mlflow_format import setting_texts
from dwp_sweep.tracking.read.runs import open_reader, parent_text
from dwp_sweep.tracking.read.trials import (
    Importance,
    SearchTrials,
    counted,
    importance_as_json,
    importances_from_json,
    trials_from_json,
)
from dwp_sweep.tracking.write.parent import Tracking, log_parent_files

ParsedT = TypeVar("ParsedT")
TRIALS, IMPORTANCE, FIGURES = "trials.json", "importance.json", "figures"
_BAR = 24
"""Length of a bar that stands for all of the importance, in characters."""


class SearchFigures(Mapping[str, SearchPicture]):
    """Name -> matplotlib figure.

    Args:
        pictures: ``slice``, ``parallel`` (with the objective's name behind them where there are several),
            ``learning_curves``, ``importance`` and ``pareto``, those that could be drawn.
    """

    def __init__(self, pictures: Mapping[str, SearchPicture]) -> None:
        self._pictures = dict(pictures)

    def __getitem__(self, name: str) -> SearchPicture:
        return self._pictures[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pictures)

    def __len__(self) -> int:
        return len(self._pictures)

    def __repr__(self) -> str:
        return f"SearchFigures({', '.join(self._pictures)})"

    def _repr_html_(self) -> str:
        if not self:
            return "<i>no configuration has ended yet</i>"
        texts = {
            name: base64.b64encode(picture._repr_png_()).decode() for name, picture in self._pictures.items()
        }
        return "".join(
            f"<div><img alt='{escape(name)}' style='max-width:100%' src='data:image/png;base64,{text}'></div>"
            for name, text in texts.items()
        )

    def save(self, folder: Path) -> dict[str, Path]:
        """Write them as PNG files.

        Args:
            folder: Made where it is not there.

        Returns:
            Name -> file.
        """
        paths = {name: folder / f"{name}.png" for name in self._pictures}
        for name, path in paths.items():
            save(self._pictures[name], path)
        return paths


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
        importances = (_importance(importance, is_one_study, is_one_goal) for importance in self.importances)
        return _winners(self.trials), *importances

    def _repr_html_(self) -> str:
        from dwp_sweep.tables import notebook_html

        return notebook_html(self.tables())


def search_figures(trials: SearchTrials, importances: Sequence[Importance] = ()) -> SearchFigures:
    """Draw a search.

    Args:
        trials: What was tried.
        importances: How much each parameter mattered.
    """
    pictures: dict[str, SearchPicture | None] = {}
    has_ended = any(row.state == "complete" or row.reached is not None for row in trials.trials)
    if trials.parameters and has_ended:
        for place, goal in enumerate(trials.goals):
            end = "" if len(trials.goals) == 1 else f"_{goal.metric}"
            pictures[f"slice{end}"] = slice_plot(trials, place)
            pictures[f"parallel{end}"] = parallel_plot(trials, place)
    pictures["learning_curves"] = learning_curves(trials)
    pictures["importance"] = importance_plot(trials.sweep, importances)
    pictures["pareto"] = pareto_plot(trials)
    return SearchFigures({name: picture for name, picture in pictures.items() if picture is not None})


def kept_report(sweep: str, folder: Path, tracking_uri: str | None) -> SearchReport:
    """The report that the last run left: in the sweep's folder, else with its parent run in MLflow.

    Args:
        sweep: Its name.
        folder: Of the sweep on the storage.
        tracking_uri: As for `best_config`.

    Raises:
        InputError: Neither has it.
    """
    texts = [_text_of(folder / name) for name in (TRIALS, IMPORTANCE)]
    if texts[0] is None:
        client, _ = open_reader(tracking_uri)
        texts = [parent_text(client, sweep, name) for name in (TRIALS, IMPORTANCE)]
    if texts[0] is None:
        fix = "a search space with a section 'search' leaves them when its run ends"
        raise InputError(Problem(sweep, "no search of this name has left its trials here", fix))
    trials = _parsed(trials_from_json, texts[0], sweep)
    return SearchReport(trials, _parsed(importances_from_json, texts[1] or "[]", sweep))


def _importance(importance: Importance, is_one_study: bool, is_one_goal: bool) -> Table:
    about = [*([] if is_one_study else [importance.condition]), *([] if is_one_goal else [importance.metric])]
    title = "Importance" + (f" ({', '.join(about)})" if about else "")
    if not importance.shares:
        return Table(left(""), (), title, f": not told, {importance.note}")
    rows = []
    for name, share in importance.shares.items():
        bar = round(_BAR * share)
        drawn = TableCell("█" * bar, "bar", "·" * (_BAR - bar))
        rows.append(table_row([f"  {name}", f"{100 * share:3.0f} %", drawn]))
    return Table(left("", "", ""), tuple(rows), title, f", {importance.note}" if importance.note else "")


def _winners(trials: SearchTrials) -> Table:
    """One row a condition; none for several objectives, which have a front and no best configuration."""
    counts, n_studies = trials.counts(), len(trials.conditions)
    n_all, parts = sum(counts.values()), ", ".join(counted(counts))
    subtitle = (
        f": {n_all} configuration{'s' if n_all != 1 else ''}"
        + (f": {parts}" if parts else "")
        + f" in {n_studies} stud{'y' if n_studies == 1 else 'ies'}"
    )
    names = [parameter.name for parameter in trials.parameters]
    rows = []
    if len(trials.goals) == 1 and any(map(trials.best, trials.conditions)):
        for condition in trials.conditions:
            best, own = trials.best(condition), trials.counts(condition)
            rows.append(table_row([
                condition if n_studies > 1 else "best",
                *setting_texts(best.values if best else {}, names),
                *([f"{best.results[0]:.4f}", str(best.number)] if best else ["-", "-"]),
                *(str(own[state]) for state in ("complete", "pruned", "failed")),
            ]))  # fmt: skip
    columns = (
        *left("condition" if n_studies > 1 else "", *names),
        *right(f"best {trials.goals[0].metric}", "trial", "complete", "pruned", "failed"),
    )
    return Table(columns, tuple(rows), f"Search {trials.sweep}", subtitle)


def _text_of(path: Path) -> str | None:
    try:
        return path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _parsed(parse: Callable[[str], ParsedT], text: str, sweep: str) -> ParsedT:
    try:
        return parse(text)
    except ValueError as error:
        raise InputError(Problem(sweep, str(error), "run it again: it writes them anew")) from None
