"""A run keeps its report with the parent run, and whatever happens to it never takes the run's exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.api.running import keep_report
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from dwp_sweep.tracking.write.parent import Tracking

ONLINE = Tracking("sqlite:////nowhere.db", "1", "parent", True, None, "mine")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    def write(sweep: str, folder: Path, uri: str, store: Store) -> None:
        (folder / "index.html").write_text(f"{sweep} from {uri}")

    monkeypatch.setattr("dwp_sweep.report.page.write.write_report", write)
    return []


def test_the_report_is_logged(monkeypatch: pytest.MonkeyPatch, said: list[str], tmp_path: Path) -> None:
    logged: list[str] = []

    def log(tracking: Tracking, folder: Path) -> str:
        logged.append((folder / "index.html").read_text())
        return ""

    monkeypatch.setattr("dwp_sweep.tracking.write.parent.log_report", log)
    keep_report(ONLINE, LocalStore(tmp_path), said.append)
    assert logged == ["mine from sqlite:////nowhere.db"] and said == ["writing the report ..."]


def test_a_report_that_cannot_be_drawn_is_told_and_no_more(
    monkeypatch: pytest.MonkeyPatch, said: list[str], tmp_path: Path
) -> None:
    def breaks(*_: Any) -> None:
        raise RuntimeError("no font")

    monkeypatch.setattr("dwp_sweep.report.page.write.write_report", breaks)
    keep_report(ONLINE, LocalStore(tmp_path), said.append)
    assert said[-1] == (
        "the report is not in MLflow (RuntimeError: no font); dwp-sweep report mine --out DIR makes it"
    )


def test_without_mlflow_nothing_is_written(said: list[str], tmp_path: Path) -> None:
    keep_report(Tracking("x", "", "", False, "away", "mine"), LocalStore(tmp_path), said.append)
    assert said == []
