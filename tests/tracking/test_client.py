from __future__ import annotations

import pickle
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.tracking.client import mlflow_client, resolve_uri, shown_uri
from dwp_sweep.tracking.write.parent import Tracking, close_tracking, open_tracking, reopen


def test_a_sweep_gets_one_experiment_and_one_parent_run_however_often_it_starts(
    tracking: Tracking, mlflow_folder: Path, client: Any
) -> None:
    again = open_tracking(tracking.uri, mlflow_folder, tracking.sweep_name, {})
    assert (again.experiment_id, again.parent_run_id) == (tracking.experiment_id, tracking.parent_run_id)
    assert client.get_experiment(tracking.experiment_id).name == tracking.sweep_name
    runs = client.search_runs([tracking.experiment_id])
    assert [run.data.tags["dwp.parent"] for run in runs] == ["true"]


def test_a_parent_run_that_was_made_twice_becomes_one(
    tracking: Tracking, mlflow_folder: Path, client: Any
) -> None:
    tags = client.get_run(tracking.parent_run_id).data.tags
    client.create_run(tracking.experiment_id, tags=tags)  # its answer was lost, so the client asked again
    again = open_tracking(tracking.uri, mlflow_folder, tracking.sweep_name, {})
    assert again.parent_run_id == tracking.parent_run_id
    assert len(client.search_runs([tracking.experiment_id])) == 1


def test_the_parent_run_keeps_the_search_space_and_is_continued(tracking: Tracking, client: Any) -> None:
    assert [item.path for item in client.list_artifacts(tracking.parent_run_id)] == [
        "environment.json",
        "sweep.json",
    ]
    close_tracking(tracking, "FINISHED")
    assert client.get_run(tracking.parent_run_id).info.status == "FINISHED"
    open_tracking(tracking.uri, Path(tracking.storage), tracking.sweep_name, {})
    assert client.get_run(tracking.parent_run_id).info.status == "RUNNING"


def test_tracking_travels_to_workers(tracking: Tracking) -> None:
    assert pickle.loads(pickle.dumps(tracking)) == tracking


def test_artifacts_lie_beside_the_database(tracking: Tracking, mlflow_folder: Path, client: Any) -> None:
    client.log_text(tracking.parent_run_id, "x", "here.txt")
    assert len(list((mlflow_folder / "mlartifacts").rglob("here.txt"))) == 1


def test_a_dead_server_is_named_and_does_not_raise(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tracking = open_tracking(f"http://127.0.0.1:{port}", tmp_path, "sweep", {})
    assert not tracking.online
    assert tracking.problem is not None
    assert f"MLflow at http://127.0.0.1:{port} cannot be used: the connection is refused" in tracking.problem
    assert str(tmp_path) in tracking.problem


@pytest.mark.parametrize("uri", ["nonsense://x", "file:///tmp/mlruns", "sqlite:////proc/none/mlflow.db"])
def test_an_unusable_uri_is_a_problem_in_words(uri: str, tmp_path: Path) -> None:
    tracking = open_tracking(uri, tmp_path, "sweep", {})
    assert not tracking.online and tracking.problem and "\n" not in tracking.problem


def test_a_deleted_experiment_comes_back_when_its_sweep_runs_again(tracking: Tracking, client: Any) -> None:
    client.delete_experiment(tracking.experiment_id)
    again = open_tracking(tracking.uri, Path(tracking.storage), tracking.sweep_name, {})
    assert again.online and again.experiment_id == tracking.experiment_id


def test_reopen_tries_again_only_after_a_while(uri: str, tmp_path: Path) -> None:
    offline = Tracking(uri, "", "", False, "gone", "reopened", str(tmp_path), {}, opened_s=0.0)
    assert reopen(offline).online
    just_now = open_tracking("nonsense://x", tmp_path, "sweep", {})
    assert reopen(just_now) is just_now


def test_relative_databases_become_absolute_and_the_environment_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_uri("sqlite:///here.db", tmp_path) == f"sqlite:///{tmp_path}/here.db"
    assert resolve_uri(None, Path("runs")) == f"sqlite:///{tmp_path}/runs/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert resolve_uri(None, tmp_path) == "http://server:5000"
    assert resolve_uri("http://other", tmp_path) == "http://other"


def test_passwords_are_not_shown() -> None:
    assert shown_uri("postgresql://user:secret@host/db") == "postgresql://user:***@host/db"
    assert shown_uri("http://127.0.0.1:5000") == "http://127.0.0.1:5000"


@pytest.mark.slow
def test_processes_that_open_a_fresh_database_at_once_all_succeed_without_a_word(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from dwp_sweep.tracking.write.parent import open_tracking\n"
        "t = open_tracking(None, Path(sys.argv[1]), 'sweep', {}); sys.exit(t.problem)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    starts = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
    ends = [start.communicate(timeout=120)[0] for start in starts]
    assert ([start.returncode for start in starts], ends) == ([0, 0], [b"", b""])
    client = mlflow_client(f"sqlite:///{tmp_path}/mlflow.db")
    assert len(client.search_experiments(filter_string="name = 'sweep'")) == 1
