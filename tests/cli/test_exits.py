"""Bad input ends with its problems, exit code 2, no traceback, and nothing written."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dwp_sweep.cli import main
from dwp_sweep.cli.exits import Commands
from dwp_sweep.errors import CorruptArtifactError, InputError, Problem
from tests.cli.command import ROOT, dwp_sweep

DEMO = ROOT / "search_spaces" / "demo.yaml"


def group_raising(error: BaseException) -> Commands:
    def fail() -> None:
        raise error

    return Commands(commands={"fail": click.Command("fail", callback=fail)})


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (
            InputError(Problem("a.yaml", "is empty", "write something")),
            2,
            ["a.yaml: is empty", "-> write something"],
        ),
        (InputError([Problem("a", "one"), Problem("b", "two")]), 2, ["2 problems", "a: one", "b: two"]),
        (CorruptArtifactError("/x/net.json is missing"), 1, ["/x/net.json is missing"]),
        (KeyboardInterrupt(), 130, ["goes on from here"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_for_people_become_messages_and_exit_codes(
    error: BaseException, code: int, words: list[str]
) -> None:
    result = CliRunner().invoke(group_raising(error), ["fail"])
    assert result.exit_code == code
    assert all(word in result.stderr for word in words)
    assert result.stdout == ""


def test_an_error_of_ours_keeps_its_traceback() -> None:
    result = CliRunner().invoke(group_raising(ZeroDivisionError("a bug")), ["fail"])
    assert isinstance(result.exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nowhere.yaml"], ["nowhere.yaml", "no such search-space file"]),
        (["plan", "nowhere.yaml"], ["nowhere.yaml", "no such search-space file"]),
        (["plan", str(DEMO), "--set", "target.lrr=1"], ["target.lrr", "did you mean 'lr'"]),
        (["plan", str(DEMO), "--set", "target.lr"], ["--set target.lr", "key=value"]),
        (["plan", str(DEMO), "--set", "method=magic"], ["method", "magic", "deep_weight_prior"]),
        (["best", "demo", "--where", "method"], ["--where method", "key=value"]),
        (["best", "demo", "--metric", "test_dice"], ["test_dice", "never used to choose"]),
        (["best", "demo"], ["no MLflow database there", "--storage"]),
        (["report", "demo"], ["no MLflow database there", "--storage"]),
        (["data", "check", "nowhere", "--layout", "msd"], ["nowhere"]),
        (["data", "phantom", "out", "--kind", "source", "--shape", "4,4,4"], ["shape", "16"]),
        (["data", "phantom", "out", "--kind", "source", "--shape", "a,b"], ["'a,b'", "32,32,32"]),
        (["data", "check", ".", "--layout", "msd", "--labels", "1;2"], ["'1;2'", "1,2"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_named_and_nothing_is_written(
    arguments: list[str], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2, result.output
    assert not isinstance(result.exception, Exception) or isinstance(result.exception, SystemExit)
    assert all(word in result.output for word in words), result.output
    assert list(tmp_path.rglob("*")) == []


def test_all_problems_of_a_space_come_at_once_through_the_installed_command(tmp_path: Path) -> None:
    space = tmp_path / "bad.yaml"
    space.write_text(
        "data: {target: {layout: msx}}\nfixed: {target: {lr: fast}, nett: 1}\ngrid: {train_size: [0]}\n"
    )
    done = dwp_sweep("run", space, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert all(key in done.stderr for key in ("data.target.layout", "target.lr", "nett", "train_size"))
    assert [path.name for path in tmp_path.iterdir()] == ["bad.yaml"]
