"""Seeded draws of the scans that test, validate and train: whole patients, never one in two roles.

Two ways. *Resampled*: each split draws its own test scans; validation comes from a part of the patients that
no split tests, so that a choice by validation over all splits has seen nobody's test. *Independent*: one test
set, and training and validation scans that no two splits share. Counts are scans. A patient who would exceed
a count gives only the scans that fit, and the others stay out of the split.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dwp_sweep.data.config import DatasetConfig

# Seeds of draws that are the same for all splits, apart from the splits' own, which are one number.
_NEVER_TESTED = (0, 1)
_INDEPENDENT = (0, 2)

_RESERVE = 2
"""So many times `n_val` scans are never tested, at most: splits then validate on different ones."""
_SPARE_SHARE = 4
"""One of so many scans beyond test and validation may join that part: the others keep tests different."""

Group = list[str]
"""Scans of one patient."""


@dataclass(frozen=True)
class Draw:
    """The scans of a split by role, as many as there are; no patient is in two of them.

    Attributes:
        test: All test scans.
        val: In the order in which they are taken.
        train: Likewise: every patient's first scan, then the second ones.
    """

    test: tuple[str, ...]
    val: tuple[str, ...]
    train: tuple[str, ...]


def resampled(patients: Mapping[str, str], config: DatasetConfig, split: int) -> Draw:
    """Test, validation and training scans of one of any number of splits.

    Args:
        patients: Scan -> patient.
        config: `n_test`, `n_val`, `validation` and `validation_share` are read.
        split: Its number.
    """
    order = by_patient(patients, (split,))
    if config.validation == "folds":
        test, rest = _take(order, config.n_test)
        return Draw(test, (), _rounds(rest))
    apart = never_tested(patients, config)
    test, rest = _take([group for group in order if patients[group[0]] not in apart], config.n_test)
    reserved = [group for group in order if patients[group[0]] in apart]
    if config.validation == "train":
        return Draw(test, _rounds(reserved), _rounds(rest))
    val, left = _take(reserved, config.n_val)
    free = {group[0] for group in (*rest, *left)}
    return Draw(test, val, _rounds([group for group in order if group[0] in free]))


def independent(patients: Mapping[str, str], config: DatasetConfig, split: int) -> Draw:
    """One test set for all `n_splits` splits; training and validation scans of one split are in no other.

    Args:
        patients: Scan -> patient.
        config: As for `resampled`, and `n_splits`.
        split: Its number, below `n_splits`.
    """
    test, rest = _take(by_patient(patients, _INDEPENDENT), config.n_test)
    parts: list[list[Group]] = [[] for _ in range(config.n_splits)]
    for group in rest:
        min(parts, key=lambda part: sum(map(len, part))).append(group)
    if config.validation == "folds":
        return Draw(test, (), _rounds(parts[split]))
    if config.validation == "train":
        return Draw(test, *grow(parts[split], config.validation_share))
    val, left = _take(parts[split], config.n_val)
    return Draw(test, val, _rounds(left))


def of_source(patients: Mapping[str, str], n_val: int) -> Draw:
    """Validation scans of a source task, and all others to train on.

    Args:
        patients: Scan -> patient.
        n_val: Scans that validate.
    """
    val, train = _take(by_patient(patients, (0,)), n_val)
    return Draw((), val, _rounds(train))


def never_tested(patients: Mapping[str, str], config: DatasetConfig) -> frozenset[str]:
    """Patients that no resampled split tests: enough to validate on, and no more than the test can spare.

    There are always enough where patients have one scan each: all that validates and trains beside a test set
    lies outside that one. Where these are few, splits validate on much the same scans, which
    `repeated_validation` says. Patients with many scans may leave too few, as they may for every other role.
    """
    n_free = len(patients) - config.n_test
    if config.validation == "train":
        wanted = n_validation(n_free, config.validation_share)
    else:
        spare = max(n_free - config.n_val, 0)
        wanted = min(_RESERVE * config.n_val, config.n_val + spare // _SPARE_SHARE)
    chosen, n_chosen = set[str](), 0
    for group in by_patient(patients, _NEVER_TESTED):
        if n_chosen < wanted and n_chosen + len(group) <= n_free:
            chosen.add(patients[group[0]])
            n_chosen += len(group)
    return frozenset(chosen)


def n_validation(train_size: int, share: float) -> int:
    """How many of `train_size` scans validate: a share, rounded down; at least one of two or more.

    Rises by 0 or 1 where `train_size` rises by 1, so that both parts of nested training sets are nested.
    """
    return max(min(max(1, int(train_size * share)), train_size - 1), 0)


def grow(groups: Sequence[Group], share: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Validation and training scans, both in the order in which `n_validation` of them take part.

    Args:
        groups: Scans by patient, in order.
        share: That validates.
    """
    val, train = list[Group](), list[Group]()
    for group in groups:
        n_val = sum(map(len, val))
        n_all = n_val + sum(map(len, train)) + len(group)
        (val if n_val < n_validation(n_all, share) else train).append(group)
    return _rounds(val), _rounds(train)


def folds_of(scans: Iterable[str], patients: Mapping[str, str], n_folds: int) -> list[list[str]]:
    """Scans in so many parts of much the same size, patients whole; some are empty where patients are fewer.

    Args:
        scans: In the order of a split's training scans.
        patients: Scan -> patient.
        n_folds: How many parts.
    """
    parts: list[list[str]] = [[] for _ in range(n_folds)]
    for group in in_given_order(scans, patients):
        min(parts, key=len).extend(group)
    return parts


def by_patient(patients: Mapping[str, str], seed: Sequence[int]) -> list[Group]:
    """Scans by patient; the patients, and each one's scans, in an order that the seed draws."""
    ordered = sorted(in_given_order(sorted(patients), patients), key=lambda group: patients[group[0]])
    rng = np.random.default_rng(seed)
    drawn = [ordered[place] for place in rng.permutation(len(ordered))]
    return [[group[place] for place in rng.permutation(len(group))] for group in drawn]


def in_given_order(scans: Iterable[str], patients: Mapping[str, str]) -> list[Group]:
    """Scans by patient, in the order in which patients first appear."""
    groups: dict[str, Group] = {}
    for name in scans:
        groups.setdefault(patients[name], []).append(name)
    return list(groups.values())


def _take(groups: Sequence[Group], n: int) -> tuple[tuple[str, ...], list[Group]]:
    """The first `n` scans, and the patients that gave none of them."""
    taken, n_groups = list[str](), 0
    while len(taken) < n and n_groups < len(groups):
        taken += groups[n_groups]
        n_groups += 1
    return tuple(taken[:n]), list(groups[n_groups:])


def _rounds(groups: Sequence[Group]) -> tuple[str, ...]:
    """Every patient's first scan, then every second one, and so on: few scans are of many patients."""
    n_rounds = max(map(len, groups), default=0)
    return tuple(group[place] for place in range(n_rounds) for group in groups if place < len(group))
