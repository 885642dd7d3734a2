"""One cell of the paper's table: the runs of one method (or variant) at one training size, summed up.

Used by `table` and `paired`. Decides by validation which configuration stands for the method, and names
what is missing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dwp_sweep.tracking.read.configuration import Stat, rank, stat

Repeat = tuple[int, int]
_CHOOSE_BY = "val_dice"


@dataclass(frozen=True)
class Target:
    """One target node as far as the reports need it.

    Attributes:
        method: Its method.
        train_size: Target training images, m.
        repeat: (split, seed).
        configuration: Equal for runs that repeat each other.
        state: ``done``, ``failed``, ``running``, ...
        error: One line, for failed ones.
        metrics: Last values.
        variants: Names in the search space; none where it has no variants.
        key: The node's key.
        run_id: Of its MLflow run; empty where read from a store.
    """

    method: str
    train_size: int
    repeat: Repeat
    configuration: str
    state: str
    error: str
    metrics: Mapping[str, float]
    variants: tuple[str, ...] = ()
    key: str = ""
    run_id: str = ""


@dataclass(frozen=True)
class Cell:
    """Summary of one method at one size.

    Attributes:
        summary: None where no run has the metric.
        n_expected: Splits x seeds that the sweep has.
        state: What to show without a summary: failed, blocked, running, stopped, missing.
    """

    summary: Stat | None
    n_expected: int
    state: str

    def text(self) -> str:
        """``0.712 (0.021)``, with ``2/3`` behind it where runs are missing."""
        if self.summary is None:
            return self.state
        short = f" {self.summary.n}/{self.n_expected}" if self.summary.n < self.n_expected else ""
        return f"{self.summary}{short}"


def cell_of(targets: Sequence[Target], metric: str, repeats: Sequence[Repeat]) -> tuple[Cell, list[str]]:
    """A cell and the words that belong to it.

    Args:
        targets: Runs of one method at one size, oldest first.
        metric: What to summarise.
        repeats: Every (split, seed) of the sweep.
    """
    chosen, n_configurations = chosen_runs(targets)
    if not chosen:
        return Cell(None, len(repeats), "missing"), ["no run"]
    done = [target for target in chosen.values() if target.state == "done"]
    summary = stat([target.metrics[metric] for target in done if metric in target.metrics])
    words = [_words(chosen.get(repeat), repeat) for repeat in repeats]
    if n_configurations > 1:
        words.insert(0, f"the best of {n_configurations} configurations by validation Dice")
    return Cell(summary, len(repeats), _state(chosen)), [word for word in words if word]


def chosen_runs(targets: Sequence[Target]) -> tuple[Mapping[Repeat, Target], int]:
    """The runs that stand for a cell, by (split, seed), and how many configurations there were.

    Args:
        targets: Runs of one method at one size, oldest first: a newer one takes an older one's place.
    """
    groups = _newest(targets)
    if not groups:
        return {}, 0
    return groups[min(groups, key=lambda name: _place(name, groups[name]))], len(groups)


def repeat_text(repeat: Repeat) -> str:
    """``split 1``, with the seed where it is not the usual one."""
    return f"split {repeat[0]}" + (f", seed {repeat[1]}" if repeat[1] else "")


def _newest(targets: Sequence[Target]) -> dict[str, dict[Repeat, Target]]:
    groups: dict[str, dict[Repeat, Target]] = {}
    for target in targets:
        groups.setdefault(target.configuration, {})[target.repeat] = target
    return groups


def _place(configuration: str, group: Mapping[Repeat, Target]) -> tuple[int, float, int, str]:
    """As `best_config` ranks them; where no run has the validation score, most finished runs first."""
    done = [target.metrics for target in group.values() if target.state == "done"]
    values = [metrics.get(f"best_{_CHOOSE_BY}", metrics.get(_CHOOSE_BY, math.nan)) for metrics in done]
    return *rank(values, _CHOOSE_BY), -len(done), configuration


def _state(group: Mapping[Repeat, Target]) -> str:
    states = {target.state for target in group.values()}
    order = ("failed", "blocked", "running", "stopped", "pruned", "missing", "done")
    return next((state for state in order if state in states), "missing").replace("done", "no value")


def _words(target: Target | None, repeat: Repeat) -> str:
    place = repeat_text(repeat)
    if target is None:
        return f"{place}: no run"
    if target.state == "done":
        return ""
    return f"{place}: {target.state}" + (f": {target.error}" if target.error else "")
