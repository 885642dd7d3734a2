"""Splits: seeded or from the user's file, nested training sets, and data sets that are too small."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.splits import enough_problems, read_split_file, source_split, target_split
from dwp_sweep.errors import InputError

IDS = tuple(f"s{n:02d}" for n in range(40))


def config(**values) -> DatasetConfig:
    return DatasetConfig(layout="msd", root="scans", **{"n_val": 5, "n_test": 15, **values})


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(30, 60),
    split=st.integers(0, 5),
    validation=st.sampled_from(["held_out", "train"]),
    share=st.floats(0.05, 0.9),
)
def test_training_sets_are_nested_and_roles_never_overlap(n, split, validation, share):
    ids = [f"s{number}" for number in range(n)]
    settings_ = config(validation=validation, validation_share=share)
    found = [target_split(ids, settings_, size, split) for size in (2, 5, 8, 10)]

    for one in found:
        used = one.train + one.val + one.test
        assert len(set(used)) == len(used)
        assert set(used) <= set(ids)
        assert len(one.test) == 15
        assert one.train and one.val
    for smaller, larger in pairwise(found):
        assert set(smaller.train + smaller.val) <= set(larger.train + larger.val)
        assert smaller.test == larger.test


def test_held_out_training_sets_are_beginnings_of_one_order_with_one_validation_set():
    small, large = (target_split(IDS, config(), size, 0) for size in (5, 20))

    assert large.train[:5] == small.train
    assert large.val == small.val and len(small.val) == 5
    assert (len(small.train), len(large.train)) == (5, 20)


def test_validation_from_the_training_subjects_costs_training_subjects():
    found = target_split(IDS, config(validation="train"), 10, 0)

    assert (len(found.train), len(found.val)) == (8, 2)


def test_validation_from_the_training_subjects_is_nested_too():
    found = [target_split(IDS, config(validation="train"), size, 0) for size in (5, 10, 20)]

    for smaller, larger in pairwise(found):
        assert set(smaller.train) <= set(larger.train) and set(smaller.val) <= set(larger.val)


def test_a_split_depends_on_its_number_and_not_on_the_order_of_ids():
    assert target_split(IDS, config(), 5, 1) == target_split(IDS[::-1], config(), 5, 1)
    assert target_split(IDS, config(), 5, 1).test != target_split(IDS, config(), 5, 2).test


def test_every_subject_is_tested_in_some_split():
    tested = {name for split in range(30) for name in target_split(IDS, config(), 5, split).test}

    assert tested == set(IDS)


def test_too_few_subjects_are_refused_with_the_sum():
    with pytest.raises(InputError, match=r"40 subjects are fewer than test 15 \+ validation 5 \+ .*21 = 41"):
        target_split(IDS, config(), 21, 0)
    assert enough_problems(IDS, config(), (5, 20)) == ()
    assert enough_problems(IDS, config(validation="train"), (25,)) == ()


@pytest.mark.parametrize(("validation", "size"), [("held_out", 0), ("train", 1)])
def test_a_training_size_that_leaves_nothing_to_train_on_is_refused(validation, size):
    with pytest.raises(InputError, match="too small"):
        target_split(IDS, config(validation=validation), size, 0)


def test_a_source_task_trains_on_all_but_its_validation_subjects():
    found = source_split(IDS, config())

    assert (len(found.train), len(found.val), found.test) == (35, 5, ())
    assert set(found.train) | set(found.val) == set(IDS)


def test_a_source_task_without_training_subjects_is_refused():
    with pytest.raises(InputError, match="5 subjects are fewer"):
        source_split(IDS[:5], config())


@pytest.fixture
def split_file(tmp_path):
    def write(text: str) -> DatasetConfig:
        (tmp_path / "splits.csv").write_text("subject,split,role\n" + text)
        return config(split_file=str(tmp_path / "splits.csv"))

    return write


ROWS = "s03,0,train\ns01,0,train\ns02,0,train\ns04,0,val\ns05,0,test\ns01,7,train\ns02,7,VAL\ns03,7,test\n"


def test_a_users_file_takes_the_place_of_the_seeded_splits(split_file):
    found = target_split(IDS, split_file(ROWS), 2, 0)

    assert (found.train, found.val, found.test) == (("s03", "s01"), ("s04",), ("s05",))
    assert target_split(IDS, split_file(ROWS), 1, 7).val == ("s02",)
    assert source_split(IDS, split_file(ROWS)).train == ("s03", "s01", "s02")


@pytest.mark.parametrize(
    ("rows", "size", "split", "says"),
    [
        (ROWS, 2, 1, "has no split 1 .it has 0, 7"),
        (ROWS, 4, 0, "split 0: 3 training subjects are fewer than the largest training size 4"),
        ("s01,0,train\ns02,0,test\n", 1, 0, "no validation subjects"),
        ("s01,0,train\ns02,0,val\n", 1, 0, "no test subjects"),
    ],
)
def test_a_users_file_that_does_not_serve_is_refused(split_file, rows, size, split, says):
    with pytest.raises(InputError, match=says):
        target_split(IDS, split_file(rows), size, split)


def test_all_splits_of_a_users_file_are_checked_before_a_sweep(split_file):
    (problem,) = enough_problems(IDS, split_file(ROWS), (1, 3))

    assert "split 7" in problem.where


def test_nobody_to_validate_on_or_to_report_on_is_refused() -> None:
    assert "n_val is 0" in str(enough_problems(IDS, config(n_val=0), [5])[0])
    assert "n_test is 0" in str(enough_problems(IDS, config(n_test=0), [5])[0])
    assert enough_problems(IDS, config(n_val=0, validation="train"), [5]) == ()
    assert enough_problems(IDS, config(n_test=0), []) == ()  # a source task has no test set


def test_every_bad_line_is_named_at_once(tmp_path):
    path = tmp_path / "splits.csv"
    path.write_text(
        "subject,split,role\n"
        "a,0,train\n"
        "a,0,test\n"  # line 3: two roles
        "zz,0,train\n"  # line 4: unknown subject
        "b,0,tests\n"  # line 5: unknown role
        "c,first,val\n"  # line 6: no number
        "a,1,test\n"  # another split: fine
        "a,1,test\n"  # said twice: fine
    )

    with pytest.raises(InputError) as caught:
        read_split_file(path, ["a", "b", "c"])

    assert [(problem.where.rsplit(" ", 1)[1], problem.what) for problem in caught.value.problems] == [
        ("3", "subject 'a' is both train and test in one split"),
        ("4", "unknown subject 'zz'"),
        ("5", "unknown role 'tests'"),
        ("6", "split 'first' is no number"),
    ]
    assert all(problem.where.startswith(str(path)) and problem.fix for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("text", "says"),
    [(None, "no such file"), ("", "no column subject, split, role"), ("subject,split,role\n", "no rows")],
)
def test_a_file_without_content_is_named(tmp_path, text, says):
    if text is not None:
        (tmp_path / "s.csv").write_text(text)

    with pytest.raises(InputError, match=says):
        read_split_file(tmp_path / "s.csv", ["a"])
