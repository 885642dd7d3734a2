"""The user's own splits, in place of drawn ones: a CSV with the columns subject, split, role.

One line a subject and split; role is ``train``, ``val`` or ``test``; training subjects are taken in the
file's order. Every bad line is named at once, and so is a patient whose scans stand in two roles of a split.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.draws import Draw, grow, in_given_order
from dwp_sweep.data.files.names import home_path
from dwp_sweep.data.files.table import read_table
from dwp_sweep.errors import InputError, Problem

_MOST_DIGITS = 9
"""Of a split's number."""
ROLES = ("train", "val", "test")


def read_split_file(path: Path, ids: Iterable[str]) -> Mapping[int, Draw]:
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


def given_split(patients: Mapping[str, str], config: DatasetConfig, split: int) -> Draw:
    """One split of the file that the settings name; with ``validation: train`` a part of `train` validates.

    Args:
        patients: Scan -> patient.
        config: `split_file`, `validation` and `validation_share` are read.
        split: One that the file has.
    """
    given = read_split_file(file_of(config), patients)[split]
    if config.validation == "held_out":
        return given
    if config.validation == "folds":
        return Draw(given.test, (), given.train)
    return Draw(given.test, *grow(in_given_order(given.train, patients), config.validation_share))


def file_of(config: DatasetConfig) -> Path:
    """Path of the split file."""
    return home_path(config.split_file or "")


def file_problems(
    patients: Mapping[str, str],
    config: DatasetConfig,
    train_sizes: Sequence[int],
    wanted: Sequence[int] | None,
) -> tuple[Problem, ...]:
    """What stands against the splits of a file.

    Args:
        patients: Scan -> patient.
        config: Its `split_file` is read.
        train_sizes: All training sizes of a sweep; empty for a source task, which reads split 0.
        wanted: Numbers of the splits; None takes all of the file.
    """
    path = file_of(config)
    try:
        given = read_split_file(path, patients)
    except InputError as error:
        return error.problems
    problems = []
    for number in wanted if wanted is not None else given if train_sizes else (0,):
        if number not in given:
            has = ", ".join(map(str, given))
            problems.append(Problem(str(path), f"has no split {number}", f"it has {has}"))
            continue
        where = f"{path}, split {number}"
        problems += _role_problems(given[number], where, config, train_sizes)
        problems += _divided_patients(given[number], where, patients)
    return tuple(problems)


def _role_problems(
    given: Draw, where: str, config: DatasetConfig, train_sizes: Sequence[int]
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


def _divided_patients(given: Draw, where: str, patients: Mapping[str, str]) -> list[Problem]:
    first: dict[str, tuple[str, str]] = {}
    problems: dict[str, Problem] = {}
    for role in ROLES:
        for name in getattr(given, role):
            other, other_role = first.setdefault(patients[name], (name, role))
            if other_role != role:
                what = f"patient {patients[name]!r} is both {other_role} ({other!r}) and {role} ({name!r})"
                fix = "give all scans of a patient one role, or set patients: scan if they are of several"
                problems.setdefault(patients[name], Problem(where, what, fix))
    return list(problems.values())


def _row_problems(row: Mapping[str, str], known: frozenset[str], where: str) -> list[Problem]:
    problems = []
    if row["subject"] not in known:
        what = f"unknown subject {row['subject']!r}"
        problems.append(Problem(where, what, f"it is not among the {len(known)} selected subjects"))
    if not row["split"].isdecimal():
        problems.append(Problem(where, f"split {row['split']!r} is no number", "count splits from 0"))
    elif len(row["split"]) > _MOST_DIGITS:
        what = f"split {row['split'][:_MOST_DIGITS]}... has {len(row['split'])} digits"
        problems.append(Problem(where, what, "count splits from 0"))
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


def _split(roles: Mapping[str, str]) -> Draw:
    train, val, test = (tuple(name for name, role in roles.items() if role == wanted) for wanted in ROLES)
    return Draw(test, val, train)
