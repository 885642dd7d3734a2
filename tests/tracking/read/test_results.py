from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dwp_sweep.errors import InputError
from dwp_sweep.store.protocol import Store
from dwp_sweep.tables import Stat, stat
from dwp_sweep.tracking.read.configuration import rank
from dwp_sweep.tracking.read.reader import frame_of_rows, results, results_of_store
from dwp_sweep.tracking.read.rows import NodeRow
from dwp_sweep.tracking.write.parent import Tracking
from dwp_sweep.tracking.write.sync import sync_records
from tests.tracking.conftest import make_node, make_record, publish


@pytest.fixture
def nodes(store: Store) -> list[Any]:
    """A done source, a failed prior, targets that are done, blocked and missing."""
    source, other = make_node("s", "source", seed=0), make_node("s1", "source", seed=1)
    prior = make_node("p", "prior", {"bank": (source,)}, group=3)
    labels = {"method": "fine_tune", "train_size": 5, "seed": 0}
    done = make_node("t0", "target", {"source": (source,)}, split=0, **labels)
    blocked = make_node("t1", "target", {"priors": (prior,)}, split=1, **labels)
    missing = make_node("t2", "target", {"source": (other,)}, split=2, **labels)
    publish(store, source, make_record(source, best_val_dice=0.6))
    publish(store, done, make_record(done, test_dice=0.7))
    store.write_failure(make_record(prior, "failed", error="diverged\n\nTraceback"))
    return [source, other, prior, done, blocked, missing]


def test_the_store_tells_of_every_node(nodes: list[Any], store: Store) -> None:
    table = results_of_store(nodes, store).set_index("key")
    states = {"s": "done", "s1": "missing", "p": "failed", "t0": "done", "t1": "blocked", "t2": "missing"}
    assert table["state"].to_dict() == states
    assert table.loc["p", "error"] == "diverged" and table.loc["p", "group"] == 3
    assert table.loc["t0", "test_dice"] == 0.7 and table.loc["t0", "params.target.lr"] == 1e-3
    assert table.loc["t0", "configuration"] != table.loc["s", "configuration"]


def test_mlflow_tells_the_same_as_the_store(nodes: list[Any], store: Store, tracking: Tracking) -> None:
    sync_records(tracking, nodes, store)
    remote = results(tracking.sweep_name, tracking.uri).set_index("key").sort_index()
    local = results_of_store(nodes, store).set_index("key").sort_index().loc[remote.index]
    assert list(remote.index) == ["p", "s", "t0"]
    shared = [name for name in local.columns if name not in ("run_id", "artifacts")]
    shared = [name for name in shared if name in remote.columns]
    pd.testing.assert_frame_equal(remote[shared], local[shared], check_dtype=False)
    assert not [name for name in remote.columns if name not in local.columns]


def test_an_empty_sweep_is_an_empty_table_with_the_columns(tracking: Tracking) -> None:
    table = results(tracking.sweep_name, tracking.uri)
    assert len(table) == 0 and {"stage", "state", "method", "train_size", "run_id"} <= set(table.columns)


def test_results_of_an_unknown_sweep_list_the_known(tracking: Tracking) -> None:
    with pytest.raises(InputError, match=f"sweeps there: .*{tracking.sweep_name.split('[')[0]}"):
        results("never ran", tracking.uri)


def test_the_default_database_is_the_storages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"dwp_runs/mlflow\.db"):
        results("demo")


def test_statistics_are_those_of_a_sample() -> None:
    assert stat([1.0, 2.0, 3.0]) == Stat(2.0, 1.0, 3)
    assert stat([2.0]) == Stat(2.0, None, 1)
    assert stat([2.0, float("nan")]) == Stat(2.0, None, 1)
    assert stat([]) is None
    assert str(Stat(0.7, 0.02, 3)) == "0.700 (0.020)" and str(Stat(0.7, None, 1)) == "0.700"


@pytest.mark.parametrize(
    "label", [10**30, 10**400, -(10**30), 1e300, "10" * 20, 2.5, math.nan, [1], {"a": 1}, "x"]
)
def test_a_label_that_no_sweep_has_is_no_number_of_the_table(label: Any) -> None:
    labels = {"method": "x", "train_size": label, "split": 1.0, "seed": "2"}
    table = frame_of_rows([NodeRow("k", "target", "done", labels, metrics={"val_dice": 0.5})])
    assert table["train_size"].isna().all() and str(table["train_size"].dtype) == "Int64"
    assert list(table["split"]) == [1] and list(table["seed"]) == [2]


def test_values_near_the_largest_float_have_a_mean() -> None:
    summary = stat([1e308, 1e308, -1e308])
    assert summary is not None and summary.mean == pytest.approx(1e308 / 3)
    assert rank([1e308, 1e308], "val_dice") == (-2, -1e308)
    assert stat([0.25, 0.75]) == Stat(0.5, pytest.approx(0.125**0.5), 2)
