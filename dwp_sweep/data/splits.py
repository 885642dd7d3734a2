"""Which scans train, validate and test: drawn by the number of the split, or from the user's own file.

A smaller training set is the beginning of a larger one; test scans, and validation scans that are held out,
stay the same for all sizes. No patient is in two roles of a split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.draws import Draw, folds_of, independent, n_validation, never_tested, of_source, resampled
from dwp_sweep.data.split_file import file_problems, given_split
from dwp_sweep.errors import InputError, Problem


@dataclass(frozen=True)
class Split:
    """Which scan plays which role; ids, no scan twice, no patient in two roles.

    Attributes:
        train: In the order in which training sets grow.
        val: Choose epochs and configurations.
        test: Only reported.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


def target_split(
    patients: Mapping[str, str],
    config: DatasetConfig,
    train_size: int,
    split: int,
    fold: int | None = None,
) -> Split:
    """Split of a target task with `train_size` labelled scans.

    With ``validation: train`` the `train_size` scans give a part of themselves to validation; with
    ``held_out`` the validation scans come on top; with ``folds`` one part of the scans validates.

    Args:
        patients: Scan -> patient, of the whole data set.
        config: `splits`, `n_splits`, `n_val`, `n_test`, `validation`, `validation_share` and `split_file`
            are read.
        train_size: Labelled scans that the method may learn from.
        split: Number of the split; it alone decides the draw.
        fold: Which part validates, with ``validation: folds``; None takes the first.

    Raises:
        InputError: Too few scans, or a split file that does not serve.
    """
    if problems := enough_problems(patients, config, (train_size,), (split,)):
        raise InputError(problems)
    return _sized(_draw(patients, config, split), config, train_size, patients, fold)


def source_split(patients: Mapping[str, str], config: DatasetConfig) -> Split:
    """Split of a source task: `n_val` scans validate, all others train, none is tested.

    With a split file its split 0 says who trains and who validates.

    Args:
        patients: Scan -> patient, of the whole data set.
        config: `n_val` and `split_file` are read.

    Raises:
        InputError: No scan left to train on.
    """
    if problems := enough_problems(patients, config, ()):
        raise InputError(problems)
    drawn = _source_draw(patients, config)
    return Split(drawn.train, drawn.val, ())


def with_all_images(split: Split, patients: Mapping[str, str]) -> Split:
    """The split with all images of patients who do not test in training, in place of ``train_size`` scans.

    Validation scans train as well and go on choosing the epoch: a network for use, whose validation
    scores say nothing about other scans any more. Its test scores do.

    Args:
        split: From `target_split`.
        patients: Scan -> patient, of the whole data set.
    """
    tested = {patients[name] for name in split.test}
    first = dict.fromkeys((*split.train, *split.val))
    rest = [name for name in sorted(patients) if name not in first and patients[name] not in tested]
    return Split((*first, *rest), split.val, split.test)


def enough_problems(
    patients: Mapping[str, str],
    config: DatasetConfig,
    train_sizes: Sequence[int],
    splits: Sequence[int] | None = None,
) -> tuple[Problem, ...]:
    """What stands against splits of these sizes; for a source task `train_sizes` is empty.

    Args:
        patients: Scan -> patient, of the whole data set.
        config: As for `target_split`.
        train_sizes: All training sizes of a sweep.
        splits: Numbers of the splits; None takes those of the split file, else the first one.
    """
    where = config.root or f"layout {config.layout}"
    n_least, least = {
        "train": (2, "2, one to train and one to validate"),
        "folds": (config.n_folds, f"{config.n_folds}, one for each fold; lower n_folds"),
    }.get(config.validation, (1, "1"))
    small = [size for size in train_sizes if size < n_least]
    if small:
        return (Problem(where, f"train_size {small[0]} is too small", f"it is at least {least}"),)
    if config.split_file:
        problems = file_problems(patients, config, train_sizes, splits)
        return problems or _short_splits(patients, config, train_sizes, splits or (), where)
    if empty := _empty_roles(config, bool(train_sizes)):
        return tuple(Problem(where, f"{name} is 0", "set it to at least 1") for name in empty)
    numbers = tuple(splits or (0,))
    problems = _too_few(patients, config, train_sizes, where) + _no_such_splits(config, numbers, where)
    return problems or _short_splits(patients, config, train_sizes, numbers, where)


def overlap_warnings(
    patients: Mapping[str, str], config: DatasetConfig, train_sizes: Sequence[int], splits: Sequence[int]
) -> tuple[Problem, ...]:
    """Where a choice by validation over all splits sees patients that other splits test.

    Drawn splits never do; a user's file may.

    Args:
        patients: Scan -> patient, of the whole data set.
        config: As for `target_split`; one without problems.
        train_sizes: All training sizes of a sweep.
        splits: Numbers of its splits.
    """
    drawn = {number: target_split(patients, config, max(train_sizes), number) for number in splits}
    counts = {}
    if config.validation == "folds":  # all labelled scans validate one of the networks
        drawn = {number: Split(one.train, (*one.train, *one.val), one.test) for number, one in drawn.items()}
    for number, split in drawn.items():
        others = [other for place, other in drawn.items() if place != number]
        tested = {patients[name] for other in others for name in other.test}
        if n_seen := sum(patients[name] in tested for name in split.val):
            counts[number] = f"{n_seen} of {len(split.val)} in split {number}"
    if not counts:
        return ()
    what = f"validation scans are of patients whom other splits test: {', '.join(counts.values())}"
    means = "a choice by validation over all splits has then seen test patients"
    where = config.split_file or config.root or config.layout
    return (Problem(where, f"{what}; {means}", "validate on subjects that no split tests"),)


def repeated_validation(
    patients: Mapping[str, str], config: DatasetConfig, train_sizes: Sequence[int], splits: Sequence[int]
) -> tuple[Problem, ...]:
    """Where all splits must validate on much the same scans: too few are left that no split tests.

    Any two splits that must share more than half of their validation scans are worth a word; sharing some is
    no fault, since no split tests them. Independent splits share none, and in a file the user has chosen.

    Args:
        patients: Scan -> patient, of the whole data set.
        config: As for `target_split`; one without problems.
        train_sizes: All training sizes of a sweep.
        splits: Numbers of its splits.
    """
    is_drawn_anew = config.split_file or config.splits == "independent" or config.validation == "folds"
    if len(splits) < 2 or is_drawn_anew:
        return ()
    apart = never_tested(patients, config)
    n_apart = sum(patient in apart for patient in patients.values())
    n_val = min(len(target_split(patients, config, max(train_sizes), number).val) for number in splits)
    n_shared = 2 * n_val - n_apart
    if 2 * n_shared <= n_val:
        return ()
    what = (
        f"validation takes {n_val} of the {n_apart} scans that no split tests: "
        f"any two of the {len(splits)} splits share at least {n_shared} of their {n_val} validation scans"
    )
    means = "what validation chooses depends on few scans, and more splits do not change that"
    fix = f"lower n_test or {'n_val' if config.validation == 'held_out' else 'the largest train_size'}"
    return (Problem(config.root or config.layout, f"{what}; {means}", fix),)


_SOURCE = {"validation": "held_out"}
"""A source task holds its validation scans out, whatever the settings say of a target."""


def _draw(patients: Mapping[str, str], config: DatasetConfig, split: int) -> Draw:
    if config.split_file:
        return given_split(patients, config, split)
    return (independent if config.splits == "independent" else resampled)(patients, config, split)


def _source_draw(patients: Mapping[str, str], config: DatasetConfig) -> Draw:
    if config.split_file:
        return given_split(patients, config.model_copy(update=_SOURCE), 0)
    return of_source(patients, config.n_val)


def _sized(
    drawn: Draw,
    config: DatasetConfig,
    train_size: int,
    patients: Mapping[str, str],
    fold: int | None = None,
) -> Split:
    if config.validation == "held_out":
        return Split(drawn.train[:train_size], drawn.val, drawn.test)
    if config.validation == "folds":
        val = folds_of(drawn.train[:train_size], patients, config.n_folds)[fold or 0]
        train = tuple(name for name in drawn.train[:train_size] if name not in val)
        return Split(train, tuple(val), drawn.test)
    n_val = n_validation(train_size, config.validation_share)
    return Split(drawn.train[: train_size - n_val], drawn.val[:n_val], drawn.test)


def _empty_roles(config: DatasetConfig, is_target: bool) -> list[str]:
    """Settings that leave nobody to choose the epoch by, or nobody to report on."""
    needs_val = config.validation == "held_out" or not is_target
    empty = {"n_val": needs_val and config.n_val == 0, "n_test": is_target and config.n_test == 0}
    return [name for name, is_empty in empty.items() if is_empty]


def _too_few(
    patients: Mapping[str, str], config: DatasetConfig, train_sizes: Sequence[int], where: str
) -> tuple[Problem, ...]:
    """Fewer scans than all roles together need, whoever the patients are."""
    n_test = config.n_test if train_sizes else 0
    n_val = config.n_val if config.validation == "held_out" or not train_sizes else 0
    n_train = max(train_sizes, default=1)
    n_parts = config.n_splits if config.splits == "independent" and train_sizes else 1
    n_needed = n_test + n_parts * (n_val + n_train)
    if len(patients) >= n_needed:
        return ()
    each = f"validation {n_val} + largest training size {n_train}"
    if n_parts > 1:
        needs = f"test {n_test} + {n_parts} independent splits of {each} = {n_needed}"
        fix = "lower n_test, n_val, n_splits or train_size, or leave out splits: independent"
    else:
        needs, fix = f"test {n_test} + {each} = {n_needed}", "lower n_test, n_val or train_size"
    return (Problem(where, f"{len(patients)} subjects are fewer than {needs}", fix),)


def _no_such_splits(config: DatasetConfig, numbers: Sequence[int], where: str) -> tuple[Problem, ...]:
    if config.splits != "independent":
        return ()
    what = f"splits: independent makes the splits 0 to {config.n_splits - 1}"
    fix = "raise n_splits; it changes the other splits too"
    return tuple(
        Problem(where, f"split {number}: {what}", fix) for number in numbers if number >= config.n_splits
    )


def _short_splits(
    patients: Mapping[str, str],
    config: DatasetConfig,
    train_sizes: Sequence[int],
    numbers: Sequence[int],
    where: str,
) -> tuple[Problem, ...]:
    """Roles that lack scans although the data set has enough: patients stay whole."""
    wanted = _counts(config, train_sizes)
    whole = f"patients stay whole, and {len(patients)} scans are of {len(set(patients.values()))} patients"
    problems = []
    for number in numbers:
        if train_sizes:
            drawn = _draw(patients, config, number)
            split = _sized(drawn, config, max(train_sizes), patients)
            problems += _empty_folds(drawn, config, train_sizes, patients, f"{where}, split {number}")
        else:
            drawn = _source_draw(patients, config)
            split = Split(drawn.train, drawn.val, ())
        for role, n in wanted.items():
            if (n_left := len(getattr(split, role))) < n:
                what = f"{n_left} scans are left for {role} where {n} are needed"
                fix = "lower n_test, n_val or train_size"
                problems.append(Problem(where, f"split {number}: {what}: {whole}", fix))
    return tuple(problems)


def _empty_folds(
    drawn: Draw, config: DatasetConfig, train_sizes: Sequence[int], patients: Mapping[str, str], where: str
) -> list[Problem]:
    """Training sizes whose scans are of fewer patients than there are folds."""
    if config.validation != "folds":
        return []
    n_patients = {size: len({patients[name] for name in drawn.train[:size]}) for size in train_sizes}
    return [
        Problem(
            where, f"{size} scans are of {n} patients, too few for {config.n_folds} folds", "lower n_folds"
        )
        for size, n in n_patients.items()
        if len(drawn.train) >= size and n < config.n_folds
    ]


def _counts(config: DatasetConfig, train_sizes: Sequence[int]) -> dict[str, int]:
    """How many scans each role needs at the largest size; a file decides by itself whom it holds out."""
    is_drawn = not config.split_file
    if not train_sizes:
        return {"train": 1, "val": config.n_val * is_drawn, "test": 0}
    largest = max(train_sizes)
    n_val = n_validation(largest, config.validation_share) if config.validation == "train" else 0
    if config.validation == "folds":
        n_val = 1  # patients stay whole: a fold may have more scans than another
        return {"train": largest - (largest + config.n_folds - 1) // config.n_folds, "val": n_val,
                "test": config.n_test * is_drawn}  # fmt: skip
    n_held_out = config.n_val * is_drawn if config.validation == "held_out" else 0
    return {"train": largest - n_val, "val": n_val + n_held_out, "test": config.n_test * is_drawn}
