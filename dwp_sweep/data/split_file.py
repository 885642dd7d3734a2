"""A user's own splits: a CSV with the columns subject, split, role.

One line a subject and split; role is ``train``, ``val`` or ``test``. Training subjects are taken in
the file's order, so a smaller training set is the beginning of a larger one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
