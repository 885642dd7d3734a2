"""Which runs a question is about, and by which metric they may be compared.

Problems name what exists, with the nearest match.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dwp_sweep.errors import InputError, Problem, did_you_mean
from dwp_sweep.tracking.mlflow_format import LABELS, decode
from dwp_sweep.tracking.read.configuration import Configuration
from dwp_sweep.tracking.read.rows import NodeRow


def check_metric(metric: str, existing: Sequence[str]) -> None:
    """Only validation metrics select; with ``existing`` names given, it must be one of them.

    Raises:
        InputError: Otherwise.
    """
    plain = metric.removeprefix("best_")
    if plain.startswith("test"):
        raise InputError(
            Problem(
                f"metric {metric!r}",
                "test metrics are only reported, never used to choose: the choice would fit the test set",
                "choose by a validation metric such as val_dice; the test metrics stand beside it",
            )
        )
    known = sorted(
        {name.removeprefix("best_") for name in existing if name.removeprefix("best_").startswith("val_")}
    )
    fix = (
        f"validation metrics there: {', '.join(known)}"
        if known
        else "choose a validation metric such as val_dice"
    )
    if not plain.startswith("val_"):
        raise InputError(Problem(f"metric {metric!r}", "is no validation metric", fix))
    if existing and metric not in existing and f"best_{metric}" not in existing:
        raise InputError(
            Problem(f"metric {metric!r}", "no finished run has it", did_you_mean(metric, known, fix))
        )


def select_rows(
    pairs: Sequence[tuple[NodeRow, Configuration]], where: Mapping[str, Any], sweep: str
) -> list[tuple[NodeRow, Configuration]]:
    """Target rows whose settings or labels have the wanted values.

    Raises:
        InputError: A setting that no run has, or a value that none has: lists what there is.
    """
    problems = [
        problem for name, wanted in where.items() if (problem := _problem(pairs, name, wanted, sweep))
    ]
    if problems:
        raise InputError(problems)
    chosen = [
        pair
        for pair in pairs
        if all(same_value(setting(pair, name), wanted) for name, wanted in where.items())
    ]
    if where and not chosen:
        text = ", ".join(f"{name}={value}" for name, value in where.items())
        raise InputError(Problem(sweep, f"no target run has {text} together", "drop one of the conditions"))
    return chosen


def _problem(
    pairs: Sequence[tuple[NodeRow, Configuration]], name: str, wanted: Any, sweep: str
) -> Problem | None:
    if pairs and (problem := _unknown(pairs, name, sweep)):
        return problem
    values = [setting(pair, name) for pair in pairs]
    if pairs and not any(same_value(value, wanted) for value in values):
        there = ", ".join(sorted({str(value) for value in values if value is not None}, key=_natural))
        return Problem(sweep, f"no target run has {name}={wanted}", f"values there: {there}")
    return None


def _unknown(pairs: Sequence[tuple[NodeRow, Configuration]], name: str, sweep: str) -> Problem | None:
    names = sorted({n for row, configuration in pairs for n in (*row.labels, *configuration.values)})
    if name in names:
        return None
    fix = did_you_mean(name, names, "settings there: " + ", ".join(names))
    return Problem(sweep, f"no run has a setting {name!r}", fix)


def require_settings(
    pairs: Sequence[tuple[NodeRow, Configuration]], names: Sequence[str], sweep: str
) -> None:
    """Names must be settings or labels of some target run.

    Raises:
        InputError: Names those that are not, with the nearest that is.
    """
    problems = [problem for name in names if (problem := _unknown(pairs, name, sweep))]
    if problems:
        raise InputError(problems)


def setting(pair: tuple[NodeRow, Configuration], name: str) -> Any:
    """A setting or label of a target run; None where it has none."""
    row, configuration = pair
    return row.labels[name] if name in LABELS and name in row.labels else configuration.values.get(name)


def same_value(value: Any, wanted: Any) -> bool:
    """Whether a setting has the wanted value, in whatever form either is given."""
    # A command line gives text, a program gives numbers: 5, "5" and 5.0 ask for the same.
    wanted = decode(wanted) if isinstance(wanted, str) else wanted
    value = decode(value) if isinstance(value, str) else value
    if isinstance(wanted, tuple):
        wanted = list(wanted)
    return bool(value == wanted) and isinstance(value, bool) == isinstance(wanted, bool)


def _natural(text: str) -> tuple[int, float, str]:
    value = decode(text)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (0, float(value), text) if number else (1, 0.0, text)
