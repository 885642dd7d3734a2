"""``report`` on records of runs that never were: forms, differences, figure, and what cannot be asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dwp_sweep.cli import main
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.record import Record
from dwp_sweep.tracking.read.reader import frame_of_rows
from dwp_sweep.tracking.read.rows import NodeRow
from tests.report.toy_evidence import toy_evidence

DICE = {"RI": 0.5, "DWP he": 0.625, "noise only": 0.5}


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with per-subject scores of three variants on two splits, and the table that names them."""
    store, rows = LocalStore(tmp_path / "runs"), []
    for name, dice in DICE.items():
        for split in (0, 1):
            key = f"{name.replace(' ', '')}{split}"
            labels = {"method": "random_init", "variant": name, "train_size": 5, "split": split, "seed": 0}
            rows.append(NodeRow(key, "target", "done", labels, {}, {"test_dice": dice, "test_iou": dice / 2}))
            out_dir = store.new_out_dir("target", key)
            scores = {subject: {"dice": dice, "iou": dice / 2} for subject in ("a", "b", "c")}
            (out_dir / "test_scores.json").write_text(json.dumps(scores))
            store.publish(out_dir, Record(key=key, stage="target", status="done", config={}))
    monkeypatch.setattr("dwp_sweep.api.results", lambda *_: frame_of_rows(rows))
    return store.root


def report(storage: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["report", "mine", "--storage", str(storage), *options])


def test_differences_follow_the_table(storage: Path) -> None:
    done = report(storage, "--versus", "RI", "--versus", "noise only")
    assert done.exit_code == 0, done.output
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "m DWP he noise only RI" in lines
    assert "5 DWP he +0.125 [+0.125, +0.125] [+0.125, +0.125] 2/2" in lines
    assert "5 noise only +0.000 [+0.000, +0.000] [+0.000, +0.000] 0/2" in lines
    assert done.stdout.index("minus that of RI") < done.stdout.index("minus that of noise only")


def test_another_score_is_compared(storage: Path) -> None:
    done = report(storage, "--versus", "RI", "--metric", "test_iou")
    assert "Test IoU minus that of RI" in done.stdout and "+0.062" in done.stdout


@pytest.mark.parametrize("option", [("--json",), ("--format", "json")])
def test_json_holds_table_and_differences(storage: Path, option: tuple[str, ...]) -> None:
    values: dict[str, Any] = json.loads(report(storage, "--versus", "RI", *option).stdout)
    assert values["sizes"] == [5] and list(values["methods"]) == ["DWP he", "noise only", "RI"]
    (paired,) = values["paired"]
    assert {row["name"]: row["mean"] for row in paired["rows"]} == {"DWP he": 0.125, "noise only": 0.0}


def test_markdown_has_two_tables_and_the_differences(storage: Path) -> None:
    text = report(storage, "--versus", "RI", "--markdown").stdout
    assert text.count("| m | DWP he | noise only | RI |") == 2 and "| 5 | DWP he | +0.125 |" in text


def test_the_figure_is_drawn(storage: Path, tmp_path: Path) -> None:
    done = report(storage, "--versus", "RI", "--figure", str(tmp_path / "forest.png"))
    assert done.exit_code == 0 and (tmp_path / "forest.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--figure", "x.png"), "--figure x.png: is about differences"),
        (("--metric", "dice"), "add --versus NAME"),
        (("--markdown", "--json"), "ask for one of them"),
        (("--versus", "noise"), "did you mean 'noise only'?"),
        (("--versus", "RI", "--metric", "dise"), "scores there: dice, iou"),
    ],
)
def test_what_cannot_be_asked_is_answered(storage: Path, options: tuple[str, ...], words: str) -> None:
    done = report(storage, *options)
    assert done.exit_code == 2 and words in done.stderr


def test_the_page_is_written_and_its_answer_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = toy_evidence(tmp_path / "nodes", with_files=False)
    monkeypatch.setattr("dwp_sweep.report.page.write.gather", lambda *_: evidence)
    done = report(tmp_path / "runs", "--out", str(tmp_path / "out"), "--versus", "UNet-DWP")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("Best on validation scans: UNet-PR") and "to UNet-DWP" in done.stdout
    assert f"report: {tmp_path / 'out' / 'index.html'}" in done.stdout
    assert "missing, unfinished or failed: 4, named on the page" in done.stderr
    assert (tmp_path / "out" / "index.html").is_file()


def test_the_page_takes_no_options_of_what_is_printed(tmp_path: Path) -> None:
    done = report(tmp_path, "--out", str(tmp_path / "out"), "--json", "--versus", "RI", "--versus", "PR")
    assert done.exit_code == 2
    assert (
        "--json: is about what is printed" in done.stderr and "a report page has one reference" in done.stderr
    )


def test_effects_are_told_in_scans_where_three_sizes_are_there_and_refused_below(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = report(storage, "--versus", "RI")
    assert few.exit_code == 0 and "1 finished training size(s) (5)" in few.stderr
    assert "labelled scans" not in few.stdout
    rows = [
        NodeRow(f"{name.replace(' ', '')}{split}", "target", "done",
                {"method": "random_init", "variant": name, "train_size": size, "split": split, "seed": 0},
                {}, {"test_dice": dice - 1 / size, "test_iou": 0.5})
        for name, dice in DICE.items()
        for split in (0, 1)
        for size in (5, 10, 20)
    ]  # fmt: skip
    monkeypatch.setattr("dwp_sweep.api.results", lambda *_: frame_of_rows(rows))
    done = report(storage, "--versus", "RI")
    assert done.exit_code == 0, done.output
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "Worth in labelled scans of RI" in done.stdout and "5 DWP he +0.125 8 [8, 8]" in lines
    assert "5 noise only +0.000 0 [0, 0]" in lines and "m = 40 would give" in done.stdout
    assert "10 DWP he +0.125 > 200 [> 200, > 200]" in lines
    (found,) = json.loads(report(storage, "--versus", "RI", "--json").stdout)["in_scans"]
    assert found["baseline"] == "RI" and found["curve"]["exponent"] == pytest.approx(1, rel=1e-3)
