"""Means over different scans are not compared: they are counted, and put over the scans that all have."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.report.answers.scores import BOUNDARY, OVERLAP, classes_of, is_lower_better
from dwp_sweep.report.page.comparisons import compare
from dwp_sweep.report.page.evidence import Evidence, evidence_of
from dwp_sweep.report.page.score_tables import ScoreTable, common_table, score_table
from dwp_sweep.report.page.write import write_page
from dwp_sweep.tracking.read.rows import NodeRow
from dwp_sweep.tracking.read.runs import Parent
from tests.report.toy_evidence import ToyCurves, ToyFiles

HD95 = BOUNDARY[0]
SCANS = {
    # The fine-tuned network misses the hard scan c altogether: its mean over the others looks better.
    ("fine_tune", 0): {"a": 4.0, "b": 6.0, "c": None},
    ("fine_tune", 1): {"d": 5.0, "e": 5.0, "f": 5.0},
    ("random_init", 0): {"a": 3.0, "b": 5.0, "c": 40.0},
    ("random_init", 1): {"d": 4.0, "e": 4.0, "f": 4.0},
}
Scans = dict[tuple[str, int], dict[str, float | None]]


def evidence(folder: Path, scans: Scans, readable: bool = True) -> Evidence:
    rows, scores = [], {}
    for (method, split), values in scans.items():
        key = f"{method}{split}"
        defined = [value for value in values.values() if value is not None]
        metrics = {
            "test_dice": 0.7,
            "best_val_dice": 0.7,
            "n_test_hd95_mm_undefined": len(values) - len(defined),
        }
        metrics |= {"test_hd95_mm": math.fsum(defined) / len(defined)} if defined else {}
        labels = {"method": method, "train_size": 5, "split": split, "seed": 0}
        rows.append(NodeRow(key, "target", "done", labels, {}, metrics, run_id=f"r{key}"))
        scores[key] = {scan: {"dice": 0.7, "hd95_mm": value} for scan, value in values.items()}

    def read(key: str, run_id: str) -> dict[str, dict[str, Any]]:
        if not readable:
            raise InputError(Problem(key, "is gone"))
        return scores[key]

    files = ToyFiles(folder)
    return evidence_of("toy", rows, Parent(), "sqlite:////nowhere/mlflow.db", read, files, ToyCurves())


def table(found: Evidence) -> ScoreTable:
    made = score_table(found, HD95)
    assert made is not None
    return made


def best(made: ScoreTable) -> set[str]:
    return {name for name, cell in made.cells[5].items() if cell.is_best}


def test_a_cell_counts_the_scans_that_its_mean_leaves_out(tmp_path: Path) -> None:
    cell = table(evidence(tmp_path, SCANS)).cells[5]["fine_tune"]

    assert cell.cell.summary is not None and cell.cell.summary.mean == 5.0
    assert cell.n_undefined == 1 and cell.text(1) == "5.0 (0.0), 1 undefined"
    assert cell.about(1).endswith("scans on which it is undefined: split 0: 1")


def test_no_best_one_is_marked_over_different_scans(tmp_path: Path) -> None:
    made = table(evidence(tmp_path, SCANS))

    assert made.is_uneven and best(made) == set()


def test_over_common_scans_the_better_one_shows(tmp_path: Path) -> None:
    found = evidence(tmp_path, SCANS)
    common = common_table(found, table(found))

    assert common is not None and best(common) == {"random_init"}
    means = {name: cell.cell.summary.mean for name, cell in common.cells[5].items() if cell.cell.summary}
    assert means == {"fine_tune": 5.0, "random_init": 4.0}
    assert "(5 of 6, over all sizes and runs)" in common.caption and common.score.name.endswith(
        "_common_scans"
    )


def test_the_same_scans_left_out_by_all_change_nothing(tmp_path: Path) -> None:
    """A sensitivity is undefined where the truth has no lesion, whatever was predicted."""
    scans = {**SCANS, ("random_init", 0): {"a": 3.0, "b": 5.0, "c": None}}
    made = table(evidence(tmp_path, scans))

    assert not made.is_uneven and best(made) == {"random_init"}
    assert all(cell.n_undefined == 1 for cell in made.cells[5].values())


def test_as_many_but_other_scans_are_other_scans(tmp_path: Path) -> None:
    scans = {**SCANS, ("random_init", 0): {"a": None, "b": 5.0, "c": 40.0}}
    found = evidence(tmp_path, scans)
    common = common_table(found, table(found))

    assert best(table(found)) == set()
    assert common is not None and "(4 of 6" in common.caption


def test_paired_tests_leave_such_scans_out_and_say_of_which_pair(tmp_path: Path) -> None:
    found = compare(evidence(tmp_path, SCANS), "random_init", "test_hd95_mm")

    (row,) = found.rows
    # By split: the mean of 4 - 3 and 6 - 5, then of three times 5 - 4. No scan c with its 40 mm.
    assert row.difference.by_split == {0: 1.0, 1: 1.0} and row.test.n == 5
    assert row.difference.n_ahead == 0, "a longer distance is never ahead"
    assert found.missing == ("UNet-PR − UNet-RI, m = 5: split 0: only 2 test subjects have both scores",)


def test_a_missing_pair_is_named_by_its_own_method_alone(tmp_path: Path) -> None:
    """The name of one variant may begin like that of another."""
    found = evidence(tmp_path, SCANS)
    names = {"fine_tune": "A", "random_init": "base"}
    rows = [replace(row, labels={**row.labels, "variant": names[row.labels["method"]]}) for row in found.rows]
    rows += [
        replace(row, labels={**row.labels, "variant": "A, m = 5"}) for row in rows if row.key == "fine_tune1"
    ]
    made = evidence_of("toy", rows, Parent(), "", found.scores, ToyFiles(tmp_path), ToyCurves())
    missing = compare(made, "base", "test_dice").missing
    assert "A, m = 5 − base, m = 5: split 0: no finished pair" in missing
    assert not any(note.startswith("A − base") for note in missing)


def test_counts_alone_tell_unlike_scans_where_scores_cannot_be_read(tmp_path: Path) -> None:
    found = evidence(tmp_path, SCANS, readable=False)

    assert table(found).is_uneven and best(table(found)) == set()
    assert common_table(found, table(found)) is None


def test_a_method_without_any_value_leaves_the_others_their_scans(tmp_path: Path) -> None:
    collapsed: Scans = {
        ("freeze_middle", split): dict.fromkeys(SCANS["fine_tune", split]) for split in (0, 1)
    }
    found = evidence(tmp_path, {**SCANS, **collapsed})
    common = common_table(found, table(found))

    assert table(found).cells[5]["freeze_middle"].text(1) == "no value, 6 undefined"
    assert common is not None and best(common) == {"random_init"}
    assert common.cells[5]["freeze_middle"].cell.summary is None


def test_the_page_shows_both_tables_and_their_files(tmp_path: Path) -> None:
    written = write_page(evidence(tmp_path / "nodes", SCANS), tmp_path / "out")
    text = written.page.read_text()

    assert "no best one is marked there" in text and "5.00 (0.00), 1 undefined" in text
    folder = tmp_path / "out" / "tables"
    rows = list(csv.DictReader(io.StringIO((folder / "test_hd95_mm.csv").read_text())))
    assert {row["method"]: row["n_undefined"] for row in rows} == {"fine_tune": "1", "random_init": "0"}
    assert (folder / "test_hd95_mm_common_scans.tex").read_text().count(r"\textbf") == 1


@pytest.mark.parametrize("score", [OVERLAP[0], BOUNDARY[3]])
def test_scores_are_found_scan_by_scan_under_their_own_names(score) -> None:
    assert score.by_scan == {"test_dice": "dice", "test_false_lesions": "n_false_lesions"}[score.name]
    assert replace(score, name="test_asd_mm").n_undefined == "n_test_asd_mm_undefined"


def test_scores_of_a_class_keep_their_form_and_their_direction() -> None:
    of_core = [score.of_class("core") for score in (OVERLAP[0], BOUNDARY[3], HD95)]
    assert [score.name for score in of_core] == [
        "test_dice.core",
        "test_false_lesions.core",
        "test_hd95_mm.core",
    ]
    assert [score.by_scan for score in of_core] == ["dice.core", "n_false_lesions.core", "hd95_mm.core"]
    assert of_core[2].n_undefined == "n_test_hd95_mm_undefined.core"
    assert is_lower_better("test_hd95_mm.core") and not is_lower_better("test_dice.core")
    metrics = {"test_dice", "test_dice.oedema", "test_dice.core", "test_dice_mc", "test_iou.core"}
    assert classes_of(metrics) == ("core", "oedema") and classes_of({"test_dice", "test_dice_mc"}) == ()


def test_the_page_has_tables_and_paired_tests_of_each_class(tmp_path: Path) -> None:
    rows, scores = [], {}
    for place, method in enumerate(("random_init", "fine_tune")):
        for split in range(2):
            key, dice = f"{method}{split}", {"core": 0.5 + 0.1 * place, "oedema": 0.8 - 0.1 * place}
            metrics = {"test_dice": 0.65, "best_val_dice": 0.6}
            metrics |= {f"test_dice.{name}": value for name, value in dice.items()}
            labels = {"method": method, "train_size": 5, "split": split, "seed": 0}
            rows.append(NodeRow(key, "target", "done", labels, {}, metrics, run_id=f"r{key}"))
            scores[key] = {
                f"s{n}": {"dice": 0.65} | {f"dice.{name}": value + n / 50 for name, value in dice.items()}
                for n in range(8)
            }
    found = evidence_of(
        "toy", rows, Parent(), "sqlite:////nowhere/mlflow.db", lambda key, run: scores[key],
        ToyFiles(tmp_path), ToyCurves(),
    )  # fmt: skip
    text = write_page(found, tmp_path / "out").page.read_text()

    assert "By class" in text and "Test Dice: core, mean (std)" in text and "Test Dice: oedema" in text
    assert "0.600 (0.000)" in text and "0.700 (0.000)" in text
    assert "Test Dice: core: " in text  # folded among the paired tests of the other scores
    assert (tmp_path / "out" / "tables" / "test_dice.core.csv").is_file()
    assert (
        "By class" not in write_page(evidence(tmp_path / "nodes", SCANS), tmp_path / "two").page.read_text()
    )
