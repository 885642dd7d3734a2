"""Names that commands take: of a sweep, of its file, of a search space, of a node."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import dwp_sweep
from dwp_sweep.cli import main
from dwp_sweep.config.shipped import shipped_spaces, space_path
from dwp_sweep.config.space import load_space, name_of_file
from dwp_sweep.errors import InputError
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.sweep_record import NodeEntry, record_nodes


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    nodes = [
        NodeEntry("ab" * 10, "target", "target a", {"lr": 1}, is_target=True),
        NodeEntry("cd" * 10, "target", "target c", {"lr": 2}, is_target=True),
    ]
    record_nodes(LocalStore(tmp_path / "runs"), "mine", nodes)
    return tmp_path / "runs"


def test_a_bare_name_means_the_search_space_of_that_name(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert space_path(Path("demo")) == shipped_spaces() / "demo.yaml"
    assert load_space(Path("demo")).name == "demo"
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces" / "demo.yaml").write_text("name: own")
    assert space_path(Path("demo")) == Path("search_spaces/demo.yaml")
    (tmp_path / "demo").write_text("")
    assert space_path(Path("demo")) == Path("demo")
    assert space_path(Path("none")) == Path("none")


def test_a_file_stands_for_the_sweep_that_it_makes(storage: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("data: {}")
    (tmp_path / "other.yaml").write_text("name: mine")
    assert name_of_file(tmp_path / "other.yaml") == "mine"
    for name in ("mine", tmp_path / "mine.yaml", tmp_path / "other.yaml"):
        done = command("status", name, "--storage", storage)
        assert done.exit_code == 0 and "mine" in done.stdout, done.stderr
    lost = command("status", tmp_path / "min.yaml", "--storage", storage)
    assert lost.exit_code == 2 and "did you mean" in lost.stderr


def test_ls_lists_sweeps(storage: Path) -> None:
    done = command("ls", "--storage", storage)
    assert done.exit_code == 0 and "mine" in done.stdout and "0/2" in done.stdout
    assert '"name": "mine"' in command("ls", "--storage", storage, "--json").stdout


def test_two_nodes_are_explained_from_python(storage: Path) -> None:
    answer = dwp_sweep.explain("abab", "cdcd", storage=storage)
    assert [(one.field, one.first, one.second) for one in answer.differences] == [("lr", 1, 2)]
    assert repr(answer) == "NodeComparison('target a', 'target c', 1 differences)"
    assert dwp_sweep.explain("abab", storage=storage).state == "never built"


def test_garbage_is_looked_at_and_removed_from_python(storage: Path) -> None:
    LocalStore(storage).new_out_dir("target", "ef" * 10)
    looked = dwp_sweep.gc(storage, dry_run=True)
    assert looked.n_bytes_freed == 0 and "freed 0" in repr(looked)
    assert dwp_sweep.gc(storage, forget=("mine",)).survey.forgotten == ("mine",)
    with pytest.raises(InputError, match="no sweep named 'none'"):
        dwp_sweep.gc(storage, forget=("none",))
