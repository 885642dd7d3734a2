from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.errors import InputError
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.tracking.read.best import best_config
from dwp_sweep.tracking.read.conditions import best_configs
from dwp_sweep.tracking.read.reader import SweepReader
from dwp_sweep.tracking.write.parent import Tracking
from tests.tracking.many_runs import write_records, write_runs

Add = Callable[..., str]


@pytest.fixture
def grid(add_run: Add, tracking: Tracking) -> str:
    for train_size, method, lr, dice in (
        (20, "fine_tune", 1e-3, 0.8), (20, "random_init", 1e-2, 0.9), (5, "fine_tune", 1e-3, 0.7),
        (5, "fine_tune", 1e-2, 0.6), (5, "random_init", 1e-3, 0.5),
    ):  # fmt: skip
        params = {"target.lr": lr, "method": method}
        add_run({"best_val_dice": dice}, params, method=method, train_size=train_size, split=0, seed=0)
    add_run({}, {"target.lr": 1e-3}, "FAILED", method="l2_sp", train_size=40, split=0, seed=0)
    return tracking.sweep_name


def test_every_value_has_the_best_that_where_would_give(grid: str, uri: str) -> None:
    found = best_configs(grid, "train_size", tracking_uri=uri)
    assert [one.values for one in found] == [{"train_size": 5}, {"train_size": 20}]
    for one in found:
        alone = best_config(grid, where=one.values, tracking_uri=uri)
        assert (one.best.config, one.best.metrics) == (alone.config, alone.metrics)
    assert found.left_out == ("train_size=40: no finished target run to choose from (states: failed)",)
    assert set(found.varied) == {"method", "target.lr"}
    assert "train_size" in found._repr_html_()


def test_several_settings_make_one_answer_each_of_their_values(grid: str, uri: str) -> None:
    found = best_configs(grid, ["train_size", "target.lr"], where={"method": "fine_tune"}, tracking_uri=uri)
    assert [tuple(one.values.values()) for one in found] == [(5, 0.001), (5, 0.01), (20, 0.001)]


def test_what_repeats_a_configuration_or_is_no_setting_is_refused(grid: str, uri: str) -> None:
    with pytest.raises(InputError, match="only repeat a configuration"):
        best_configs(grid, ["train_size", "split"], tracking_uri=uri)
    with pytest.raises(InputError, match="did you mean 'train_size'"):
        best_configs(grid, "trainsize", tracking_uri=uri)
    with pytest.raises(InputError, match="never used to choose"):
        best_configs(grid, "train_size", "test_dice", tracking_uri=uri)


def test_large_sweeps_give_the_same_answers_from_few_runs(
    tracking: Tracking, mlflow_folder: Path, sweep_name: str, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_runs(mlflow_folder / "mlflow.db", tracking.experiment_id, sweep_name, 60)
    write_records(LocalStore(mlflow_folder), sweep_name, 60)
    whole = best_configs(sweep_name, "method", tracking_uri=uri)
    n_read = []

    def counted(*values: Any) -> Any:
        found = shortlist(*values)
        assert found is not None
        n_read.append(len(found.rows))
        return found

    shortlist = SweepReader.shortlist
    monkeypatch.setattr(SweepReader, "shortlist", counted)
    monkeypatch.setattr("dwp_sweep.tracking.read.reader.N_NODES_AT_LEAST", 1)
    monkeypatch.setattr("dwp_sweep.tracking.read.conditions.N_EACH", 2)
    short = best_configs(sweep_name, "method", tracking_uri=uri)
    assert n_read == [2 * 2 * 3 + 1]
    assert [(one.values, one.best.config, one.best.run_ids) for one in short] == [
        (one.values, one.best.config, one.best.run_ids) for one in whole
    ]
