from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.report.answers.paper_table import paper_table
from dwp_sweep.report.paired.differences import PairedTable, paired_table
from dwp_sweep.report.paired.forest import forest_figure
from dwp_sweep.tracking.read.reader import frame_of_rows
from dwp_sweep.tracking.read.rows import NodeRow

Scores = dict[str, dict[str, dict[str, Any]]]


class Runs:
    """Target runs with the scores of their test subjects."""

    def __init__(self, **params: str) -> None:
        self.params = {f"data.target.{name}": value for name, value in params.items()}
        self.rows: list[NodeRow] = []
        self.scores: Scores = {}

    def add(self, name: str, split: int, dice: dict[str, float], **more: Any) -> None:
        key = f"k{len(self.rows)}"
        labels = {"method": "random_init", "variant": name, "train_size": 5, "split": split, "seed": 0} | more
        state = more.pop("state", "done")
        labels.pop("state", None)
        metrics = {"test_dice": sum(dice.values()) / len(dice)} if dice else {}
        self.rows.append(NodeRow(key, "target", state, labels, self.params, metrics))
        self.scores[key] = {subject: {"dice": value, "empty": False} for subject, value in dice.items()}

    def read(self, key: str, run_id: str) -> dict[str, dict[str, Any]]:
        if key not in self.scores:
            raise InputError(Problem(f"target {key}", "has no scores"))
        return self.scores[key]

    def table(self, versus: str = "base", metric: str = "test_dice") -> PairedTable:
        return paired_table(frame_of_rows(self.rows), versus, self.read, metric)


def subjects(split: int, n: int = 12) -> dict[str, float]:
    rng = random.Random(split)
    return {f"s{split * 5 + i}": rng.uniform(0.4, 0.9) for i in range(n)}


def moved(values: dict[str, float], shift: float) -> dict[str, float]:
    return {subject: value + shift for subject, value in values.items()}


def runs(*shifts: float, **params: str) -> Runs:
    """``base`` and ``other``, which is better by a shift of its own in each split."""
    found = Runs(**params)
    for split, shift in enumerate(shifts):
        found.add("base", split, subjects(split))
        found.add("other", split, moved(subjects(split), shift))
    return found


@pytest.mark.parametrize("shift", [0.0, 0.0625, -0.125])
def test_a_constant_shift_is_found_without_any_width(shift: float) -> None:
    (row,) = runs(shift, shift, shift).table().rows
    assert (row.name, row.train_size, row.n_ahead) == ("other", 5, 3 if shift > 0 else 0)
    assert row.mean == pytest.approx(shift)
    assert row.over_splits == pytest.approx((shift, shift))
    assert row.over_subjects == pytest.approx((shift, shift))
    assert row.n_subjects == 22  # 12 a split, of which neighbours share 7


def test_scans_of_one_patient_are_one_subject() -> None:
    found = runs(0.1)
    for scores in found.scores.values():
        for name, row in scores.items():
            row["patient"] = f"p{int(name[1:]) // 2}"
    table = found.table()
    (row,) = table.rows
    assert row.n_subjects == 6 and row.by_subject == pytest.approx({f"p{n}": 0.1 for n in range(6)})
    assert any("subjects are patients" in note for note in table.notes)
    assert not any("subjects are patients" in note for note in runs(0.1).table().notes)


def test_shifts_by_split_move_the_t_interval_and_leave_the_networks_own() -> None:
    (row,) = runs(0.0, 0.1, 0.2, splits="independent").table().rows
    assert row.by_split == pytest.approx({0: 0.0, 1: 0.1, 2: 0.2})
    assert row.over_splits == pytest.approx((0.1 - 0.2484, 0.1 + 0.2484), abs=1e-4)  # 4.3027 x 0.1 / sqrt(3)
    assert row.over_subjects is not None and row.over_subjects == pytest.approx((0.1, 0.1))
    assert row.n_ahead == 2


def half_width(found: Runs) -> float:
    interval = found.table().rows[0].over_splits
    assert interval is not None
    return (interval.high - interval.low) / 2


@pytest.mark.parametrize("params", [{}, {"splits": "resampled"}])
def test_splits_that_share_subjects_have_a_wider_interval_and_a_note_says_so(params: dict[str, str]) -> None:
    found = runs(0.0, 0.1, 0.2, **params)
    # Of their 12 test subjects neighbours share 7, the first and the last split 2.
    shared = (7 / 12 + 7 / 12 + 2 / 12) / 3
    assert found.table().rows[0].split_correlation == pytest.approx(shared)
    plain = half_width(runs(0.0, 0.1, 0.2, splits="independent"))
    assert half_width(found) / plain == pytest.approx(math.sqrt(1 + 3 * shared / (1 - shared)))
    notes = " ".join(found.table().notes)
    assert "the variance of Nadeau and Bengio (2003) for splits that share subjects" in notes
    assert "(a correlation of 0.44): 1/3 + 0.80 times that between splits in place of 1/3" in notes


def test_independent_splits_have_the_plain_t_interval() -> None:
    table = runs(0.0, 0.1, 0.2, splits="independent").table()
    assert table.rows[0].split_correlation == 0 and "Nadeau" not in " ".join(table.notes)


def test_scans_of_one_patient_are_shared_subjects() -> None:
    found = Runs(splits="resampled")
    for split in (0, 1):
        for name, shift in (("base", 0.0), ("other", 0.1 * split)):
            found.add(name, split, moved({f"p1 scan {split}": 0.5, f"own {split}": 0.6}, shift))
    for scores in found.scores.values():
        for name, row in scores.items():
            row["patient"] = name.partition(" scan")[0]
    assert found.table().rows[0].split_correlation == pytest.approx(1 / 2)


def test_a_score_that_one_subject_lacks_leaves_one_test_set_one() -> None:
    found = Runs(splits="file")
    for split, shift in enumerate((0.0, 0.1, 0.2)):
        found.add("base", split, subjects(0))
        found.add("other", split, moved(subjects(0), shift))
    whole = half_width(found)
    next(iter(found.scores.values()))[next(iter(subjects(0)))]["dice"] = None
    assert found.table().rows[0].split_correlation == 0
    assert half_width(found) == pytest.approx(whole, rel=0.2)


def test_a_cross_validation_by_file_shares_training_scans_alone() -> None:
    found = Runs(splits="resampled", split_file="folds.csv")
    for split, shift in enumerate((0.0, 0.1, 0.2)):
        tests = {f"fold {split} scan {n}": 0.5 for n in range(10)}
        found.add("base", split, tests, train_size=20)
        found.add("other", split, moved(tests, shift), train_size=20)
    # 1/J + n_test / n_train = 1/3 + 10/20 in place of 1/3.
    assert half_width(found) == pytest.approx(4.3027 * 0.1 * math.sqrt(1 / 3 + 1 / 2), abs=1e-4)


def test_one_test_set_for_all_splits_makes_none_of_them_differ() -> None:
    found = Runs(splits="resampled", split_file="one.csv")
    for split, shift in enumerate((0.0, 0.1, 0.2)):
        found.add("base", split, subjects(0))
        found.add("other", split, moved(subjects(0), shift))
    assert half_width(found) == pytest.approx(0.2484, abs=1e-4)


def test_what_is_subtracted_turns_the_sign() -> None:
    found = runs(0.1, 0.2)
    (forth,), (back,) = found.table("base").rows, found.table("other").rows
    assert forth.mean == pytest.approx(-back.mean)
    assert forth.over_splits is not None and back.over_splits is not None
    assert forth.over_splits == pytest.approx((-back.over_splits.high, -back.over_splits.low))


def test_seeds_of_a_split_are_averaged_before_anything_else() -> None:
    found = Runs()
    for seed, shift in enumerate((0.0, 0.2)):
        found.add("base", 0, subjects(0), seed=seed)
        found.add("other", 0, moved(subjects(0), shift), seed=seed)
    (row,) = found.table().rows
    assert row.by_split == pytest.approx({0: 0.1}) and row.over_splits is None
    assert row.over_subjects == pytest.approx((0.1, 0.1))


def test_only_subjects_with_both_scores_count() -> None:
    found = Runs()
    found.add("base", 0, {"a": 0.5, "b": 0.5, "c": 0.0})
    found.add("other", 0, {"a": 0.6, "b": 0.6, "d": 1.0})
    table = found.table()
    assert table.rows[0].mean == pytest.approx(0.1) and table.rows[0].n_subjects == 2
    assert "other, m = 5: split 0: only 2 test subjects have both scores" in table.notes


def test_what_cannot_be_paired_is_named() -> None:
    found = runs(0.1, 0.1)
    found.add("base", 2, subjects(2))
    found.add("other", 2, {}, state="failed")
    found.scores.pop("k3")
    table = found.table()
    assert list(table.rows[0].by_split) == [0]
    assert "other, m = 5: split 2: no finished pair" in table.notes
    assert any("split 1: target k3: has no scores" in note for note in table.notes)


def test_a_node_of_two_variants_stands_in_both_rows() -> None:
    found = runs(0.1)
    found.add("twin | triplet", 0, moved(subjects(0), 0.2))
    assert {row.name: round(row.mean, 6) for row in found.table().rows} == {
        "other": 0.1,
        "triplet": 0.2,
        "twin": 0.2,
    }


@pytest.mark.parametrize("versus", ["random_init", "UNet-RI", "RI", "ri"])
def test_a_method_answers_to_its_name_and_its_label(versus: str) -> None:
    found = Runs()
    for method, shift in (("random_init", 0.0), ("fine_tune", 0.1)):
        found.add("", 0, moved(subjects(0), shift), method=method)
    table = found.table(versus)
    assert table.reference == "UNet-RI"
    assert [(row.name, round(row.mean, 6)) for row in table.rows] == [("UNet-PR", 0.1)]


def test_an_unknown_reference_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"did you mean 'other'\? there are base, other"):
        runs(0.1).table("othr")


def test_an_unknown_score_is_answered_with_those_there() -> None:
    with pytest.raises(InputError, match=r"test_hd95: no test subject has this score \(scores there: dice\)"):
        runs(0.1, 0.2).table(metric="hd95")


def test_a_sweep_with_nothing_else_says_so() -> None:
    found = Runs()
    found.add("base", 0, subjects(0))
    with pytest.raises(InputError, match="the sweep has nothing else"):
        found.table()


def test_every_form_holds_the_difference_and_both_intervals() -> None:
    table = runs(0.0, 0.1, 0.2, splits="independent").table()
    for text in (table.text(), table.markdown()):
        for part in (
            "minus that of base",
            "+0.100",
            "[-0.148, +0.348]",
            "[+0.100, +0.100]",
            "2/3",
            "bootstrap",
        ):
            assert part in text
    plain = json.loads(json.dumps(table.values()))
    assert plain["rows"][0]["over_splits"] == pytest.approx([-0.1484, 0.3484], abs=1e-4)
    assert plain["rows"][0]["by_split"]["1"] == pytest.approx(0.1)


def test_no_line_of_the_text_is_wider_than_a_terminal_but_for_the_notes() -> None:
    found = runs(0.0, 0.1, 0.2)
    found.add("deep weight prior, source", 0, moved(subjects(0), 0.2))
    assert max(map(len, found.table().text().partition("\n\n")[0].splitlines())) <= 100


@pytest.mark.parametrize("n_splits", [1, 2, 3])
def test_the_figure_is_written_for_any_number_of_splits(n_splits: int, tmp_path: Path) -> None:
    found = runs(*(0.01 * split for split in range(n_splits)))
    forest_figure([found.table("base"), found.table("other")], tmp_path / "new" / "forest.png")
    assert (tmp_path / "new" / "forest.png").read_bytes().startswith(b"\x89PNG")


def test_the_columns_of_the_papers_table_are_the_variants() -> None:
    found = runs(0.1)
    found.add("base | twin", 1, subjects(1))
    table = paper_table(frame_of_rows(found.rows))
    assert list(table.methods.values()) == ["base", "other", "twin"]
    assert {name: cell.summary.n for name, cell in table.cells["test_dice"][5].items() if cell.summary} == {
        "base": 2,
        "other": 1,
        "twin": 1,
    }
    assert "other, m = 5: split 1: no run" in table.notes
