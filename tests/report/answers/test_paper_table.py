from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from dwp_sweep.report.answers.paper_table import paper_table
from dwp_sweep.tables import print_framed
from dwp_sweep.tracking.read.reader import frame_of_rows
from dwp_sweep.tracking.read.rows import NodeRow


def row(
    method: str, size: int, split: int, dice: float | None = None, state: Any = "done", **more: Any
) -> NodeRow:
    labels = {"method": method, "train_size": size, "split": split, "seed": more.pop("seed", 0)}
    labels |= {"variant": more.pop("variant")} if "variant" in more else {}
    metrics = {} if dice is None else {"test_dice": dice, "test_iou": dice / 2, "best_val_dice": dice}
    error = more.pop("error", "")
    metrics |= more.pop("metrics", {})
    return NodeRow("", "target", state, labels, more, metrics, error=error)


def table(*rows: NodeRow) -> Any:
    return paper_table(frame_of_rows([NodeRow("s", "source", "done", {"seed": 0}), *rows]))


def test_columns_and_rows_stand_as_in_the_paper() -> None:
    methods = ["random_init", "fine_tune", "freeze_middle", "deep_weight_prior"]
    found = table(*(row(method, size, 0, 0.5) for method in methods for size in (10, 5)))
    assert list(found.methods.values()) == ["UNet-DWP", "UNet-PR", "UNet-PRf", "UNet-RI"]
    assert found.sizes == (5, 10)


def test_cells_are_mean_and_sample_deviation_over_splits() -> None:
    found = table(*(row("fine_tune", 5, split, dice) for split, dice in enumerate((0.6, 0.7, 0.8))))
    cell = found.cells["test_dice"][5]["fine_tune"]
    assert (cell.summary.mean, cell.summary.n) == (pytest.approx(0.7), 3)
    assert cell.summary.std == pytest.approx(0.1)
    assert found.rows("test_dice") == [["5", "0.700 (0.100)"]]
    assert found.rows("test_iou") == [["5", "0.350 (0.050)"]]
    assert found.notes == ()


def test_what_is_missing_or_failed_is_named() -> None:
    found = table(
        row("fine_tune", 5, 0, 0.6),
        row("fine_tune", 5, 1, state="failed", error="the loss became nan"),
        row("random_init", 5, 0, state="blocked"),
        row("random_init", 5, 1, state="blocked"),
        row("freeze_middle", 5, 0, 0.5),
    )
    assert found.rows("test_dice") == [["5", "0.600 1/2", "0.500 1/2", "blocked"]]
    assert found.notes == (
        "UNet-PR, m = 5: split 1: failed: the loss became nan",
        "UNet-PRf, m = 5: split 1: no run",
        "UNet-RI, m = 5: split 0: blocked",
        "UNet-RI, m = 5: split 1: blocked",
    )


def test_of_several_configurations_validation_picks_the_one_that_is_shown() -> None:
    good, lucky = {"target.lr": 0.1}, {"target.lr": 0.2}
    found = table(
        *(row("fine_tune", 5, split, 0.5, metrics={"best_val_dice": 0.9}, **good) for split in (0, 1)),
        *(row("fine_tune", 5, split, 0.8, metrics={"best_val_dice": 0.7}, **lucky) for split in (0, 1)),
    )
    assert found.cells["test_dice"][5]["fine_tune"].summary.mean == 0.5
    assert found.notes == ("UNet-PR, m = 5: the best of 2 configurations by validation Dice",)


def test_the_newest_run_of_a_split_counts() -> None:
    found = table(row("fine_tune", 5, 0, 0.5), row("fine_tune", 5, 0, 0.7))
    assert found.rows("test_dice") == [["5", "0.700"]]


def test_images_without_foreground_are_counted() -> None:
    assert (
        "2 test prediction(s)" in table(row("fine_tune", 5, 0, 0.5, metrics={"n_test_empty": 2.0})).notes[0]
    )


def test_a_method_outside_the_registry_keeps_its_name() -> None:
    assert table(row("somebodys_own", 5, 0, 0.5)).methods == {"somebodys_own": "somebodys_own"}


def test_a_variant_that_is_called_like_a_method_is_another_column() -> None:
    found = table(row("random_init", 5, 0, 0.5), row("fine_tune", 5, 0, 0.6, variant="UNet-RI"))
    assert found.methods == {"UNet-RI": "UNet-RI", "random_init": "UNet-RI (random_init)"}


def test_a_sweep_without_targets_is_an_empty_table() -> None:
    found = table()
    assert found.sizes == () and "Test Dice" in found.text()


def test_every_form_holds_the_same_cells() -> None:
    found = table(*(row(m, 5, s, 0.5 + s / 10) for m in ("fine_tune", "random_init") for s in (0, 1)))
    screen = io.StringIO()
    print_framed(found.tables(), Console(file=screen, width=100))
    for text in (found.text(), found.markdown(), screen.getvalue()):
        assert text.count("0.550 (0.071)") == 2 and "UNet-PR" in text and "Test IoU" in text
    assert found.markdown().splitlines()[2:4] == ["| m | UNet-PR | UNet-RI |", "| --: | --: | --: |"]
    plain = json.loads(found.json())
    assert plain["cells"]["test_dice"]["5"]["fine_tune"]["summary"]["mean"] == pytest.approx(0.55)


def test_lines_of_the_plain_text_are_aligned() -> None:
    lines = table(row("fine_tune", 5, 0, 0.5), row("fine_tune", 100, 0, 0.5)).text().splitlines()[1:4]
    assert len({len(line) for line in lines}) == 1


def test_markup_in_an_error_is_printed_as_it_is() -> None:
    found = table(row("fine_tune", 5, 0, state="failed", error="bad shape [1, 2] [/]"))
    screen = io.StringIO()
    print_framed(found.tables(), Console(file=screen, width=200))
    assert "bad shape [1, 2] [/]" in screen.getvalue()


def test_rows_without_a_method_do_not_disturb() -> None:
    frame = frame_of_rows([NodeRow("", "target", "done", {"split": 0}), row("fine_tune", 5, 0, 0.5)])
    assert isinstance(frame, pd.DataFrame) and paper_table(frame).sizes == (5,)


def test_many_columns_become_the_rows() -> None:
    rows = [
        row("random_init", size, split, 0.5 + n / 100 + size / 1000, variant=f"variant {n}")
        for n in range(6)
        for size in (5, 10)
        for split in (0, 1)
    ]
    found = table(*rows)
    assert found.header == ["", "m = 5", "m = 10"]
    assert found.rows("test_dice")[2] == ["variant 2", "0.525 (0.000)", "0.530 (0.000)"]
    screen = io.StringIO()
    print_framed(found.tables(), Console(file=screen, width=100))
    for text in (found.text(), found.markdown(), screen.getvalue()):
        assert text.count("0.530 (0.000)") == 1 and max(map(len, text.splitlines())) <= 100
    assert found.markdown().splitlines()[3] == "| :-- | --: | --: |"


def test_the_best_of_each_size_is_marked_whichever_way_the_table_lies() -> None:
    for n_methods in (3, 6):
        rows = [row(f"m{n}", size, 0, 0.5 + n * size / 1000) for n in range(n_methods) for size in (5, 10)]
        found = table(*rows)
        cells = found.cells["test_dice"]
        assert found.best("test_dice") == {id(cells[size][f"m{n_methods - 1}"]) for size in (5, 10)}


def test_the_configuration_that_stands_for_a_method_is_named_by_its_trial_and_what_was_searched() -> None:
    rows = []
    for number, dice in enumerate((0.6, 0.7)):
        one = row("fine_tune", 5, 0, dice, **{"target.lr": dice})
        more = {"trial": number, "settings": f"target.lr=0.00{number}"}
        rows.append(replace(one, labels={**one.labels, **more}))
    assert "UNet-PR, m = 5: the best of 2 configurations by validation Dice: trial 1, target.lr=0.001" in (
        table(*rows).notes
    )
