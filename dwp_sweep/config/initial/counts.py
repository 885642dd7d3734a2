"""How many scans test, validate and train: as many as the scans allow, never more than tell methods apart.

Patients stay whole, so what fits is found by the rules of the splits themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.splits import enough_problems
from dwp_sweep.errors import InputError, Problem

MOST_TEST, MOST_VAL = 40, 10
TRAIN_SIZES = (5, 10, 20)
"""Training sizes of the paper's tables, of which the largest shows whether transfer still helps."""
FEW = 20
"""Scans below which more splits are drawn: each tests few of them."""


@dataclass(frozen=True)
class Counts:
    """Sizes of the roles of a target's splits.

    Attributes:
        n_test: Test scans of a split.
        n_val: Validation scans.
        train_sizes: Rising.
        n_splits: How often scans are drawn.
    """

    n_test: int
    n_val: int
    train_sizes: tuple[int, ...]
    n_splits: int


def target_counts(patients: Mapping[str, str], config: DatasetConfig) -> Counts:
    """The sizes of a target task's splits.

    Args:
        patients: Scan -> patient.
        config: Of the target; its own counts are not read.

    Raises:
        InputError: Fewer than three patients: a split needs one each to train, to validate and to test.
    """
    n, n_patients = len(patients), len(set(patients.values()))
    if n_patients < 3:
        raise InputError(_too_few(n, n_patients, config))
    n_test, n_val = min(MOST_TEST, max(1, round(n / 4))), min(MOST_VAL, max(1, round(n / 8)))
    largest = n - n_test - n_val
    n_splits = 3 if n >= FEW else min(5, n_patients)
    while True:
        sizes = _sizes(largest)
        tried = config.model_copy(update={"n_test": n_test, "n_val": n_val})
        if not enough_problems(patients, tried, sizes, range(n_splits)):
            return Counts(n_test, n_val, sizes, n_splits)
        if (n_test, n_val, largest) == (1, 1, 1):
            raise InputError(_too_few(n, n_patients, config))
        # Patients with many scans leave less than their scans add up to.
        n_test, n_val = max(1, n_test - 1), max(1, min(n_val, n_test // 2))
        largest = max(1, largest - 1)


def source_n_val(patients: Mapping[str, str], config: DatasetConfig) -> int:
    """Validation scans of a source task; all others train.

    Raises:
        InputError: Fewer than two patients.
    """
    n = len(patients)
    for n_val in range(min(MOST_VAL, max(1, round(n / 8))), 0, -1):
        if n_val < n and not enough_problems(patients, config.model_copy(update={"n_val": n_val}), ()):
            return n_val
    what = f"{_scans(n)} of {len(set(patients.values()))} patient(s): a source network needs two patients"
    raise InputError(
        Problem(config.root or "", what, "one trains, one validates: add scans, or bring a network")
    )


def _sizes(largest: int) -> tuple[int, ...]:
    if largest < TRAIN_SIZES[0]:
        return tuple(sorted({max(1, largest // 2), largest}))
    return tuple(size for size in TRAIN_SIZES if size <= largest)


def _too_few(n: int, n_patients: int, config: DatasetConfig) -> Problem:
    of = f"{_scans(n)} of {n_patients} patient{'s' * (n_patients != 1)}"
    what = f"{of}: a split needs three patients, one each to train, to validate and to test"
    if n >= 3:
        fix = "if the scans are of different people, say data.target.patients=scan; else add patients"
    else:
        fix = "add scans: with 3 one tests at a time, with 8 two do, with 20 five in each of three splits"
    return Problem(config.root or "", what, fix)


def _scans(n: int) -> str:
    return f"{n} scan{'s' * (n != 1)}"
