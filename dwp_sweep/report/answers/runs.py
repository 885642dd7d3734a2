"""The target runs of a sweep as the reports see them, and which of them stand for a method at a size.

Read from a table of nodes (`tracking.results`). Where a grid or a search tried several configurations of one
method at one training size, validation picks the one that stands for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from dwp_sweep.config.ensembles import FOLD
from dwp_sweep.config.variants import SEPARATOR
from dwp_sweep.errors import InputError, Problem, did_you_mean
from dwp_sweep.tracking.read.configuration import rank

Repeat = tuple[int, int]
"""(split, seed)."""
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
        splits: How its split was drawn: ``resampled``, ``independent``, ``file`` for a user's own; empty
            where that is not known, as of runs made by hand and by versions that began all splits from one
            start.
        inputs: Role -> keys of the nodes that it came from.
        settings: What the sweep asks about of it, as text; empty where that is not known.
        trial: Its number in its search; None where it has none.
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
    splits: str = ""
    inputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    settings: str = ""
    trial: int | None = None

    def is_of(self, name: str) -> bool:
        """Whether it belongs to a variant, or, where it has no variants, to a method."""
        return name in (self.variants or (self.method,))


def targets_of(results: pd.DataFrame) -> list[Target]:
    """The target nodes among the rows of `tracking.results`, in their order; of folds their ensembles."""
    named = results["method"].notna() & results["train_size"].notna()
    of_folds = results["over"].astype("string").str.contains(FOLD).fillna(False).astype(bool)
    # A network that validated on a fold is a part of the ensemble that stands for all of them.
    is_whole = (results["stage"] == "target") & results[FOLD].isna()
    rows = results[named & (is_whole | ((results["stage"] == "ensemble") & of_folds))]
    return [_target(row) for row in rows.to_dict("records")]


def columns_of(targets: Iterable[Target]) -> dict[str, str]:
    """What is compared -> its label: the variants, and the methods of runs that belong to none."""
    from dwp_sweep.methods import METHODS

    names = {name: name for target in targets for name in target.variants}
    plain = {target.method for target in targets if not target.variants}
    labels = names | {name: METHODS[name].label if name in METHODS else name for name in plain}
    # A variant may be called like a method: two columns never have one label.
    labels |= {name: f"{labels[name]} ({name})" for name in plain if labels[name] in names}
    # The paper's columns stand in the order of their labels: UNet-DWP, -PR, -PRf, -RI.
    return dict(sorted(labels.items(), key=lambda item: (item[1].casefold(), item[1])))


def known_column(reference: str, columns: Mapping[str, str]) -> str:
    """The column that a name, a label or a label's own part means.

    Args:
        reference: As a user gave it after ``--versus``.
        columns: Method or variant -> label.

    Raises:
        InputError: There is none; names those that there are.
    """
    if reference in columns:
        return reference
    for name, label in columns.items():
        # A method answers to its name, to its label and to the label's own part: RI for UNet-RI.
        if reference.casefold() in {text.casefold() for text in (name, label, label.removeprefix("UNet-"))}:
            return name
    advice = did_you_mean(reference, [*columns.values(), *columns])
    fix = f"{advice} there are {', '.join(columns.values())}".strip()
    raise InputError(Problem(f"--versus {reference}", "no such method or variant in this sweep", fix))


def runs_of(targets: Iterable[Target], name: str, size: int) -> list[Target]:
    """All runs of a method or variant at one training size, in their order."""
    return [target for target in targets if target.train_size == size and target.is_of(name)]


def chosen_runs(targets: Sequence[Target]) -> tuple[Mapping[Repeat, Target], int]:
    """The runs that stand for a method at a size, by (split, seed), and how many configurations there were.

    Args:
        targets: Runs of one method at one size, oldest first: a newer one takes an older one's place.
    """
    groups: dict[str, dict[Repeat, Target]] = {}
    for target in targets:
        groups.setdefault(target.configuration, {})[target.repeat] = target
    if not groups:
        return {}, 0
    return groups[min(groups, key=lambda name: _place(name, groups[name]))], len(groups)


def validation_counts(targets: Iterable[Target]) -> str:
    """``8 or 9``: validation subjects of the runs; empty where none says it."""
    counts = {int(target.metrics["n_val"]) for target in targets if "n_val" in target.metrics}
    return " or ".join(map(str, sorted(counts)))


def repeat_text(repeat: Repeat) -> str:
    """``split 1``, with the seed where it is not the usual one."""
    return f"split {repeat[0]}" + (f", seed {repeat[1]}" if repeat[1] else "")


def _target(row: Mapping[Any, Any]) -> Target:
    variant = _text(row.get("variant"))
    return Target(
        method=str(row["method"]),
        train_size=int(row["train_size"]),
        repeat=(_number(row["split"]), _number(row["seed"])),
        configuration=str(row["configuration"]),
        state=str(row["state"]),
        error=str(row["error"] or ""),
        metrics={
            str(name): float(value)
            for name, value in row.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and not pd.isna(value)
        },
        variants=tuple(variant.split(SEPARATOR)) if variant else (),
        key=_text(row.get("key")),
        run_id=_text(row.get("run_id")),
        splits=_splits(row),
        inputs=inputs if isinstance(inputs := row.get("inputs"), Mapping) else {},
        settings=_text(row.get("settings")),
        trial=None if pd.isna(row.get("trial")) else int(row["trial"]),
    )


def _splits(row: Mapping[Any, Any]) -> str:
    splits = _text(row.get("params.data.target.splits"))
    return "file" if splits and _text(row.get("params.data.target.split_file")) else splits


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> int:
    return 0 if pd.isna(value) else int(value)


def _place(configuration: str, group: Mapping[Repeat, Target]) -> tuple[int, float, int, str]:
    """As `best_config` ranks them; where no run has the validation score, most finished runs first."""
    done = [target.metrics for target in group.values() if target.state == "done"]
    values = [metrics.get(f"best_{_CHOOSE_BY}", metrics.get(_CHOOSE_BY, math.nan)) for metrics in done]
    return *rank(values, _CHOOSE_BY), -len(done), configuration
