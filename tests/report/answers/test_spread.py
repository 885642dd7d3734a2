"""The notes on the spread over splits say what the runs themselves tell, and claim nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dwp_sweep.report.answers.runs import targets_of
from dwp_sweep.report.answers.spread import spread_notes
from dwp_sweep.tracking.read.reader import frame_of_rows
from dwp_sweep.tracking.read.rows import NodeRow

HOLDS = "the spread over splits holds other training and test scans, and another start and order of training "


def row(
    split: int, method: str = "fine_tune", key: str = "k", splits: str = "resampled", **inputs: str
) -> NodeRow:
    labels: dict[str, Any] = {"method": method, "train_size": 5, "split": split, "seed": 0}
    params = {"data.target.splits": splits} if splits else {}
    given = {role: tuple(("source", name) for name in keys.split()) for role, keys in inputs.items()}
    return NodeRow(
        key and f"{key}{method}{split}", "target", "done", labels, params, {"test_dice": 0.5}, given
    )


def notes(*rows: NodeRow) -> list[str]:
    return spread_notes(targets_of(frame_of_rows(rows)))


def test_each_split_has_a_source_network_of_its_own() -> None:
    found = notes(*(row(split, source=f"s{split}") for split in range(3)))
    assert found == [
        HOLDS + "in each split", "UNet-PR: the spread holds another source network in each split as well"
    ]  # fmt: skip


def test_one_source_network_for_all_splits_is_left_out() -> None:
    methods = ("fine_tune", "freeze_middle")
    (_, note) = notes(*(row(split, method, source="s0") for method in methods for split in range(3)))
    words = "one source network for all splits: the spread leaves out the choice of it"
    assert note == f"UNet-PR, UNet-PRf: {words}"


def test_fewer_source_networks_than_splits_are_counted() -> None:
    found = notes(*(row(split, source=f"s{split % 2}") for split in range(3)))
    assert found[1] == (
        "UNet-PR: the spread holds another source network in some splits (2 for 3 splits) as well"
    )


def test_priors_of_all_splits_are_one() -> None:
    found = notes(*(row(split, "deep_weight_prior", priors="p1 p2") for split in range(2)))
    words = "the spread leaves out training its networks, and fitting priors, again"
    assert found[1:] == [f"UNet-DWP: one set of source kernels for all splits: {words}"]


def test_a_random_start_needs_nothing_from_the_source() -> None:
    assert notes(row(0, "random_init"), row(1, "random_init")) == [HOLDS + "in each split"]


def test_independent_splits_share_their_test_set() -> None:
    found = notes(row(0, "random_init", splits="independent"), row(1, "random_init", splits="independent"))
    assert found == ["the spread over splits holds other training scans, and another start and order of "
                     "training in each split"]  # fmt: skip


def test_splits_of_a_user_s_file_differ_in_what_the_file_says() -> None:
    rows = [row(split, "random_init") for split in (0, 1)]
    rows = [replace(one, params={**one.params, "data.target.split_file": "f.csv"}) for one in rows]
    assert notes(*rows) == ["the spread over splits holds the scans of the split file, and another start and "
                            "order of training in each split"]  # fmt: skip


def test_networks_of_an_older_version_began_from_one_start() -> None:
    (note,) = notes(row(0, "random_init"), row(1, "random_init", splits=""))
    assert "leaves out the choice of the start" in note


def test_nothing_is_claimed_of_one_split_or_of_runs_made_by_hand() -> None:
    assert notes(row(0)) == [] == notes(row(0, key="", splits=""), row(1, key="", splits=""))
