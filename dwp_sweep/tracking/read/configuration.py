"""Target runs grouped into configurations, what each measured, and which of them is best.

A configuration is all settings behind a result but split, seed and place. A target's own run names only what
the target stage reads; latent dimension or weight decay stand with the priors and source networks that it
came from, so the settings are gathered along the lineage. `rank` is the only rule of the best configuration:
answers, reports and the index of results sort by it. `select_rows` limits a question to some settings; a
validation metric alone may compare.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dwp_sweep.config.variants import VARIANT
from dwp_sweep.errors import InputError, Problem, did_you_mean
from dwp_sweep.tables import Stat, mean, stat
from dwp_sweep.tracking.mlflow_format import LABELS, decode, encode
from dwp_sweep.tracking.read.rows import NodeRow

REPEATS = ("split", "seed", "fold")
"""What repeats a configuration instead of changing it."""
_OF_ONE_NODE = {"seed", "split", "fold", "group", "method", "train_size"}
_PLACES = {
    "root", "split_file", "device", "cache_dir", "checkpointing", "checkpoint_every", "path", "network",
    "bank", "priors", "allow_shared_scans",
}  # fmt: skip
"""Last parts of names that never change a result: the components' unkeyed fields (a test compares)."""
_OFF = {"source.augment.preset": "none", "target.augment.preset": "none"}
"""What runs have that do not say it: those of before, and all without augmentation."""
_LOW = ("loss", "nll")
_REPORTED = ("test_dice", "test_iou")
"""Test metrics that stand beside what decided, and never decide."""


@dataclass(frozen=True)
class Configuration:
    """All settings behind a result.

    Attributes:
        values: By dotted name, as in a search space; ``variant`` too, which decides nothing.
        identity: Equal for equal settings; 12 hex digits.
    """

    values: Mapping[str, Any]
    identity: str


Pair = tuple[NodeRow, Configuration]
"""A target run and the configuration that it belongs to."""


@dataclass(frozen=True)
class Candidate:
    """One configuration of the sweep.

    Attributes:
        values: Its settings by dotted name.
        metrics: Name -> mean, std, n over splits and seeds.
        run_ids: One a split and seed.
    """

    values: dict[str, Any]
    metrics: dict[str, Stat]
    run_ids: tuple[str, ...]


def configurations(rows: Iterable[NodeRow]) -> dict[int, Configuration]:
    """The configuration of each row, by its index."""
    rows = list(rows)
    by_key = {row.key: row for row in rows if row.key}
    return {index: configuration_of(row, by_key) for index, row in enumerate(rows)}


def configuration_of(row: NodeRow, by_key: Mapping[str, NodeRow]) -> Configuration:
    """The configuration of one row.

    Args:
        row: The row.
        by_key: Rows by key: those that it came from are among them.
    """
    own = {
        name: row.labels[name] for name in ("method", VARIANT, "train_size", "group") if name in row.labels
    }
    own |= {
        name: value
        for name, value in row.params.items()
        if name not in REPEATS and name not in ("source.n_seeds", "members")
    }
    values = dict(own)
    for ancestor in _ancestors(row, by_key):
        for name, value in _settings(ancestor):
            if values.setdefault(name, value) != value and changes_results(name):
                values.setdefault(f"{ancestor.stage}:{name}", value)
    keyed = {name: value for name, value in values.items() if changes_results(name) and name != VARIANT}
    text = json.dumps([row.stage, keyed], sort_keys=True, default=str)
    return Configuration(values, hashlib.sha256(text.encode()).hexdigest()[:12])


def changes_results(name: str) -> bool:
    """Whether a setting takes part in a node's key."""
    return name.rpartition(".")[2] not in _PLACES


def pairs_of(rows: Sequence[NodeRow]) -> list[Pair]:
    """The target runs among all runs of a sweep, in their order."""
    known = configurations(rows)
    return [(row, known[index]) for index, row in enumerate(rows) if row.stage == "target"]


def groups_of(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """Runs by configuration, in order of split and seed; of equal ones the newest counts."""
    groups: dict[str, dict[tuple[Any, ...], Pair]] = {}
    for row, configuration in pairs:  # oldest first: a newer run of the same split and seed takes the place
        repeat = tuple(row.labels.get(name) for name in REPEATS)
        # Without any label nothing says that two runs repeat each other: both count.
        unit = repeat if any(part is not None for part in repeat) else (None, None, row.run_id)
        groups.setdefault(configuration.identity, {})[unit] = (row, configuration)
    return [
        [units[unit] for unit in sorted(units, key=lambda unit: [natural_order(part) for part in unit])]
        for units in groups.values()
    ]


def rank(values: Sequence[float], metric: str) -> tuple[int, float]:
    """Sort key of a configuration, the best one smallest: most runs first, then the mean.

    Configurations that are equally good need a second key, such as their identity, so that every answer
    names the same one.

    Args:
        values: A validation metric of its runs; those that are not finite count as not there.
        metric: Its name, which says which way is better.
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 0, math.inf
    sign = 1.0 if lower_is_better(metric) else -1.0
    return -len(finite), sign * mean(finite)


def lower_is_better(metric: str) -> bool:
    """Whether a metric is minimised."""
    return metric.endswith(_LOW)


def ranked(groups: Sequence[list[Pair]], metric: str) -> list[list[Pair]]:
    """Configurations, the best by `rank` first; of equal ones in order of their identity."""

    def place(group: list[Pair]) -> tuple[int, float, str]:
        values = [value for row, _ in group if (value := row.metric(metric)) is not None]
        return *rank(values, metric), group[0][1].identity

    return sorted(groups, key=place)


def candidate_of(group: Sequence[Pair]) -> Candidate:
    """A configuration's settings and the mean and spread of all that its runs measured."""
    names = sorted({name for row, _ in group for name in row.metrics})
    names += [short for name in names if (short := name.removeprefix("best_")) != name and short not in names]
    summaries = {name: stat([v for row, _ in group if (v := row.metric(name)) is not None]) for name in names}
    return Candidate(
        values=dict(group[-1][1].values),
        metrics={name: summary for name, summary in summaries.items() if summary is not None},
        run_ids=tuple(row.run_id for row, _ in group),
    )


def varied_of(settings: Sequence[dict[str, Any]], asked: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of the settings that tell configurations apart: method and size, what is asked about, the others.

    Args:
        settings: Of each configuration.
        asked: Dotted keys that the sweep asks about: they are named with one value as well, since those with
            others may not have ended.
    """
    names = sorted({name for values in settings for name in values if changes_results(name)})
    # A setting that some methods do not have at all follows from the method; it tells nothing by itself.
    texts = {
        name: {
            encode(values.get(name, _OFF.get(name))) for values in settings if name in values or name in _OFF
        }
        for name in names
    }
    first = [name for name in ("method", "train_size") if name in texts]  # every answer has them anyway
    asked = [key for key in asked if key not in first]
    own = [name for key in asked for name in names if name == key or name.startswith(f"{key}.")]
    # Of a preset's many numbers only those that differ are told, and its name.
    own = [name for name in own if name in _OFF or ".augment." not in name]
    order = dict.fromkeys([*first, *own, *names])
    return tuple(name for name in order if name in own or len(texts[name]) > 1)


def shown_metrics(decided: str, measured: Iterable[Mapping[str, Stat]]) -> list[str]:
    """The metric that decided, then the test metrics that any configuration has."""
    known = {name for metrics in measured for name in metrics}
    return [decided, *(name for name in _REPORTED if name in known)]


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
    names = {name.removeprefix("best_") for name in existing}
    known = sorted(name for name in names if name.startswith("val_"))
    there = f"validation metrics there: {', '.join(known)}"
    fix = there if known else "choose a validation metric such as val_dice"
    if not plain.startswith("val_"):
        raise InputError(Problem(f"metric {metric!r}", "is no validation metric", fix))
    if existing and metric not in existing and f"best_{metric}" not in existing:
        raise InputError(
            Problem(f"metric {metric!r}", "no finished run has it", did_you_mean(metric, known, fix))
        )


def select_rows(pairs: Sequence[Pair], where: Mapping[str, Any], sweep: str) -> list[Pair]:
    """Target rows whose settings or labels have the wanted values.

    Raises:
        InputError: A setting that no run has, or a value that none has: lists what there is.
    """
    problems = [_problem(pairs, name, wanted, sweep) for name, wanted in where.items() if pairs]
    if any(problems):
        raise InputError(problem for problem in problems if problem)
    chosen = [
        pair
        for pair in pairs
        if all(same_value(setting(pair, name), wanted) for name, wanted in where.items())
    ]
    if where and not chosen:
        text = ", ".join(f"{name}={value}" for name, value in where.items())
        raise InputError(Problem(sweep, f"no target run has {text} together", "drop one of the conditions"))
    return chosen


def require_settings(pairs: Sequence[Pair], names: Sequence[str], sweep: str) -> None:
    """Names must be settings or labels of some target run.

    Raises:
        InputError: Names those that are not, with the nearest that is.
    """
    if problems := [problem for name in names if (problem := _unknown(pairs, name, sweep))]:
        raise InputError(problems)


def setting(pair: Pair, name: str) -> Any:
    """A setting or label of a target run; None where it has none."""
    row, configuration = pair
    if name in LABELS and name in row.labels:
        return row.labels[name]
    return configuration.values.get(name, _OFF.get(name))


def same_value(value: Any, wanted: Any) -> bool:
    """Whether a setting has the wanted value, in whatever form either is given."""
    # A command line gives text, a program gives numbers: 5, "5" and 5.0 ask for the same.
    wanted = decode(wanted) if isinstance(wanted, str) else wanted
    value = decode(value) if isinstance(value, str) else value
    if isinstance(wanted, tuple):
        wanted = list(wanted)
    return bool(value == wanted) and isinstance(value, bool) == isinstance(wanted, bool)


def natural_order(value: Any) -> tuple[int, float, str]:
    """Sort key of settings: numbers by value, then everything else by its text."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        return (0, value, "") if is_number else (1, 0.0, str(value))
    except OverflowError:
        return (0, math.inf, "")


def _ancestors(row: NodeRow, by_key: Mapping[str, NodeRow]) -> Iterator[NodeRow]:
    seen: set[str] = set()
    waiting = [row]
    while waiting:
        for pairs in waiting.pop(0).inputs.values():
            for _, key in pairs:
                if key not in seen and key in by_key:
                    seen.add(key)
                    waiting.append(by_key[key])
                    yield by_key[key]


def _settings(row: NodeRow) -> Iterator[tuple[str, Any]]:
    for name, value in row.params.items():
        if name in _OF_ONE_NODE or name == "source.n_seeds":
            continue
        yield (name if "." in name else f"{row.stage}.{name}"), value
    # A source network that several sweeps share cannot know how many of its kind went into this bank.
    if "sources" in row.inputs:
        yield "source.n_seeds", len(row.inputs["sources"])


def _problem(pairs: Sequence[Pair], name: str, wanted: Any, sweep: str) -> Problem | None:
    if problem := _unknown(pairs, name, sweep):
        return problem
    values = [setting(pair, name) for pair in pairs]
    if not any(same_value(value, wanted) for value in values):
        texts = {str(value) for value in values if value is not None}
        there = ", ".join(sorted(texts, key=lambda text: natural_order(decode(text))))
        return Problem(sweep, f"no target run has {name}={wanted}", f"values there: {there}")
    return None


def _unknown(pairs: Sequence[Pair], name: str, sweep: str) -> Problem | None:
    names = sorted({n for row, configuration in pairs for n in (*row.labels, *configuration.values)})
    if name in names:
        return None
    fix = did_you_mean(name, names, "settings there: " + ", ".join(names))
    return Problem(sweep, f"no run has a setting {name!r}", fix)
