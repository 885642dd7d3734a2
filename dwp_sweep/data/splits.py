"""Which subjects train, validate and test: drawn by the number of the split, or from the user's own file.

A smaller training set is the beginning of a larger one, and test and validation subjects stay the same for
all sizes. The user's file is a CSV with the columns subject, split, role: one line a subject and split; role
is ``train``, ``val`` or ``test``; training subjects are taken in the file's order. Knows ids, no scans.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.table import read_table
from dwp_sweep.errors import InputError, Problem

ROLES = ("train", "val", "test")


@dataclass(frozen=True)
class Split:
    """Which subject plays which role; ids, no subject twice.

    Attributes:
        train: In the order in which training sets grow.
        val: Choose epochs and configurations.
        test: Only reported.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


def target_split(ids: Sequence[str], config: DatasetConfig, train_size: int, split: int) -> Split:
    """Split of a target task with `train_size` labelled subjects.

    With ``validation: train`` the `train_size` subjects give a part of themselves to validation; with
    ``held_out`` the validation subjects come on top.

    Args:
        ids: All subjects of the data set, in any order.
        config: `n_val`, `n_test`, `validation`, `validation_share` and `split_file` are read.
        train_size: Labelled subjects that the method may learn from.
        split: Number of the split; it alone decides the permutation.

    Raises:
        InputError: Too few subjects, or a split file that does not serve.
    """
    problems = enough_problems(ids, config, (train_size,), (split,))
    if problems:
        raise InputError(problems)
    whole = _user_split(ids, config, split) if config.split_file else _seeded_split(ids, config, split)
    pool = whole.train[:train_size]
    if config.validation == "held_out":
        return Split(pool, whole.val, whole.test)
    val = _validation_part(pool, config.validation_share)
    return Split(tuple(one for one in pool if one not in val), val, whole.test)


def source_split(ids: Sequence[str], config: DatasetConfig) -> Split:
    """Split of a source task: `n_val` subjects validate, all others train, none is tested.

    With a split file its split 0 says who trains and who validates.

    Raises:
        InputError: No subject left to train on.
    """
    problems = enough_problems(ids, config, ())
    if problems:
        raise InputError(problems)
    if config.split_file:
        given = _user_split(ids, config, 0)
        return Split(given.train, given.val, ())
    order = _permutation(ids, 0)
    return Split(order[config.n_val :], order[: config.n_val], ())


def with_all_images(split: Split, ids: Sequence[str]) -> Split:
    """The split with every image that does not test in training, in place of its ``train_size`` subjects.

    Validation subjects train as well and go on choosing the epoch: a network for use, whose validation
    scores say nothing about other scans any more. Its test scores do.

    Args:
        split: From `target_split`.
        ids: All subjects of the data set.
    """
    first = dict.fromkeys((*split.train, *split.val))
    rest = [one for one in sorted(ids) if one not in first and one not in split.test]
    return Split((*first, *rest), split.val, split.test)


def enough_problems(
    ids: Sequence[str], config: DatasetConfig, train_sizes: Sequence[int], splits: Sequence[int] | None = None
) -> tuple[Problem, ...]:
    """What stands against splits of these sizes; for a source task `train_sizes` is empty.

    Args:
        ids: All subjects of the data set.
        config: As for `target_split`.
        train_sizes: All training sizes of a sweep.
        splits: Numbers of the splits; None takes those of the split file.
    """
    where = config.root or f"layout {config.layout}"
    small = [size for size in train_sizes if size < (2 if config.validation == "train" else 1)]
    if small:
        least = "2, one to train and one to validate" if config.validation == "train" else "1"
        return (Problem(where, f"train_size {small[0]} is too small", f"it is at least {least}"),)
    if config.split_file:
        return _file_problems(ids, config, train_sizes, splits)
    if empty := _empty_roles(config, bool(train_sizes)):
        return tuple(Problem(where, f"{name} is 0", "set it to at least 1") for name in empty)
    n_test = config.n_test if train_sizes else 0
    n_val = config.n_val if config.validation == "held_out" or not train_sizes else 0
    n_train = max(train_sizes, default=1)
    if len(ids) >= n_test + n_val + n_train:
        return ()
    needs = (
        f"test {n_test} + validation {n_val} + largest training size {n_train} = {n_test + n_val + n_train}"
    )
    return (
        Problem(where, f"{len(ids)} subjects are fewer than {needs}", "lower n_test, n_val or train_size"),
    )


def read_split_file(path: Path, ids: Sequence[str]) -> Mapping[int, Split]:
    """All splits of a file, by number.

    Args:
        path: The CSV.
        ids: Subjects of the data set.

    Raises:
        InputError: Every bad line at once: a subject in two roles of a split, an unknown subject, a
            role or a split number that is none; or a file that cannot be read.
    """
    known, problems = frozenset(ids), list[Problem]()
    roles: dict[int, dict[str, str]] = {}
    for row in read_table(path, ("subject", "split", "role")):
        where = f"{path}, line {row['line']}"
        bad = _row_problems(row, known, where)
        problems += bad
        if not bad:
            problems += _assign(
                roles.setdefault(int(row["split"]), {}), row["subject"], row["role"].lower(), where
            )
    if problems:
        raise InputError(problems)
    return {number: _split(given) for number, given in sorted(roles.items())}


def _seeded_split(ids: Sequence[str], config: DatasetConfig, split: int) -> Split:
    order = _permutation(ids, split)
    n_val = config.n_val if config.validation == "held_out" else 0
    first_train = config.n_test + n_val
    return Split(order[first_train:], order[config.n_test : first_train], order[: config.n_test])


def _permutation(ids: Sequence[str], split: int) -> tuple[str, ...]:
    ordered = sorted(ids)
    return tuple(ordered[index] for index in np.random.default_rng(split).permutation(len(ordered)))


def _validation_part(pool: tuple[str, ...], share: float) -> tuple[str, ...]:
    """Every 1/share-th subject of the pool, so that the parts of nested training sets are nested too."""
    chosen = tuple(one for n, one in enumerate(pool, start=1) if int(n * share) > int((n - 1) * share))
    return chosen or pool[-1:]


def _user_split(ids: Sequence[str], config: DatasetConfig, split: int) -> Split:
    return read_split_file(Path(config.split_file or "").expanduser(), ids)[split]


def _empty_roles(config: DatasetConfig, is_target: bool) -> list[str]:
    """Settings that leave nobody to choose the epoch by, or nobody to report on."""
    needs_val = config.validation == "held_out" or not is_target
    empty = {"n_val": needs_val and config.n_val == 0, "n_test": is_target and config.n_test == 0}
    return [name for name, is_empty in empty.items() if is_empty]


def _file_problems(
    ids: Sequence[str], config: DatasetConfig, train_sizes: Sequence[int], wanted: Sequence[int] | None
) -> tuple[Problem, ...]:
    path = Path(config.split_file or "").expanduser()
    try:
        given = read_split_file(path, ids)
    except InputError as error:
        return error.problems
    problems = []
    for number in wanted if wanted is not None else given if train_sizes else (0,):
        if number not in given:
            has = ", ".join(str(one) for one in given)
            problems.append(Problem(str(path), f"has no split {number}", f"it has {has}"))
            continue
        problems += _role_problems(given[number], f"{path}, split {number}", config, train_sizes)
    return tuple(problems)


def _role_problems(
    given: Split, where: str, config: DatasetConfig, train_sizes: Sequence[int]
) -> list[Problem]:
    problems, n_train = [], max(train_sizes, default=1)
    if len(given.train) < n_train:
        what = f"{len(given.train)} training subjects are fewer than the largest training size {n_train}"
        problems.append(Problem(where, what, "add lines with role train, or lower train_size"))
    if not given.val and (config.validation == "held_out" or not train_sizes):
        problems.append(
            Problem(where, "has no validation subjects", "add role val, or set validation: train")
        )
    if train_sizes and not given.test:
        problems.append(Problem(where, "has no test subjects", "add lines with role test"))
    return problems


def _row_problems(row: Mapping[str, str], known: frozenset[str], where: str) -> list[Problem]:
    problems = []
    if row["subject"] not in known:
        what = f"unknown subject {row['subject']!r}"
        problems.append(Problem(where, what, f"it is not among the {len(known)} selected subjects"))
    if not row["split"].isdigit():
        problems.append(Problem(where, f"split {row['split']!r} is no number", "count splits from 0"))
    if row["role"].lower() not in ROLES:
        problems.append(
            Problem(where, f"unknown role {row['role']!r}", f"a role is one of {', '.join(ROLES)}")
        )
    return problems


def _assign(given: dict[str, str], subject: str, role: str, where: str) -> list[Problem]:
    before = given.setdefault(subject, role)
    if before == role:
        return []
    return [
        Problem(
            where, f"subject {subject!r} is both {before} and {role} in one split", "keep one of the lines"
        )
    ]


def _split(roles: Mapping[str, str]) -> Split:
    train, val, test = (tuple(name for name, role in roles.items() if role == wanted) for wanted in ROLES)
    return Split(train, val, test)
