from __future__ import annotations

import json
from pathlib import Path

import pytest

from dwp_sweep.harness.dag.node_state import was_pruned
from dwp_sweep.harness.search.incumbents import VAL_SCORES, is_worse, validation_scores
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.record import Record
from tests.harness.toy_stages import toy_node

BEST = {(0, f"s{i}"): 0.8 + 0.001 * i for i in range(10)}


def shifted(by: float, n: int = 10) -> dict[tuple[int, str], float]:
    return {(0, f"s{i}"): 0.8 + 0.001 * i + by * (1 + 0.1 * i) for i in range(n)}


def test_scores_that_are_lower_for_everybody_are_worse() -> None:
    assert is_worse(shifted(-0.02), BEST)


def test_higher_and_equal_scores_are_not() -> None:
    assert not is_worse(shifted(0.02), BEST) and not is_worse(BEST, BEST)


def test_four_subjects_can_never_tell_and_five_can() -> None:
    # The smallest one-sided p of n differences is 2 ** -n.
    assert not is_worse(shifted(-0.5, n=4), BEST)
    assert is_worse(shifted(-0.5, n=5), BEST)


def test_one_subject_of_many_repeats_is_one_value() -> None:
    # Four subjects can never tell, however often they validate: their scores are alike.
    best = {(repeat, f"s{n}"): 0.7 for repeat in range(5) for n in range(4)}
    assert not is_worse(dict.fromkeys(best, 0.2), best)


def test_scans_of_one_patient_are_one_value(tmp_path: Path) -> None:
    store, node = LocalStore(tmp_path), toy_node("target", "visits")
    folder = store.node_dir("target", node.key)
    folder.mkdir(parents=True)
    scores = {f"s{n}": {"dice": n / 10, "patient": f"p{n // 2}"} for n in range(4)} | {"alone": {"dice": 0.5}}
    (folder / VAL_SCORES).write_text(json.dumps(scores))
    known = validation_scores(store, {3: node}, "val_dice")
    assert known == pytest.approx({(3, "p0"): 0.05, (3, "p1"): 0.25, (3, "alone"): 0.5})


def test_only_subjects_of_repeats_that_both_have_are_compared() -> None:
    assert not is_worse({(1, subject): value - 0.5 for (_, subject), value in BEST.items()}, BEST)


def test_only_equal_repeats_are_compared_whichever_ends_first(tmp_path: Path) -> None:
    """Splits differ by more than configurations do."""
    store, nodes = LocalStore(tmp_path), {}
    for repeat, dice in enumerate((0.9, 0.6)):
        nodes[repeat] = toy_node("target", f"repeat {repeat}")
        folder = store.node_dir("target", nodes[repeat].key)
        folder.mkdir(parents=True)
        scores = {f"s{n}": {"dice": dice + 0.001 * n} for n in range(8)}
        (folder / VAL_SCORES).write_text(json.dumps(scores))
    best = validation_scores(store, nodes, "val_dice")
    second = validation_scores(store, {1: nodes[1]}, "val_dice")
    assert {repeat for repeat, _ in second} == {1} and not is_worse(second, best)
    assert is_worse(validation_scores(store, {0: nodes[1]}, "val_dice"), best)


def test_a_record_says_in_which_study_its_node_was_given_up() -> None:
    record = Record(key="k", stage="target", status="pruned", config={}, error="s/all: asha after epoch 3")
    assert was_pruned(record, "s/") and not was_pruned(record, "t/") and not was_pruned(None, "s/")
