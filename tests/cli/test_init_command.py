"""``init``, as a user types it; the file that it writes is run."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import dwp_sweep
from dwp_sweep.cli import main
from tests.config.initial import trees


def init(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["init", *map(str, arguments)], env={"COLUMNS": "120"})


def test_the_file_the_plan_and_the_next_command_are_shown(tmp_path: Path) -> None:
    target, source = trees.ms(tmp_path / "t", 8), trees.brats(tmp_path / "s", 4, first=900)
    file = tmp_path / "mine.yaml"

    found = init("--target", target, "--source", source, "-o", file, "--storage", tmp_path / "runs")

    assert found.exit_code == 0, found.output
    assert file.read_text() in found.stdout
    assert "sweep mine: 33 nodes" in found.stdout
    assert f"run it: dwp-sweep run {file} --storage {tmp_path / 'runs'}" in found.stdout.replace("\n", " ")


def test_what_is_wrong_leaves_no_file(tmp_path: Path) -> None:
    target, file = trees.msd(tmp_path / "t", 8), tmp_path / "mine.yaml"
    copies = trees.msd(tmp_path / "s", 4)
    storage = ("--storage", tmp_path / "runs")

    shared = init("--target", target, "--source", copies, "-o", file, *storage)
    assert shared.exit_code == 2 and "4 of 8 target scans are source scans too" in shared.stderr
    unknown = init("--target", target, "-o", file, *storage, "--set", "data.target.n_tset=2")
    assert unknown.exit_code == 2 and "did you mean 'n_test'?" in unknown.stderr
    assert not file.exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mine.txt", "end it in .yaml"),
        ("no/mine.yaml", "there is no folder"),
        ("there.yaml", "exists already"),
    ],
)
def test_places_that_cannot_be_written_are_told_before_scans_are_read(
    tmp_path: Path, name: str, says: str
) -> None:
    (tmp_path / "there.yaml").write_text("mine")

    found = init("--target", tmp_path / "nothing", "-o", tmp_path / name)

    assert found.exit_code == 2 and says in found.stderr and "nothing:" not in found.stderr
    assert (tmp_path / "there.yaml").read_text() == "mine"


@pytest.mark.slow
def test_the_second_command_runs_the_file(tmp_path: Path) -> None:
    target, source = trees.msd(tmp_path / "t", 8), trees.msd(tmp_path / "s", 4, first=900)

    made = dwp_sweep.init(target, source, tmp_path / "mine.yaml", storage=tmp_path / "runs")
    assert repr(made) == f"FirstSweep('{tmp_path / 'mine.yaml'}', {len(made.plan.sweep.nodes)} nodes)"
    found = CliRunner().invoke(
        main, ["run", str(made.path), "--smoke", "--here", "--storage", str(tmp_path / "runs")]
    )

    assert found.exit_code == 0, found.output
    assert "UNet-DWP" in found.output and "UNet-PRf" in found.output
