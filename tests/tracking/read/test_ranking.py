from __future__ import annotations

import math

import pytest

from dwp_sweep.report.answers.runs import chosen_runs, targets_of
from dwp_sweep.tracking.read.best import best_of
from dwp_sweep.tracking.read.configuration import pairs_of, rank
from dwp_sweep.tracking.read.reader import frame_of_rows
from dwp_sweep.tracking.read.rows import NodeRow


def test_all_splits_go_before_a_lucky_half_and_the_mean_decides_among_equals():
    groups = {
        "full": [0.6, 0.6],
        "better": [0.5, 0.9],
        "half": [0.99],
        "none": [],
        "broken": [math.nan, 0.98],
    }
    order = sorted(groups, key=lambda name: (*rank(groups[name], "val_dice"), name))

    assert order == ["better", "full", "half", "broken", "none"]
    assert rank([0.1, 0.3], "val_loss") < rank([0.5, 0.5], "val_loss")


@pytest.mark.parametrize("scores", [(0.7, 0.7), (0.6, 0.7), (0.7, 0.6)])
@pytest.mark.parametrize("is_turned", [False, True])
def test_the_table_of_a_cell_and_the_best_configuration_name_the_same_runs(scores, is_turned):
    """Also where two configurations are equally good, in whichever order they ran."""
    labels = {"method": "fine_tune", "train_size": 5, "seed": 0}
    rows = [
        NodeRow(
            f"k{n}{split}", "target", "done", {**labels, "split": split}, {"target.lr": lr, **labels},
            {"best_val_dice": score, "val_dice": 1 - score, "test_dice": 0.5}, run_id=f"r{n}{split}",
        )
        for n, (lr, score) in enumerate(zip((1e-3, 1e-4), scores, strict=True))
        for split in (0, 1)
    ]  # fmt: skip
    rows = rows[::-1] if is_turned else rows

    chosen, n_configurations = chosen_runs(targets_of(frame_of_rows(rows)))
    best = best_of("s", "val_dice", pairs_of(rows), rows, (), "uri")

    assert n_configurations == 2
    assert {run.run_id for run in chosen.values()} == set(best.run_ids)
