from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from dwp_sweep.data.config import DatasetConfig, PhantomConfig
from dwp_sweep.data.phantom.dataset import write_phantom
from dwp_sweep.errors import StopTrial
from dwp_sweep.stages import network_training
from dwp_sweep.stages.network_training import read_cases
from dwp_sweep.training.compute import ComputeConfig


@pytest.fixture
def dataset(tmp_path: Path) -> DatasetConfig:
    write_phantom(PhantomConfig(n_subjects=3, shape=(16, 16, 16)), tmp_path / "set")
    return DatasetConfig(layout="msd", root=str(tmp_path / "set"))


def test_a_stage_says_how_many_scans_are_read_and_may_be_asked_to_leave(
    dataset: DatasetConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_training, "TELL_EVERY_S", 0.0)
    compute = ComputeConfig(cache_dir=str(tmp_path / "cache"))
    told: list[tuple[str, int, dict[str, float]]] = []

    def emit(stage: str, step: int, metrics: Mapping[str, float]) -> None:
        told.append((stage, step, dict(metrics)))

    assert len(read_cases(dataset, compute, "source", emit)) == 3
    assert told == [("source", 0, {"scans_read": n, "scans": 3.0}) for n in (1.0, 2.0, 3.0)]

    def leave(stage: str, step: int, metrics: Mapping[str, float]) -> None:
        raise StopTrial("the run is stopping")

    with pytest.raises(StopTrial):
        read_cases(dataset, compute, "source", leave)


def test_scans_that_are_at_hand_soon_are_not_spoken_of(
    dataset: DatasetConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_training, "TELL_EVERY_S", 600.0)
    compute = ComputeConfig(cache_dir=str(tmp_path / "cache"))
    read_cases(dataset, compute, "source", lambda stage, step, metrics: pytest.fail("spoken of"))
