from __future__ import annotations

import pytest

from dwp_sweep.config.initial.counts import source_n_val, target_counts
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.splits import enough_problems, repeated_validation
from dwp_sweep.errors import InputError

CONFIG = DatasetConfig(layout="pairs", root="scans")


def alone(n: int) -> dict[str, str]:
    return {f"s{number:03d}": f"s{number:03d}" for number in range(n)}


@pytest.mark.parametrize("n", [3, 4, 5, 8, 12, 20, 42, 160, 500])
@pytest.mark.parametrize("visits", [1, 2, 3])
def test_every_number_of_scans_gives_splits_that_can_be_drawn(n, visits):
    patients = {name: f"p{number % n}" for number, name in enumerate(alone(n * visits))}

    counts = target_counts(patients, CONFIG)

    config = CONFIG.model_copy(update={"n_test": counts.n_test, "n_val": counts.n_val})
    assert enough_problems(patients, config, counts.train_sizes, range(counts.n_splits)) == ()
    assert list(counts.train_sizes) == sorted(set(counts.train_sizes))


@pytest.mark.parametrize("n", [42, 70, 160])
def test_splits_of_a_usual_data_set_validate_on_other_scans(n):
    counts = target_counts(alone(n), CONFIG)

    config = CONFIG.model_copy(update={"n_test": counts.n_test, "n_val": counts.n_val})
    assert repeated_validation(alone(n), config, counts.train_sizes, range(counts.n_splits)) == ()
    assert counts.train_sizes == (5, 10, 20) and counts.n_splits == 3


def test_few_scans_are_tested_in_more_splits():
    assert target_counts(alone(12), CONFIG).n_splits == 5


def test_many_scans_of_two_patients_are_too_few_and_the_key_is_named():
    patients = {f"s{number}": f"p{number % 2}" for number in range(10)}

    with pytest.raises(InputError, match="10 scans of 2 patients") as caught:
        target_counts(patients, CONFIG)
    assert "patients=scan" in caught.value.problems[0].fix


def test_a_source_task_needs_one_to_train_and_one_to_validate():
    assert source_n_val(alone(2), CONFIG) == 1
    assert source_n_val(alone(90), CONFIG) == 10
    with pytest.raises(InputError, match="1 scan of 1 patient"):
        source_n_val(alone(1), CONFIG)
