from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t, ttest_1samp

from dwp_sweep.report.paired.significance import shared_share, split_interval, subject_interval


def split(*values: float) -> dict[str, float]:
    return {f"s{n}": value for n, value in enumerate(values)}


@pytest.mark.parametrize("means", [(0.02, 0.05, -0.01), (0.1, 0.3), tuple(np.linspace(-1, 2, 9))])
def test_the_interval_over_splits_is_that_of_a_one_sample_t_test(means: tuple[float, ...]) -> None:
    expected = ttest_1samp(means, 0).confidence_interval(0.95)
    assert split_interval(means) == pytest.approx((expected.low, expected.high))


def test_equal_splits_leave_no_width_and_one_split_no_interval() -> None:
    assert split_interval([0.25, 0.25, 0.25]) == (0.25, 0.25)
    assert split_interval([0.25]) is None


@pytest.mark.parametrize(("n_test", "n_train"), [(10, 20), (40, 100), (5, 5)])
def test_the_corrected_interval_is_wider_by_the_factor_of_nadeau_and_bengio(
    n_test: int, n_train: int
) -> None:
    means = (0.02, 0.05, -0.01, 0.03)
    plain, wide = split_interval(means), split_interval(means, correlation=n_test / (n_test + n_train))
    assert plain is not None and wide is not None
    factor = math.sqrt((1 / 4 + n_test / n_train) / (1 / 4))
    assert (wide.high - wide.low) / (plain.high - plain.low) == pytest.approx(factor)
    assert (wide.high + wide.low) / 2 == pytest.approx(0.0225)


def test_the_share_of_common_subjects_is_the_mean_over_pairs_of_splits() -> None:
    assert shared_share(["abcd", "abef", "cdgh"]) == pytest.approx((2 / 4 + 2 / 4 + 0) / 3)
    assert shared_share(["ab", "abcdefgh"]) == pytest.approx(2 / 4)
    assert shared_share(["ab", "ab"]) == pytest.approx(1) and shared_share(["ab"]) == 0 == shared_share([])


@pytest.mark.parametrize("n_splits", [3, 8])
def test_over_overlapping_splits_the_plain_interval_covers_too_rarely_and_the_corrected_one_as_it_says(
    n_splits: int,
) -> None:
    """Each split tests 40 of 140 subjects, whose differences alone make its mean.

    Two means then have the correlation 40/140, and the plain interval covers the truth where |T| is below
    its quantile over sqrt(1 + J 40/100), with T of J - 1 degrees of freedom: .899 for 3 splits.
    """
    rng, n_draws = np.random.default_rng(0), 3000
    hits = {"plain": 0, "corrected": 0}
    for _ in range(n_draws):
        pool = rng.normal(size=140)
        tests = [rng.permutation(140)[:40] for _ in range(n_splits)]
        means = [float(pool[test].mean()) for test in tests]
        shared = shared_share([list(map(str, test)) for test in tests])
        for name, correlation in (("plain", 0.0), ("corrected", shared)):
            low, high = split_interval(means, correlation=correlation) or (9.0, 9.0)
            hits[name] += low <= 0 <= high
    quantile = t.ppf(0.975, n_splits - 1)
    expected = 2 * t.cdf(quantile / math.sqrt(1 + n_splits * 0.4), n_splits - 1) - 1
    error = 3 * math.sqrt(expected * (1 - expected) / n_draws)
    assert hits["plain"] / n_draws == pytest.approx(expected, abs=error) and expected < 0.91
    assert hits["corrected"] / n_draws == pytest.approx(0.95, abs=0.013)


@pytest.mark.parametrize("shift", [0.0, 0.125])
def test_a_constant_difference_leaves_no_width_over_subjects(shift: float) -> None:
    assert subject_interval([split(shift, shift, shift), split(shift, shift)]) == pytest.approx(
        (shift, shift)
    )


def test_one_subject_has_no_interval() -> None:
    assert subject_interval([split(0.1)]) is None


def test_the_interval_over_many_subjects_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(1).normal(0.03, 0.1, 400)
    low, high = subject_interval([split(*values)]) or (0.0, 0.0)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.08 * half)


def test_a_subject_of_several_splits_counts_as_one() -> None:
    # The same differences in three splits tell no more than in one; other subjects tell more.
    values = np.random.default_rng(2).normal(0, 1, 60)
    once = width([split(*values)])
    assert width([split(*values)] * 3) == pytest.approx(once)
    others = [{f"{n}-{name}": value for name, value in split(*values).items()} for n in range(3)]
    assert width(others) == pytest.approx(once / math.sqrt(3), rel=0.1)


def test_scans_of_one_patient_count_as_one() -> None:
    # Each patient's scans are copies of one: they tell no more than the one does.
    values = np.random.default_rng(5).normal(0, 1, 60)
    copies = {f"s{n}v{visit}": value for n, value in enumerate(values) for visit in range(4)}
    patients = {name: name.partition("v")[0] for name in copies}
    as_patients = subject_interval([copies], patients=patients) or (0.0, 0.0)
    assert as_patients == pytest.approx(subject_interval([split(*values)]))
    assert width([copies]) == pytest.approx((as_patients[1] - as_patients[0]) / 2, rel=0.1)
    assert subject_interval([copies], patients=dict.fromkeys(copies, "one")) is None


def test_a_split_weighs_as_much_as_any_other_whatever_its_size() -> None:
    large, small = split(*[1.0] * 90), {"a": 0.0, "b": 0.0, "c": 0.0, "d": 0.0}
    assert subject_interval([large, small]) == pytest.approx((0.5, 0.5))


def test_the_same_differences_give_the_same_interval() -> None:
    splits = [split(*np.random.default_rng(3).normal(size=20))]
    assert subject_interval(splits) == subject_interval(splits) != subject_interval(splits, seed=1)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    hits = 0
    for _ in range(200):
        low, high = subject_interval([split(*rng.normal(0.5, 1, 40))], n_resamples=500) or (9.0, 9.0)
        hits += low <= 0.5 <= high
    assert 175 <= hits <= 199


def width(splits: list[dict[str, float]]) -> float:
    low, high = subject_interval(splits) or (0.0, 0.0)
    return high - low
