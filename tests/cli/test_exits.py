"""Bad input ends with its problems, exit code 2, no traceback, and nothing written."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner

from dwp_sweep.cli import main, options
from dwp_sweep.cli.exits import Commands
from dwp_sweep.errors import CorruptArtifactError, InputError, Problem
from dwp_sweep.tracking.read.configuration import select_rows
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


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (["data", "phantom", "{file}/p", "--kind", "target", "--n-subjects", "1"], "DIR {file}/p"),
        (
            ["data", "check", "{scans}", "--layout", "msd", "--picture", "{file}/p.png"],
            "--picture {file}/p.png",
        ),
        (["plan", str(DEMO), "--smoke", "--storage", "{file}/runs"], "--storage {file}/runs"),
    ],
    ids=["DIR", "--picture", "--storage"],
)
def test_a_place_that_cannot_be_written_is_called_by_what_the_user_gave(
    arguments: list[str], place: str, tmp_path: Path
) -> None:
    from dwp_sweep.data.config import PhantomConfig
    from dwp_sweep.data.phantom.dataset import write_phantom

    names = {"file": str(tmp_path / "file"), "scans": str(tmp_path / "scans")}
    (tmp_path / "file").write_text("no folder")
    write_phantom(PhantomConfig(kind="target", n_subjects=1, shape=(16, 16, 16)), tmp_path / "scans")
    result = CliRunner().invoke(main, [word.format(**names) for word in arguments])
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert place.format(**names) in result.stderr
    others = {"DIR ", "--picture ", "--storage "} - {place.split(maxsplit=1)[0] + " "}
    assert not any(f"-> {other}" in result.stderr for other in others)


def test_a_folder_that_cannot_be_made_is_bad_input_but_a_file_that_we_lost_is_our_mistake(
    tmp_path: Path,
) -> None:
    lost = FileNotFoundError(errno.ENOENT, "No such file or directory", "/proc/nowhere/imagesTr")

    @click.command()
    @options.storage
    def fail(storage: Path) -> None:
        raise lost

    group = Commands(commands={"fail": fail})
    result = CliRunner().invoke(group, ["fail", "--storage", "/proc/nowhere"])
    assert result.exit_code == 2
    assert "/proc/nowhere/imagesTr: No such file or directory" in result.stderr
    assert "-> --storage /proc/nowhere" in result.stderr
    assert CliRunner().invoke(group, ["fail", "--storage", str(tmp_path)]).exception is lost


def test_unknown_settings_of_a_sweep_with_many_are_answered_in_a_few_lines() -> None:
    values = {f"data.target.setting{n}": n for n in range(100)} | {"target.food": 1}
    rows: Any = [(SimpleNamespace(labels={}), SimpleNamespace(values=values))]
    with pytest.raises(InputError) as caught:
        select_rows(rows, {"foo": 1, "bar": 2}, "demo")
    result = CliRunner().invoke(group_raising(caught.value), ["fail"])
    assert "no run has a setting 'foo'" in result.stderr and "no run has a setting 'bar'" in result.stderr
    assert "nearest first: target.food" in result.stderr
    assert result.stderr.count("setting") < 20


def test_a_long_list_of_names_is_cut_to_the_nearest_ones_and_shared_advice_is_printed_once() -> None:
    names = ", ".join([f"data.target.setting{n}" for n in range(100)] + ["target.lr"])
    fix = f"settings there: {names}"
    problems = [Problem("demo", f"no run has a setting {name!r}", fix) for name in ("lr", "lr")]
    result = CliRunner().invoke(group_raising(InputError(problems)), ["fail"])
    assert result.stderr.count("no run has a setting 'lr'") == 2
    assert result.stderr.count("settings there") == 1
    assert "nearest first: target.lr, " in result.stderr
    assert "and 96 more" in result.stderr
    assert len(result.stderr) < 400


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
