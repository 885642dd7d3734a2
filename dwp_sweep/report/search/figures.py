"""All figures of a search, by name; a notebook shows them one below the other."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from dwp_sweep.report.search.importance_plot import importance_plot
from dwp_sweep.report.search.learning_curves import learning_curves
from dwp_sweep.report.search.parallel_plot import parallel_plot
from dwp_sweep.report.search.pareto_plot import pareto_plot
from dwp_sweep.report.search.picture import SearchPicture
from dwp_sweep.report.search.slice_plot import slice_plot
from dwp_sweep.stages.drawing import save
from dwp_sweep.tracking.read.trials import Importance, SearchTrials


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
        texts = {name: base64.b64encode(one._repr_png_()).decode() for name, one in self._pictures.items()}
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


def search_figures(found: SearchTrials, importances: Sequence[Importance] = ()) -> SearchFigures:
    """Draw a search.

    Args:
        found: What was tried.
        importances: How much each parameter mattered.
    """
    pictures: dict[str, SearchPicture | None] = {}
    has_ended = any(row.state == "complete" or row.reached is not None for row in found.trials)
    if found.parameters and has_ended:
        for place, goal in enumerate(found.goals):
            end = "" if len(found.goals) == 1 else f"_{goal.metric}"
            pictures[f"slice{end}"] = slice_plot(found, place)
            pictures[f"parallel{end}"] = parallel_plot(found, place)
    pictures["learning_curves"] = learning_curves(found)
    pictures["importance"] = importance_plot(found.sweep, importances)
    pictures["pareto"] = pareto_plot(found)
    return SearchFigures({name: one for name, one in pictures.items() if one is not None})
