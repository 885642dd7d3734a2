"""A first search space for two folders of scans: looked at, chosen, planned, and only then written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dwp_sweep.api.planning import DEFAULT_STORAGE, Checking, Say, plan_cost, plan_sweep, silent
from dwp_sweep.atomic_write import write_whole
from dwp_sweep.config.initial.machine import TrainingMachine, this_machine
from dwp_sweep.config.initial.space import initial_space
from dwp_sweep.config.plain_values import read_yaml
from dwp_sweep.config.sections import SpaceFile
from dwp_sweep.data.files.names import home_path
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.harness.cost.plan_cost import PlanCost
from dwp_sweep.harness.dag.plan import Plan

_AXES = ("method", "train_size", "split", "variant")


@dataclass(frozen=True)
class FirstSweep:
    """A search space that was written, and what it would do.

    Attributes:
        path: The file.
        text: Its content.
        plan: What `run_sweep` would build.
        cost: Of the plan.
    """

    path: Path
    text: str
    plan: Plan
    cost: PlanCost

    def __repr__(self) -> str:
        return f"FirstSweep({str(self.path)!r}, {len(self.plan.sweep.nodes)} nodes)"


def init(
    target: str | Path,
    source: str | Path | None = None,
    output: str | Path = "mine.yaml",
    *,
    overrides: Sequence[str] = (),
    force: bool = False,
    storage: str | Path = DEFAULT_STORAGE,
    tracking_uri: str | None = None,
    say: Say | None = None,
    checking: Checking | None = None,
) -> FirstSweep:
    """Look at the scans of two tasks and write a commented search space that runs as it is.

    Args:
        target: Folder (or table) of the few labelled scans.
        source: Folder (or table) of the other disease's scans, or a source network: its folder or
            ``runs:/...``. None: a learning curve from random starts.
        output: File to write; its name is the sweep's.
        overrides: ``key=value`` texts as for `run_sweep`; what they say is not chosen.
        force: Write over a file that exists.
        storage: As for `run_sweep`; what is read of the scans is kept there for the run.
        tracking_uri: As for `run_sweep`.
        say: Receives warnings.
        checking: Receives (what, done, total) while scans are read.

    Raises:
        InputError: All problems of the folders; a file that exists; fewer scans than a split needs; scans in
            both tasks. Nothing is written then.
    """
    path = _place(output, force)
    text = _chosen_text(str(target), None if source is None else str(source), overrides, path, checking)
    values = {"name": path.stem, **read_yaml(text, str(path)).values}
    plan = plan_sweep(values, storage, tracking_uri=tracking_uri, say=say or silent, checking=checking)
    cost = plan_cost(plan, storage, tracking_uri=tracking_uri)
    write_whole(path, text)
    return FirstSweep(path, text, plan, cost)


def _chosen_text(
    target: str, source: str | None, overrides: Sequence[str], path: Path, checking: Checking | None
) -> str:
    machine: TrainingMachine = this_machine()
    given = _given(overrides)
    found = initial_space(target, source, given, machine, str(path), checking or (lambda *_: None))
    return found.text


def _place(output: str | Path, force: bool) -> Path:
    """The file to write.

    Raises:
        InputError: It exists, is no YAML file, or its folder does not exist.
    """
    path = home_path(output)
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(Problem(str(path), "is no name of a search space", "end it in .yaml"))
    if not path.absolute().parent.is_dir():
        raise InputError(Problem(str(path), f"there is no folder {path.absolute().parent}", "make it first"))
    if path.is_dir():
        raise InputError(Problem(str(path), "is a folder", "name a file that ends in .yaml"))
    if path.exists() and not force:
        fix = "name another file with -o, or say --force (force=True)"
        raise InputError(Problem(str(path), "exists already", fix))
    return path


def _given(overrides: Sequence[str]) -> dict[str, Any]:
    """Settings by their key in the file: those of the experiment stand under ``fixed``, axes under ``grid``.

    Raises:
        InputError: Texts that are no ``key=value``.
    """
    given: dict[str, Any] = {}
    problems = []
    for text in overrides:
        key, equals, raw = text.partition("=")
        key = key.strip()
        if not equals or not all(key.split(".")):
            fix = "e.g. --set data.target.labels=[1]"
            problems.append(Problem(f"--set {text}", "is not of the form key=value", fix))
            continue
        value = read_yaml(raw, f"--set {text}").values
        head = key.partition(".")[0]
        if key in _AXES:
            given[f"grid.{key}"] = value if isinstance(value, list | dict) else [value]
        else:
            given[key if head in SpaceFile.model_fields else f"fixed.{key}"] = value
    if problems:
        raise InputError(problems)
    return given
