from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.errors import InputError
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.tracking.read.pareto import pareto_front
from dwp_sweep.tracking.read.reader import SweepReader
from dwp_sweep.tracking.read.runs import parent_facts
from dwp_sweep.tracking.write.parent import Tracking, log_facts
from tests.tracking.many_runs import write_records, write_runs

Add = Callable[..., str]


def add_pair(add_run: Add, lr: float, dice: float, wall_s: float, splits: tuple[int, ...] = (0, 1)) -> None:
    """One configuration on some splits; the last epoch is worse than the best one."""
    for split in splits:
        metrics = {"best_val_dice": dice + 0.01 * split, "val_dice": 0.1, "test_dice": 0.99, "wall_s": wall_s}
        add_run(metrics, {"target.lr": lr}, method="fine_tune", train_size=5, split=split, seed=0)


@pytest.fixture
def three(add_run: Add, tracking: Tracking) -> str:
    add_pair(add_run, 1e-1, 0.9, 7200.0)
    add_pair(add_run, 1e-2, 0.88, 1800.0)
    add_pair(add_run, 1e-3, 0.5, 900.0)
    add_pair(add_run, 1e-4, 0.4, 3600.0)  # beaten by the second in both
    add_pair(add_run, 1e-5, 0.99, 1.0, splits=(0,))  # lucky: one split only
    return tracking.sweep_name


def test_a_front_has_means_over_splits_and_leaves_out_what_lacks_some(three: str, uri: str) -> None:
    front = pareto_front(three, ("val_dice", "hours"), tracking_uri=uri)
    assert [point.values["target.lr"] for point in front.points] == [0.1, 0.01, 0.001]
    assert [point.is_knee for point in front.points] == [False, True, False]
    assert front.points[1].metrics["val_dice"].mean == pytest.approx(0.885)
    assert front.points[1].metrics["hours"].mean == 0.5 and front.points[1].metrics["hours"].n == 2
    assert front.n_compared == 4 and front.varied == ("target.lr",)
    assert any("fewer than 2 splits" in note for note in front.notes)
    assert "knee" in front._repr_html_()


def test_hours_are_shared_as_the_sweep_was(three: str, tracking: Tracking, uri: str) -> None:
    assert any(
        "not known" in note for note in pareto_front(three, ("val_dice", "gpu_hours"), None, uri).notes
    )
    log_facts(tracking, ("val_dice", "gpu_hours"), {"target": (2.0, 0.25), "source": (8.0, 1.0)})
    front = pareto_front(three, tracking_uri=uri)
    assert front.objectives == ("val_dice", "gpu_hours") and not any("known" in note for note in front.notes)
    assert front.points[0].metrics["gpu_hours"].mean == 2.0 * 0.25
    cpu = pareto_front(three, ("val_dice", "cpu_hours"), tracking_uri=uri)
    assert cpu.points[0].metrics["cpu_hours"].mean == 2.0 * 2.0


def test_a_test_metric_is_refused_and_so_is_a_single_objective(three: str, uri: str) -> None:
    with pytest.raises(InputError, match="never used to choose"):
        pareto_front(three, ("val_dice", "test_dice"), tracking_uri=uri)
    with pytest.raises(InputError, match="is no validation metric"):
        pareto_front(three, ("val_dice", "dollars"), tracking_uri=uri)
    with pytest.raises(InputError, match="needs two objectives"):
        pareto_front(three, ("val_dice",), tracking_uri=uri)
    with pytest.raises(InputError, match="searched for no objectives"):
        pareto_front(three, tracking_uri=uri)


def test_large_sweeps_give_the_same_front_from_few_columns(
    tracking: Tracking, mlflow_folder: Path, sweep_name: str, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_runs(mlflow_folder / "mlflow.db", tracking.experiment_id, sweep_name, 60)
    write_records(LocalStore(mlflow_folder), sweep_name, 60)
    whole = pareto_front(sweep_name, ("val_dice", "hours"), tracking_uri=uri)
    n_read = []

    def counted(*values: Any) -> Any:
        found = shortlist(*values)
        assert found is not None
        n_read.append(len(found.rows))
        return found

    shortlist = SweepReader.shortlist
    monkeypatch.setattr(SweepReader, "shortlist", counted)
    monkeypatch.setattr("dwp_sweep.tracking.read.reader.N_NODES_AT_LEAST", 1)
    front = pareto_front(sweep_name, ("val_dice", "hours"), tracking_uri=uri)
    assert n_read == [3 + 1]  # the runs of the one configuration on the front, and their source
    assert front == replace(whole, notes=front.notes)
    assert front.n_compared == 20 and len(front.points) == 1


def test_a_sweep_without_a_parent_run_has_no_facts(client: Any) -> None:
    assert parent_facts(client, "none such").objectives == ()
