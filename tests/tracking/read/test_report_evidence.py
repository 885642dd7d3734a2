"""What a report reads from MLflow beyond runs: files, curves, the parent run, and what is added to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.report.page.evidence import gather
from dwp_sweep.store.protocol import Store
from dwp_sweep.tracking.read.files import NodeFiles
from dwp_sweep.tracking.read.rows import row_of_run
from dwp_sweep.tracking.read.runs import HistoryReader, read_parent, sweep_runs
from dwp_sweep.tracking.write import pages as versions
from dwp_sweep.tracking.write.node_run import NodeRun
from dwp_sweep.tracking.write.parent import Tracking, log_report
from tests.tracking.conftest import make_node, make_record, publish


@pytest.fixture
def logged(tracking: Tracking, store: Store, uri: str) -> Any:
    """A finished target in MLflow and in a store, and its row."""
    node = make_node("abc", method="fine_tune", train_size=5, split=0, seed=0)
    record = make_record(node, test_dice=0.7, best_val_dice=0.6)
    folder = publish(store, node, record, {"example.json": "{}", "figures/curve.png": "png"})
    assert NodeRun(tracking, node).resend(record, folder)
    from dwp_sweep.tracking.client import mlflow_client

    (found,) = sweep_runs(mlflow_client(uri), uri, tracking.sweep_name)
    return row_of_run(found)


def test_files_come_from_mlflow_alone_or_from_the_store(
    logged: Any, uri: str, store: Store, tmp_path: Path
) -> None:
    remote = NodeFiles(None, uri, tmp_path / "fetched")
    path = remote.path(logged, "figures/curve.png")
    assert path is not None and path.read_text() == "png" and path.is_relative_to(tmp_path / "fetched")
    assert remote.path(logged, "figures/curve.png") == path  # fetched once
    assert remote.path(logged, "figures/none.png") is None and remote.path(logged, "nothing/x.png") is None
    local = NodeFiles(store, uri).path(logged, "example.json")
    assert local == store.node_dir("target", "abc") / "example.json"
    assert (
        remote.folder(logged, ("example.json", "record.json")) == remote.path(logged, "example.json").parent
    )  # type: ignore[union-attr]
    assert remote.folder(logged, ("example.json", "none.json")) is None


def test_curves_come_epoch_by_epoch(logged: Any, uri: str) -> None:
    reader = HistoryReader(uri)
    assert reader.curve(logged.run_id, ("nothing", "val_dice"))[:2] == ((1, 0.1), (2, 0.2))
    assert reader.curve(logged.run_id, ("nothing",)) == () == reader.curve("", ("val_dice",))
    assert reader.curve("0" * 32, ("val_dice",)) == ()


def test_the_parent_run_says_what_was_asked_for_and_with_what_it_ran(tracking: Tracking, uri: str) -> None:
    parent = read_parent(tracking.sweep_name, uri)
    assert parent.run_id == tracking.parent_run_id and parent.started_ms > 0
    assert parent.settings == {"grid": {"train_size": [5, 10]}}
    assert {"python", "torch", "mlflow", "dwp-sweep", "command"} <= set(parent.environment)
    assert read_parent("no such sweep", uri).run_id == ""


def test_a_report_is_added_to_the_parent_run(tracking: Tracking, client: Any, tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "index.html").write_text("<p>")
    (tmp_path / "figures" / "a.svg").write_text("<svg>")
    assert log_report(tracking, tmp_path) == ""
    names = {item.path for item in client.list_artifacts(tracking.parent_run_id, "report")}
    assert names == {"report/index.html", "report/figures"}


def test_a_report_that_mlflow_does_not_take_raises_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    gone = Tracking(f"sqlite:///{tmp_path}/file/mlflow.db", "1", "x", True, None, "s")
    assert log_report(gone, tmp_path) != ""
    assert log_report(Tracking("x", "", "", False, "away"), tmp_path) == "MLflow is not there"


def test_evidence_holds_what_the_report_needs(logged: Any, tracking: Tracking, uri: str) -> None:
    evidence = gather(tracking.sweep_name, uri)
    assert evidence.columns == {"fine_tune": "UNet-PR"} and evidence.sizes == (5,)
    ((repeat, target),) = evidence.chosen("fine_tune", 5).items()
    row = evidence.row(target)
    assert repeat == (0, 0) and row is not None and row.key == "abc"


def test_passwords_do_not_get_into_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        versions.sys,
        "argv",
        ["/x/bin/dwp-sweep", "run", "a b.yaml", "--tracking-uri", "postgresql://me:secret@db/x"],
    )
    found = versions.run_environment()
    assert found["command"] == "dwp-sweep run 'a b.yaml' --tracking-uri 'postgresql://me:***@db/x'"
    assert json.loads(json.dumps(found)) == found
