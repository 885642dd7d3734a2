"""A search's figures, importances and trials, kept as files with the sweep and with its parent run.

Written when a run ends; read back by whoever asks later, also from elsewhere. Knows nothing of Optuna.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.report.search_figures import SearchFigures, search_figures
from dwp_sweep.tracking.client import Tracking
from dwp_sweep.tracking.html import search_as_html
from dwp_sweep.tracking.parent import log_parent_files, parent_text
from dwp_sweep.tracking.runs import open_reader
from dwp_sweep.tracking.trials import (
    Importance,
    SearchTrials,
    importance_as_json,
    importances_from_json,
    trials_from_json,
)

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
