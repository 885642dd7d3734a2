"""Whether a sweep may go on with the studies that it has: the same question, networks of the same settings.

`make_plan` asks before a plan, an estimate or a run goes on; nothing is changed in the studies.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from dwp_sweep.config.node import Node, entries_of
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.harness.search.question import FIX, QUESTION, question_problems
from dwp_sweep.harness.search.study import StudyTrial
from dwp_sweep.harness.search.study_database import (
    past_configurations,
    past_studies,
    study_name,
    target_nodes,
)
from dwp_sweep.harness.search.warm_start import warm_starts
from dwp_sweep.store.protocol import Store
from dwp_sweep.strict import setting_text

_N_NAMED = 4
_INPUTS = re.compile(r"^(inputs\.[^.]+\.)+")


def restore_configurations(sweep: Sweep, store: Store) -> None:
    """Resolve the nodes of all configurations that the sweep's studies hold.

    Raises:
        InputError: A study was begun with another question or with other settings; names the fields. What
            ``searcher.warm_start`` names cannot tell anything.
    """
    warm_starts(sweep, store)
    problems = list(_changed_questions(sweep, store))
    checked: set[str] = set()
    for condition, trial in past_configurations(sweep, store):
        try:
            nodes = target_nodes(sweep, condition, trial)
        except InputError:
            continue  # of an older version of the space
        keys = tuple(node.key for node in nodes)
        if trial.state != "failed" and trial.keys and keys != trial.keys and condition.name not in checked:
            checked.add(condition.name)
            problems.append(
                _other_settings(sweep, store, study_name(sweep.name, condition.name), trial, nodes)
            )
    if problems:
        raise InputError(problems)


def _changed_questions(sweep: Sweep, store: Store) -> Iterator[Problem]:
    for condition, _, attributes in past_studies(sweep, store):
        if sweep.search is not None and (before := attributes.get(QUESTION)) is not None:
            yield from question_problems(study_name(sweep.name, condition.name), before, sweep.search)


def _other_settings(
    sweep: Sweep, store: Store, study: str, trial: StudyTrial, nodes: tuple[Node, ...]
) -> Problem:
    """A result says nothing about networks that other settings make of the same values."""
    changed = _changed_fields(sweep, store, trial.keys, nodes)
    named = [f"{key} was {old} and is {new}" for key, (old, new) in list(changed.items())[:_N_NAMED]]
    named += [f"and {len(changed) - _N_NAMED} more"] if len(changed) > _N_NAMED else []
    what = f"study {study!r} was begun with other settings"
    what += f": {', '.join(named)}" if named else ", or by another version of the code"
    what += f"; what trial {trial.number} found is not about the networks that its values mean now"
    return Problem(next(iter(changed), sweep.name), what, FIX)


def _changed_fields(
    sweep: Sweep, store: Store, keys: tuple[str, ...], nodes: tuple[Node, ...]
) -> dict[str, tuple[str, str]]:
    """Key of a search space -> its value before and now, as texts."""
    from dwp_sweep.harness.view.explain import KnownNodes, differences

    known = KnownNodes(store)
    known.know(entries_of(sweep.nodes.values(), ()))
    changed: dict[str, tuple[str, str]] = {}
    for key, node in zip(keys, nodes, strict=False):
        before, now = known.get(node.stage, key), known.get(node.stage, node.key)
        for one in differences(before, now, known) if before is not None and now is not None else ():
            field = _INPUTS.sub("", one.field)
            if one.is_keyed and not field.startswith("inputs.") and field != "code version":
                stage = node.stage if field == one.field else "source"
                name = re.sub(r"^dataset\.", f"data.{stage}.", field.removeprefix("settings."))
                changed.setdefault(name, (setting_text(one.first), setting_text(one.second)))
    return changed
