"""Where MLflow's and Optuna's files and the results index lie, whatever characters a storage's path has."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from sqlalchemy import make_url

import dwp_sweep
from dwp_sweep.cli import main
from dwp_sweep.errors import InputError
from dwp_sweep.store.open_store import open_store
from dwp_sweep.store.sweep_record import sweep_path
from dwp_sweep.tracking.client import mlflow_client, resolve_uri, sqlite_path, sqlite_uri

AWKWARD = [
    "a?b=c&d", "a%3Fb", "50% done", "a#b", "a b", "a'b", 'a"b', "ä é 日本", "a;b", "user:word@host", "a+b",
    "a\\b", "{a}", "~", "$HOME", "[a]*", "a%%s", "<a>|`b`",
]  # fmt: skip
EVERYTHING = "a?b=c&d#e %3F%s{f} 'g' \"h\" ä日本 i:j@k;l+m\\n~$o[p]*<q>"
SPACE: dict[str, Any] = {
    "name": "places",
    "data": {
        "target": {
            "layout": "phantom",
            "phantom": {"kind": "target", "n_subjects": 6, "shape": [16, 16, 16]},
            "n_val": 1,
            "n_test": 2,
            "preprocess": {"shape": [16, 16, 16]},
        }
    },
    "fixed": {
        "unet.channels": [2, 2, 2, 2],
        "target": {"max_epochs": 1, "steps_per_epoch": 1},
        "method": "random_init",
        "train_size": 2,
        "split": 0,
    },
}


@pytest.mark.parametrize("name", [*AWKWARD, EVERYTHING])
def test_sqlalchemy_reads_the_path_that_was_given(name: str, tmp_path: Path) -> None:
    storage = tmp_path / name
    uri = resolve_uri(None, storage)
    assert make_url(uri).database == str(storage / "mlflow.db") and sqlite_path(uri) == storage / "mlflow.db"
    assert resolve_uri(uri, "elsewhere") == uri


def test_databases_lie_in_the_storage_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    storage = tmp_path / EVERYTHING
    storage.mkdir()
    mlflow_client(resolve_uri(None, storage)).create_experiment("one")
    RDBStorage(sqlite_uri(storage / "optuna.db")).create_new_study([StudyDirection.MAXIMIZE], "study")
    assert {path.name for path in storage.iterdir()} == {"mlflow.db", "optuna.db"}
    assert [path.name for path in tmp_path.iterdir()] == [EVERYTHING]


def test_an_uri_of_a_user_is_read_as_sqlalchemy_reads_it(tmp_path: Path) -> None:
    assert sqlite_path("sqlite:////data/a%20b/x.db?timeout=5") == Path("/data/a b/x.db")
    assert resolve_uri("sqlite:////data/a b/x.db?timeout=5", tmp_path) == "sqlite:////data/a b/x.db?timeout=5"
    assert sqlite_path("sqlite:///file:/data/x.db?uri=true") is sqlite_path("http://host/x.db") is None


@pytest.mark.parametrize("name", ["a\nb", "a\0b", "a\tb", "a\x7fb", "a\udcffb"])
def test_a_path_with_control_characters_is_refused_before_anything_starts(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="control character"):
        dwp_sweep.run_sweep(SPACE, storage=f"{tmp_path}/{name}", here=True)
    assert list(tmp_path.iterdir()) == []
    if "\0" not in name and "\udcff" not in name:
        answer = CliRunner().invoke(main, ["status", "x", "--storage", f"{tmp_path}/{name}"])
        assert answer.exit_code == 2 and "control character" in answer.output


@pytest.mark.slow
def test_a_sweep_and_a_search_keep_all_of_their_files_in_an_awkward_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "storages" / EVERYTHING
    run = dwp_sweep.run_sweep(SPACE, storage=place, here=True)
    assert run.exit_code == 0 and run.tracking.online
    assert (place / "mlflow.db").is_file() and list((place / "mlartifacts").rglob("net.safetensors"))
    best = dwp_sweep.best_config("places", tracking_uri=run.tracking.uri)
    dwp_sweep.load_model(best.run_ids[0], run.tracking.uri)
    assert dwp_sweep.sync("places", storage=place).complete == 1
    search = {
        "name": "searched",
        "search": {"target.lr": {"float": [1e-4, 1e-2], "log": True}},
        "searcher": {"kind": "tpe", "n_trials": 2},
        "scheduler": {"kind": "none"},
    }
    assert dwp_sweep.run_sweep(SPACE | search, storage=place, here=True).exit_code == 0
    assert (sweep_path(open_store(place), "searched") / "optuna.db").is_file()
    assert [path.name for path in (tmp_path / "storages").iterdir()] == [EVERYTHING]
    # The storage may be moved: its database names it by nothing but its own folder.
    shutil.move(place, tmp_path / "moved")
    assert dwp_sweep.best_config("places", tracking_uri=resolve_uri(None, tmp_path / "moved")).run_ids
