from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from dwp_sweep.report.paired.significance import holm, rank_biserial, signed_rank, smallest_visible


def test_the_p_value_is_that_of_scipy() -> None:
    values = np.random.default_rng(1).normal(0.2, 1, size=30)
    found = signed_rank(list(values))
    assert found is not None and found.p == pytest.approx(stats.wilcoxon(values).pvalue)
    assert (found.n, found.n_untied, found.can_tell) == (30, 30, True)


def test_all_on_one_side_gives_the_smallest_p_there_is() -> None:
    found = signed_rank([0.1, 0.2, 0.3, 0.4])
    assert found is not None and found.p == pytest.approx(2 / 2**4) == pytest.approx(found.smallest_p)
    assert found.rank_biserial == 1 and found.interval == (1, 1)
    assert not found.can_tell  # 0.125: four subjects can never reach 0.05


def test_rank_biserial_is_the_share_in_favour_minus_the_share_against() -> None:
    # Ranks 1 and 3 in favour, 2 against: (4 - 2) / 6; zeros do not count.
    assert rank_biserial(np.array([[0.1, -0.2, 0.3, 0.0]]))[0] == pytest.approx((4 - 2) / 6)
    # Two of equal size share their ranks.
    assert rank_biserial(np.array([[0.1, -0.1, 0.3]]))[0] == pytest.approx((1.5 + 3 - 1.5) / 6)
    assert rank_biserial(np.array([[0.0, 0.0]]))[0] == 0


def test_subjects_without_a_difference_do_not_count_in_the_rank_biserial() -> None:
    # Ranks 1, 3 and 4 in favour, 2 against. Were the zeros ranked, 3, 5 and 6 against 4 would give 10/18;
    # were they in the sum of all ranks, (8 - 2) / 13.
    assert rank_biserial(np.array([[0.1, -0.2, 0.3, 0.4, 0.0, 0.0]]))[0] == pytest.approx((8 - 2) / 10)


@pytest.mark.parametrize("n_zeros", [1, 2, 7])
def test_zeros_change_neither_the_rank_biserial_nor_the_p_value(n_zeros: int) -> None:
    values = list(np.random.default_rng(n_zeros).normal(0.3, 1, size=9).round(1) + 0.05)
    without, with_zeros = signed_rank(values), signed_rank([*values, *[0.0] * n_zeros])
    assert without is not None and with_zeros is not None
    assert with_zeros.rank_biserial == pytest.approx(without.rank_biserial)
    assert (with_zeros.p, with_zeros.n_untied) == (pytest.approx(without.p), 9)


@pytest.mark.parametrize("seed", range(3))
def test_rank_biserial_follows_from_scipys_statistic(seed: int) -> None:
    values = np.random.default_rng(seed).normal(0.3, 1, size=17)
    total = 17 * 18 / 2
    negative = float(np.sum(stats.rankdata(abs(values))[values < 0]))
    assert rank_biserial(values[None])[0] == pytest.approx((total - 2 * negative) / total)


def test_no_difference_at_all_is_no_evidence() -> None:
    found = signed_rank([0.0, 1e-17, 0.0])
    assert found is not None and (found.p, found.n, found.n_untied, found.rank_biserial) == (1.0, 3, 0, 0.0)
    assert signed_rank([]) is None


def test_the_interval_holds_the_estimate_and_is_the_same_each_time() -> None:
    values = list(np.random.default_rng(5).normal(0.3, 1, size=40))
    first, second = signed_rank(values), signed_rank(values)
    assert first == second and first is not None and first.interval is not None
    assert -1 <= first.interval.low < first.rank_biserial < first.interval.high <= 1


def test_holm_on_a_worked_example() -> None:
    # Sorted .005 .01 .03 .04: times 4, 3, 2, 1 gives .02 .03 .06 .04, and none below a smaller one's.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_bounds() -> None:
    assert holm([]) == [] and holm([0.03]) == [0.03] and holm([0.9, 0.8]) == [1.0, 1.0]
    p = list(np.random.default_rng(0).uniform(size=20))
    corrected = holm(p)
    assert all(raw <= one <= 1 for raw, one in zip(p, corrected, strict=True))
    assert np.argsort(p, kind="stable").tolist() == sorted(range(20), key=lambda i: (corrected[i], p[i]))


def test_holm_rarely_raises_a_false_alarm_where_bare_tests_often_do() -> None:
    rng = np.random.default_rng(0)
    draws = rng.uniform(size=(2000, 10))
    bare = float(np.mean((draws < 0.05).any(axis=1)))
    corrected = float(np.mean([min(holm(list(row))) < 0.05 for row in draws]))
    assert bare > 0.35 and corrected < 0.065


def test_the_smallest_visible_difference_is_the_median_half_width() -> None:
    assert smallest_visible([0.1, 0.3, 0.2]) == pytest.approx(0.2)
    assert smallest_visible([]) is None and smallest_visible([math.inf]) is None
