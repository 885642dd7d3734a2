from __future__ import annotations

import numpy as np
import pytest

from dwp_sweep.tracking.read.pareto import front_of, knee_of


def test_a_front_is_what_nothing_else_beats_in_everything() -> None:
    points = [(0.9, 5.0), (0.8, 1.0), (0.7, 2.0), (0.9, 6.0), (0.5, 0.5)]
    assert front_of(points, (1.0, -1.0)) == [0, 1, 4]


def test_equal_points_stand_on_the_front_together() -> None:
    assert sorted(front_of([(1.0, 1.0), (1.0, 1.0), (0.0, 2.0)], (1.0, -1.0))) == [0, 1]


@pytest.mark.parametrize("n_objectives", [2, 3])
def test_a_front_agrees_with_the_definition_on_random_points(n_objectives: int) -> None:
    points = np.random.default_rng(0).integers(0, 6, (60, n_objectives)).astype(float)
    signs = np.array([1.0, -1.0, 1.0][:n_objectives])
    gains = points * signs
    kept = [
        place
        for place, gain in enumerate(gains)
        if not any((other >= gain).all() and (other > gain).any() for other in gains)
    ]
    assert sorted(front_of(points.tolist(), signs.tolist())) == kept


def test_the_knee_is_nearest_to_the_best_of_everything_whatever_the_units() -> None:
    front = [(0.9, 10.0), (0.88, 2.0), (0.5, 1.0)]
    assert knee_of(front, (1.0, -1.0)) == 1
    assert knee_of([(dice, 3600 * hours) for dice, hours in front], (1.0, -1.0)) == 1


def test_two_points_leave_no_choice_between_ends() -> None:
    assert knee_of([(1.0, 1.0), (0.5, 0.5)], (1.0, -1.0)) is None
