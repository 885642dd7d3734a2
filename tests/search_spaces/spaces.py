"""The project's search-space files, planned without their scans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import optuna

from dwp_sweep.config import sweep as sweeps
from dwp_sweep.config.datasets import PreparedData
from dwp_sweep.config.experiment import ExperimentConfig
from dwp_sweep.config.search.definition import SearchCondition, SearchSpace
from dwp_sweep.config.space import Space, load_space
from dwp_sweep.config.sweep import Sweep, build_sweep
from dwp_sweep.harness.search.study import Study

FOLDER = Path(__file__).resolve().parents[2] / "search_spaces"
FILES = sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.yaml"))
SEARCHES = ("latent_dim", "freeze_points", "loss_weights", "source_harvest", "joint")
GRIDS = ("paper_grid", "paper_grid_large", "paper_faithful")


def space(name: str, *overrides: str, smoke: bool = False) -> Space:
    """A file of the project."""
    return load_space(FOLDER / f"{name}.yaml", overrides, smoke)


def planned(space: Space) -> Sweep:
    """Its sweep, as if its scans lay somewhere and were in order."""

    def prepare(conditions: Sequence[ExperimentConfig], *_: Any) -> PreparedData:
        found = [data for one in conditions for data in (one.data.source, one.data.target) if data]
        return PreparedData(
            {data: data.model_copy(update={"root": "/scans", "fingerprint": "f"}) for data in found}, ()
        )

    with patch.object(sweeps, "prepare_datasets", prepare):
        return build_sweep(space, Path("/nowhere"))


def search_of(space: Space) -> SearchSpace:
    """What a file searches for."""
    assert space.search is not None
    return space.search


def suggestions(
    search: SearchSpace, n: int, condition: SearchCondition | None = None
) -> list[dict[str, Any]]:
    """Configurations that a study of it asks for, before any result."""
    study = Study("test", search, condition or search.conditions[0], optuna.storages.InMemoryStorage())
    asked = [study.ask() for _ in range(n)]
    return [dict(one.values) for one in asked if one is not None]
