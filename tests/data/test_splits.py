"""Splits: drawn or from the user's own file, whole patients, nested training sets, too few subjects."""

from __future__ import annotations

import re
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.splits import (
    Split,
    enough_problems,
    overlap_warnings,
    repeated_validation,
    source_split,
    target_split,
    with_all_images,
)
from dwp_sweep.errors import InputError
from dwp_sweep.strict import keyed_values, parse


def alone(n: int) -> dict[str, str]:
    """Scans of as many patients."""
    return {f"s{number:02d}": f"s{number:02d}" for number in range(n)}


ALL = alone(40)


def config(**values) -> DatasetConfig:
    return DatasetConfig(layout="msd", root="scans", **{"n_val": 5, "n_test": 15, **values})


def patients_of(names: tuple[str, ...], patients: dict[str, str]) -> set[str]:
    return {patients[name] for name in names}


@st.composite
def cohorts(draw) -> dict[str, str]:
    """Patients with one to four scans each; some cohorts with one scan each."""
    n = draw(st.integers(40, 60))
    most = draw(st.sampled_from([1, 1, 2, 4]))
    counts = draw(st.lists(st.integers(1, most), min_size=n, max_size=n))
    return {f"p{p}v{visit}": f"p{p}" for p, count in enumerate(counts) for visit in range(count)}


ways = st.sampled_from([
    {"validation": "held_out"},
    {"validation": "train"},
    {"validation": "held_out", "splits": "independent", "n_splits": 2},
    {"validation": "train", "splits": "independent", "n_splits": 2},
])  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(patients=cohorts(), split=st.integers(0, 1), way=ways, share=st.floats(0.05, 0.9))
def test_training_sets_are_nested_and_no_patient_has_two_roles(patients, split, way, share):
    settings_ = config(validation_share=share, n_val=2, n_test=10, **way)
    sizes = [size for size in (2, 3, 5, 8) if not enough_problems(patients, settings_, [size], [split])]
    found = [target_split(patients, settings_, size, split) for size in sizes]

    assert sizes
    for size, one in zip(sizes, found, strict=True):
        used = one.train + one.val + one.test
        assert len(set(used)) == len(used) and set(used) <= set(patients)
        roles = [patients_of(names, patients) for names in (one.train, one.val, one.test)]
        assert sum(map(len, roles)) == len(set().union(*roles)), "a patient in two roles"
        assert len(one.test) == 10 and one.train and one.val
        assert len(one.train) + (len(one.val) if settings_.validation == "train" else 0) == size
        assert settings_.validation == "train" or len(one.val) == 2
    for smaller, larger in pairwise(found):
        assert smaller.train == larger.train[: len(smaller.train)]
        assert smaller.val == larger.val[: len(smaller.val)]
        assert smaller.test == larger.test


@settings(max_examples=40, deadline=None)
@given(patients=cohorts(), validation=st.sampled_from(["held_out", "train"]), size=st.integers(2, 10))
def test_no_resampled_split_validates_on_what_another_one_tests(patients, validation, size):
    settings_ = config(validation=validation, n_val=4, n_test=12)
    splits = [target_split(patients, settings_, size, number) for number in range(8)]

    tested = set().union(*(patients_of(one.test, patients) for one in splits))
    validating = set().union(*(patients_of(one.val, patients) for one in splits))
    assert not tested & validating
    assert overlap_warnings(patients, settings_, [size], range(8)) == ()


@pytest.mark.parametrize("validation", ["held_out", "train"])
@pytest.mark.parametrize(("n", "n_test", "n_val"), [(70, 50, 10), (41, 15, 5), (40, 15, 5)])
def test_every_subject_may_be_used_up_without_a_validation_subject_in_a_test_set(
    validation, n, n_test, n_val
):
    patients, settings_ = alone(n), config(validation=validation, n_test=n_test, n_val=n_val)
    largest = n - n_test - (n_val if validation == "held_out" else 0)

    assert enough_problems(patients, settings_, [largest], range(5)) == ()
    assert enough_problems(patients, settings_, [largest + 1], range(5))
    assert overlap_warnings(patients, settings_, [largest], range(5)) == ()


@pytest.mark.parametrize(
    ("values", "size", "says"),
    [
        ({"n_test": 50, "n_val": 10}, 10, "takes 10 of the 12 .* two of the 3 splits share at least 8 of"),
        ({"n_test": 60, "n_val": 9}, 1, "takes 9 of the 9 .* at least 9 of"),
        ({"n_test": 20, "n_val": 10}, 10, None),
        ({"n_test": 40, "n_val": 10}, 20, None),  # they share half
        ({"n_test": 44, "n_val": 10}, 16, "takes 10 of the 14 .* at least 6 of"),
        ({"n_test": 50, "validation": "train"}, 20, "takes 4 of the 4 .* at least 4 of"),
        ({"n_test": 50, "validation": "train"}, 10, None),
        ({"n_test": 10, "n_val": 10, "splits": "independent", "n_splits": 3}, 10, None),
    ],
)
def test_splits_that_must_validate_on_the_same_subjects_are_a_warning(values, size, says):
    patients, settings_ = alone(70), config(**values)
    warnings = repeated_validation(patients, settings_, [size], range(3))

    assert len(warnings) == (says is not None)
    splits = [set(target_split(patients, settings_, size, number).val) for number in range(3)]
    if says is not None:
        assert re.search(says, warnings[0].what) and warnings[0].fix.startswith("lower n_test or")
        least = int(re.search(r"at least (\d+)", warnings[0].what)[1])
        assert all(len(one & other) >= least for one, other in combinations(splits, 2))
    assert repeated_validation(patients, settings_, [size], [0]) == ()


def test_splits_validate_and_test_on_different_subjects():
    splits = [target_split(ALL, config(), 5, number) for number in range(6)]

    assert len({split.val for split in splits}) > 1 and len({split.test for split in splits}) == 6
    assert len({name for split in splits for name in split.test}) == 30


def test_held_out_training_sets_are_beginnings_of_one_order_with_one_validation_set():
    small, large = (target_split(ALL, config(), size, 0) for size in (5, 20))

    assert large.train[:5] == small.train
    assert large.val == small.val and len(small.val) == 5
    assert (len(small.train), len(large.train)) == (5, 20)


@pytest.mark.parametrize(
    ("size", "n_train", "n_val"), [(2, 1, 1), (3, 2, 1), (5, 4, 1), (10, 8, 2), (20, 16, 4)]
)
def test_validation_from_the_training_subjects_costs_training_subjects(size, n_train, n_val):
    found = target_split(ALL, config(validation="train"), size, 0)

    assert (len(found.train), len(found.val)) == (n_train, n_val)


def test_a_split_depends_on_its_number_and_not_on_the_order_of_ids():
    backwards = dict(reversed(ALL.items()))

    assert target_split(ALL, config(), 5, 1) == target_split(backwards, config(), 5, 1)
    assert target_split(ALL, config(), 5, 1).test != target_split(ALL, config(), 5, 2).test


VISITS = {f"p{patient}v{visit}": f"p{patient}" for patient in range(20) for visit in range(3)}


def test_few_training_scans_are_of_many_patients():
    found = target_split(VISITS, config(n_test=12, n_val=3), 10, 0)

    assert len(patients_of(found.train, VISITS)) == 10
    assert len(patients_of(found.test, VISITS)) == 4


def test_scans_of_a_patient_who_does_not_fit_whole_stay_out():
    found = target_split(VISITS, config(n_test=13, n_val=4), 30, 0)
    everyone = with_all_images(found, VISITS)

    assert len(found.test) == 13 and len(patients_of(found.test, VISITS)) == 5
    assert not patients_of(everyone.train, VISITS) & patients_of(found.test, VISITS)
    assert len(everyone.train) == 60 - 15


def test_patients_who_stay_whole_may_leave_too_few_scans():
    (problem,) = enough_problems(VISITS, config(n_test=13, n_val=4), [43], [0])

    assert problem.what.startswith(
        "split 0: 39 scans are left for train where 43 are needed: patients stay whole"
    )
    with pytest.raises(InputError, match="patients stay whole"):
        target_split(VISITS, config(n_test=13, n_val=4), 43, 0)


def test_independent_splits_have_one_test_set_and_share_nothing_else():
    settings_ = config(splits="independent", n_splits=3, n_val=2, n_test=10)
    splits = [target_split(ALL, settings_, 8, number) for number in range(3)]

    assert len({split.test for split in splits}) == 1
    parts = [set(split.train + split.val) for split in splits]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 30


def test_independent_splits_that_need_more_subjects_are_refused_with_the_sum():
    settings_ = config(splits="independent", n_splits=3, n_val=2, n_test=10)

    (problem,) = enough_problems(ALL, settings_, [5, 9], [0, 1])
    needs = r"test 10 + 3 independent splits of validation 2 + largest training size 9 = 43"
    assert problem.what == f"40 subjects are fewer than {needs}"
    (_, other) = enough_problems(ALL, settings_, [9], [0, 3])
    assert other.what == "split 3: splits: independent makes the splits 0 to 2"
    assert source_split(ALL, settings_) == source_split(ALL, config(n_val=2))


def test_independent_splits_and_a_file_of_splits_are_refused_together():
    with pytest.raises(InputError, match="two ways to make splits"):
        parse(
            DatasetConfig,
            {"layout": "ms", "splits": "independent", "split_file": "s.csv"},
            "f",
            "data.target",
        )


def test_the_number_of_independent_splits_is_in_the_key_where_it_is_read():
    assert keyed_values(config(n_splits=5)) == keyed_values(config())
    assert keyed_values(config(splits="independent", n_splits=5))["n_splits"] == 5


def test_too_few_subjects_are_refused_with_the_sum():
    with pytest.raises(InputError, match=r"40 subjects are fewer than test 15 \+ validation 5 \+ .*21 = 41"):
        target_split(ALL, config(), 21, 0)
    assert enough_problems(ALL, config(), (5, 20)) == ()
    assert enough_problems(ALL, config(validation="train"), (25,)) == ()


@pytest.mark.parametrize(("validation", "size"), [("held_out", 0), ("train", 1)])
def test_a_training_size_that_leaves_nothing_to_train_on_is_refused(validation, size):
    with pytest.raises(InputError, match="too small"):
        target_split(ALL, config(validation=validation), size, 0)


def test_a_source_task_trains_on_all_but_its_validation_subjects():
    found = source_split(ALL, config())

    assert (len(found.train), len(found.val), found.test) == (35, 5, ())
    assert set(found.train) | set(found.val) == set(ALL)


def test_a_source_task_keeps_patients_whole():
    found = source_split(VISITS, config(n_val=4))

    assert (len(found.train), len(found.val)) == (54, 4)
    assert not patients_of(found.train, VISITS) & patients_of(found.val, VISITS)


def test_a_source_task_without_training_subjects_is_refused():
    with pytest.raises(InputError, match="5 subjects are fewer"):
        source_split(alone(5), config())


def test_all_images_train_but_those_that_test():
    found = target_split(ALL, config(), 5, 0)
    everyone = with_all_images(found, ALL)

    assert everyone == Split(everyone.train, found.val, found.test)
    assert len(everyone.train) == 25 and set(everyone.train).isdisjoint(found.test)


@pytest.fixture
def split_file(tmp_path):
    def write(text: str) -> DatasetConfig:
        (tmp_path / "splits.csv").write_text("subject,split,role\n" + text)
        return config(split_file=str(tmp_path / "splits.csv"))

    return write


ROWS = "s03,0,train\ns01,0,train\ns02,0,train\ns04,0,val\ns05,0,test\ns01,7,train\ns02,7,VAL\ns03,7,test\n"


def test_a_users_file_takes_the_place_of_the_seeded_splits(split_file):
    found = target_split(ALL, split_file(ROWS), 2, 0)

    assert (found.train, found.val, found.test) == (("s03", "s01"), ("s04",), ("s05",))
    assert target_split(ALL, split_file(ROWS), 1, 7).val == ("s02",)
    assert source_split(ALL, split_file(ROWS)).train == ("s03", "s01", "s02")


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
        target_split(ALL, split_file(rows), size, split)


def test_all_splits_of_a_users_file_are_checked_before_a_sweep(split_file):
    (problem,) = enough_problems(ALL, split_file(ROWS), (1, 3))

    assert "split 7" in problem.where


def test_validation_subjects_of_a_file_that_other_splits_test_are_a_warning(split_file):
    rows = "s01,0,train\ns02,0,val\ns04,0,val\ns03,0,test\ns01,1,train\ns03,1,val\ns02,1,test\n"

    (warning,) = overlap_warnings(ALL, split_file(rows), [1], [0, 1])
    assert "1 of 2 in split 0, 1 of 1 in split 1" in warning.what
    assert overlap_warnings(ALL, split_file(rows), [1], [0]) == ()


def test_a_patient_in_two_roles_of_a_file_is_named(split_file):
    rows = "p1v0,0,train\np2v0,0,val\np3v0,0,test\np1v1,0,test\n"

    (problem,) = enough_problems(VISITS, split_file(rows), [1])
    assert problem.what == "patient 'p1' is both train ('p1v0') and test ('p1v1')"


def test_validation_from_the_training_subjects_of_a_file_keeps_patients_whole(split_file):
    rows = "".join(f"p{p}v{visit},0,train\n" for p in range(6) for visit in range(3)) + "p9v0,0,test\n"
    settings_ = split_file(rows).model_copy(update={"validation": "train"})
    found = [target_split(VISITS, settings_, size, 0) for size in (2, 5, 10)]

    assert [(len(one.train), len(one.val)) for one in found] == [(1, 1), (4, 1), (8, 2)]
    assert not patients_of(found[-1].train, VISITS) & patients_of(found[-1].val, VISITS)


def test_whole_patients_may_leave_too_few_scans_of_a_file_to_train_on(split_file):
    rows = "".join(f"p{p}v{visit},0,train\n" for p in range(2) for visit in range(3)) + "p9v0,0,test\n"
    settings_ = split_file(rows).model_copy(update={"validation": "train"})

    (problem,) = enough_problems(VISITS, settings_, [6], [0])
    assert problem.what.startswith("split 0: 3 scans are left for train where 5 are needed")


def test_nobody_to_validate_on_or_to_report_on_is_refused() -> None:
    assert "n_val is 0" in str(enough_problems(ALL, config(n_val=0), [5])[0])
    assert "n_test is 0" in str(enough_problems(ALL, config(n_test=0), [5])[0])
    assert enough_problems(ALL, config(n_val=0, validation="train"), [5]) == ()
    assert enough_problems(ALL, config(n_test=0), []) == ()  # a source task has no test set
