"""Effects in label equivalents: how many labelled scans more the baseline would need for the same test Dice.

"Fine-tuning at m = 5 is worth 3 scans [1, 6]": the learning curve of the baseline (`learning_curve`) reaches
at m = 8 what it has at m = 5 plus the difference of fine-tuning. Differences are between networks of the same
split, so that what makes a split hard cancels, and a method that is the baseline is worth 0 scans. Decides
nothing: test scores only.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.report.answers.learning_curve import N_SIZES_AT_LEAST, LearningCurve, fit_curve, fit_curves
from dwp_sweep.report.answers.runs import Target, chosen_runs, columns_of, known_column, runs_of, targets_of
from dwp_sweep.tables import Table, left, plain_text, right, table_row

METRIC = "test_dice"
N_DRAWS = 2_000
LEVEL = 0.95
_FURTHEST = 10
"""So many times the largest training size: the curve says nothing about more scans than these."""
_COLUMNS = (*left("", ""), *right("Dice difference", "worth, scans", "over splits (bootstrap)"))
_Scores = Mapping[str, Mapping[int, Mapping[int, float]]]
"""Method or variant -> training size -> split -> test Dice, the mean over seeds."""


@dataclass(frozen=True)
class ScansRow:
    """One method or variant at one training size.

    Attributes:
        name: Its label.
        train_size: m.
        difference: Mean over splits of its Dice minus the baseline's.
        scans: How many scans more the baseline needs for that; negative where it needs fewer; infinite where
            no number would do.
        low: Lower end of the bootstrap interval over splits; None for one split.
        high: Its upper end; may be infinite.
    """

    name: str
    train_size: int
    difference: float
    scans: float
    low: float | None = None
    high: float | None = None

    def text(self, baseline: str, furthest: int) -> str:
        """``UNet-PR at m = 5 is worth 3 scans [1, 6]``, in words for a reader."""
        interval = "" if self.low is None else f" {_interval(self, furthest)}"
        unit = "scan" if _number(self.scans, furthest) in ("1", "-1") else "scans"
        return (
            f"{self.name} at m = {self.train_size} is worth {_number(self.scans, furthest)} {unit}{interval} "
            f"of {baseline}"
        )


@dataclass(frozen=True)
class Forecast:
    """What a method's own curve says of a size that nobody has tried.

    Attributes:
        name: Its label.
        train_size: Twice the largest size of the sweep.
        dice: By its curve.
        low: Lower end of the bootstrap interval over splits; None for one split.
        high: Its upper end.
    """

    name: str
    train_size: int
    dice: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ScansTable:
    """All effects of a sweep in scans of one baseline.

    Attributes:
        baseline: Its label.
        curve: Of the baseline's mean over splits; None where there is none.
        furthest: Scans beyond which the curve says nothing.
        rows: By training size, then by label.
        forecasts: Of every method with enough sizes, the baseline first.
        notes: How it is made, or why there is nothing.
    """

    baseline: str
    curve: LearningCurve | None
    furthest: int
    rows: tuple[ScansRow, ...]
    forecasts: tuple[Forecast, ...]
    notes: tuple[str, ...]

    @property
    def sentences(self) -> list[str]:
        """A sentence a row."""
        return [row.text(self.baseline, self.furthest) for row in self.rows]

    def tables(self) -> tuple[Table, ...]:
        """Effects in scans, then forecasts; the notes belong to the last."""
        rows = [
            table_row([
                str(row.train_size), row.name, f"{row.difference + 0.0:+.3f}",
                _number(row.scans, self.furthest), _interval(row, self.furthest),
            ])
            for row in self.rows
        ]  # fmt: skip
        title = f"Worth in labelled scans of {self.baseline}"
        columns = (*right("m"), *left(""), *_COLUMNS[2:])
        if not self.forecasts:
            return (Table(columns, tuple(rows), title, notes=self.notes),)
        size = self.forecasts[0].train_size
        ahead = [
            table_row([
                one.name, f"{one.dice:.3f}",
                "-" if one.low is None or one.high is None else f"[{one.low:.3f}, {one.high:.3f}]",
            ])
            for one in self.forecasts
        ]  # fmt: skip
        columns_ahead = (*left(""), *right(f"test Dice at m = {size}", "over splits (bootstrap)"))
        return (
            Table(columns, tuple(rows), title),
            Table(columns_ahead, tuple(ahead), f"By its own curve, m = {size} would give", notes=self.notes),
        )

    def text(self) -> str:
        """Plain text."""
        return plain_text(*self.tables())

    def values(self) -> dict[str, Any]:
        """Plain values for JSON; null where no number of scans would do."""
        values = asdict(self)
        for row in values["rows"]:
            for name in ("scans", "low", "high"):
                if row[name] is not None and math.isinf(row[name]):
                    row[name] = None
        return values


def scans_table(results: pd.DataFrame, baseline: str) -> ScansTable:
    """Tell every difference to a baseline in scans.

    Args:
        results: From `tracking.results`.
        baseline: Name or label of the method or variant whose curve it is.

    Raises:
        InputError: No such method or variant, or fewer than three training sizes of it, which make no curve.
    """
    targets = targets_of(results)
    columns = columns_of(targets)
    reference = known_column(baseline, columns)
    scores = {name: _scores(targets, name) for name in columns}
    sizes = sorted(scores[reference])
    label = columns[reference]
    if len(sizes) < N_SIZES_AT_LEAST:
        there = ", ".join(map(str, sizes)) or "none"
        what = f"{label} has {len(sizes)} finished training size(s) ({there}), and a learning curve needs"
        fix = f"give grid.train_size {N_SIZES_AT_LEAST} values or more, such as [5, 10, 20]"
        raise InputError(Problem("effects in scans", f"{what} {N_SIZES_AT_LEAST}", fix))
    draws = _draws(sorted({split for by_split in scores[reference].values() for split in by_split}))
    curve, curves = _curve(scores[reference]), _drawn_curves(scores[reference], draws)
    furthest = _FURTHEST * sizes[-1]
    rows = [
        row
        for size in sizes
        for name in columns
        if name != reference
        and (row := _row(columns[name], size, scores[name], scores[reference], curve, curves, draws))
    ]
    order = [reference, *(name for name in columns if name != reference)]
    ahead = [_forecast(columns[name], 2 * sizes[-1], scores[name], draws) for name in order]
    forecasts = tuple(one for one in ahead if one is not None)
    return ScansTable(label, curve, furthest, tuple(rows), forecasts, _notes(label, curve, sizes, draws))


def _scores(targets: Sequence[Target], name: str) -> dict[int, dict[int, float]]:
    by_size: dict[int, dict[int, float]] = {}
    for size in sorted({target.train_size for target in targets}):
        values: dict[int, list[float]] = {}
        for (split, _), target in chosen_runs(runs_of(targets, name, size))[0].items():
            if target.state == "done" and METRIC in target.metrics:
                values.setdefault(split, []).append(target.metrics[METRIC])
        if values:
            by_size[size] = {split: statistics.fmean(values[split]) for split in sorted(values)}
    return by_size


def _draws(splits: Sequence[int]) -> list[tuple[int, ...]]:
    """Splits drawn with replacement; none where there is one split."""
    if len(splits) < 2:
        return []
    places = np.random.default_rng(0).integers(len(splits), size=(N_DRAWS, len(splits)))
    return [tuple(sorted(splits[place] for place in draw)) for draw in places]


def _curve(by_size: Mapping[int, Mapping[int, float]]) -> LearningCurve | None:
    """The curve of the means over splits; None where too few sizes have any."""
    if len(by_size) < N_SIZES_AT_LEAST:
        return None
    return fit_curve(list(by_size), [statistics.fmean(by_split.values()) for by_split in by_size.values()])


def _drawn_curves(
    by_size: Mapping[int, Mapping[int, float]], draws: Sequence[tuple[int, ...]]
) -> list[LearningCurve | None]:
    """The curve of each drawn set of splits; None where a size has none of them."""
    if len(by_size) < N_SIZES_AT_LEAST or not draws:
        return [None for _ in draws]
    different = list(dict.fromkeys(draws))  # of few splits the same ones are drawn again and again
    scores = np.array(
        [
            [_mean(by_split[split] for split in draw if split in by_split) for by_split in by_size.values()]
            for draw in different
        ]
    )
    is_whole = ~np.isnan(scores).any(axis=1)
    drawn = [draw for draw, whole in zip(different, is_whole, strict=True) if whole]
    curves = dict(zip(drawn, fit_curves(list(by_size), scores[is_whole]), strict=True))
    return [curves.get(draw) for draw in draws]


def _mean(values: Iterable[float]) -> float:
    """NaN of none."""
    given = list(values)
    return sum(given) / len(given) if given else math.nan


def _row(
    label: str,
    size: int,
    mine: Mapping[int, Mapping[int, float]],
    base: Mapping[int, Mapping[int, float]],
    curve: LearningCurve | None,
    curves: Sequence[LearningCurve | None],
    draws: Sequence[tuple[int, ...]],
) -> ScansRow | None:
    both = {
        split: value - base[size][split] for split, value in mine.get(size, {}).items() if split in base[size]
    }
    if not both or curve is None:
        return None
    difference = statistics.fmean(both.values())
    drawn = [
        _worth(one, size, statistics.fmean(values))
        for one, draw in zip(curves, draws, strict=True)
        if one is not None and (values := [both[split] for split in draw if split in both])
    ]
    return ScansRow(label, size, difference, _worth(curve, size, difference), *_ends(drawn))


def _worth(curve: LearningCurve, size: int, difference: float) -> float:
    """Scans more than `size` that the curve needs for a difference; 0 for none."""
    if abs(difference) < 1e-12:
        return 0.0
    if not curve.rises:
        return math.inf if difference > 0 else -float(size)
    return curve.scans_for(curve.at(size) + difference) - size


def _forecast(
    label: str, size: int, by_size: Mapping[int, Mapping[int, float]], draws: Sequence[tuple[int, ...]]
) -> Forecast | None:
    if (curve := _curve(by_size)) is None:
        return None
    drawn = [one.at(size) for one in _drawn_curves(by_size, draws) if one is not None]
    return Forecast(label, size, curve.at(size), *_ends(drawn))


def _ends(drawn: Sequence[float]) -> tuple[float | None, float | None]:
    if len(drawn) < 2:
        return None, None
    # Infinite values cannot be interpolated.
    low, high = np.quantile(drawn, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], method="inverted_cdf")
    return float(low), float(high)


def _notes(
    label: str, curve: LearningCurve | None, sizes: Sequence[int], draws: Sequence[tuple[int, ...]]
) -> tuple[str, ...]:
    notes = []
    if curve is not None and curve.rises:
        notes.append(
            f"the test Dice of {label} over m is taken as {curve.plateau:.3f} - {curve.drop:.3f} * m^-"
            f"{curve.exponent:.2f}, fitted to its means at m = {', '.join(map(str, sizes))}; no number of "
            "scans gives a score beyond it"
        )
    else:
        notes.append(f"{label} does not improve with m, so that no difference is worth a number of scans")
    if draws:
        n = len(draws[0])
        few = "; with so few they are rough" if n < 5 else ""
        notes.append(
            f"intervals: percentiles of {N_DRAWS:,} draws of the {n} splits, curve and difference{few}"
        )
    else:
        notes.append("one split has no interval")
    return tuple(notes)


def _number(value: float, furthest: int) -> str:
    if value > furthest:
        return f"> {furthest}"
    shown = round(value) if abs(value) >= 1 else round(value, 1)
    return f"{shown + 0:g}"


def _interval(row: ScansRow, furthest: int) -> str:
    if row.low is None or row.high is None:
        return "-"
    return f"[{_number(row.low, furthest)}, {_number(row.high, furthest)}]"
