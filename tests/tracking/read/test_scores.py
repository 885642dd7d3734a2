from __future__ import annotations

import json
from typing import Any

import pytest

from dwp_sweep.errors import InputError
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from dwp_sweep.tracking.read.files import ScoreReader
from dwp_sweep.tracking.read.reader import results
from dwp_sweep.tracking.write.parent import Tracking
from dwp_sweep.tracking.write.sync import sync_records
from tests.tracking.conftest import make_node, make_record, publish

SCORES = {"a": {"dice": 0.5, "empty": False}, "b": {"dice": 0.75, "empty": False}}


def variant(key: str, name: str | None) -> Any:
    labels: dict[str, Any] = {"method": "fine_tune", "train_size": 5, "split": 0, "seed": 0}
    return make_node(key, "target", **(labels | ({} if name is None else {"variant": name})))


def published(store: Store, text: str = json.dumps(SCORES), name: str | None = None) -> Any:
    node = variant("t0", name)
    publish(store, node, make_record(node, test_dice=0.625), {"test_scores.json": text})
    return node


def test_the_store_is_asked_first(store: Store) -> None:
    published(store)
    assert ScoreReader(store, "sqlite:////nowhere/x.db").read("t0", "some run") == SCORES


def test_mlflow_answers_where_no_store_does(store: Store, tracking: Tracking) -> None:
    node = published(store)
    sync_records(tracking, [node], store)
    run_id = results(tracking.sweep_name, tracking.uri)["run_id"].iloc[0]
    for elsewhere in (None, LocalStore(store.root / "other")):
        assert ScoreReader(elsewhere, tracking.uri).read("t0", run_id) == SCORES


def test_scores_that_are_nowhere_are_named(store: Store, tracking: Tracking) -> None:
    with pytest.raises(InputError, match=r"target t0: has no test_scores\.json"):
        ScoreReader(store, tracking.uri).read("t0", "")
    with pytest.raises(InputError, match=r"run 0123.*cannot be fetched"):
        ScoreReader(store, tracking.uri).read("t0", "0123")


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": 1}'])
def test_a_file_that_holds_no_scores_is_named(store: Store, text: str) -> None:
    published(store, text)
    with pytest.raises(InputError, match="target t0"):
        ScoreReader(store, None).read("t0", "")


@pytest.mark.parametrize("name", ["5", "null", "DWP he | twin", "[x]"])
def test_a_variants_name_arrives_as_it_is_and_changes_no_configuration(
    store: Store, tracking: Tracking, name: str
) -> None:
    sync_records(tracking, [published(store, name=name)], store)
    found = results(tracking.sweep_name, tracking.uri).iloc[0]
    assert found["variant"] == name
    sync_records(tracking, [variant("t0", None)], store)
    again = results(tracking.sweep_name, tracking.uri).iloc[0]
    assert again["variant"] is None and again["configuration"] == found["configuration"]


def test_a_run_made_under_another_name_is_renamed(store: Store, tracking: Tracking, client: Any) -> None:
    sync_records(tracking, [published(store, name="old")], store)
    report = sync_records(tracking, [variant("t0", "new")], store)
    assert (report.sent, report.complete) == (0, 1)
    run_id = results(tracking.sweep_name, tracking.uri)["run_id"].iloc[0]
    assert client.get_run(run_id).data.tags["dwp.variant"] == "new"
