"""The question of a study: it can go on with other ranges or more trials, not with another question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dwp_sweep.config.search.definition import SearchSpace
from dwp_sweep.errors import Problem
from dwp_sweep.harness.search.samplers import encoded

QUESTION = "space"
"""User attribute of a study: its question."""
FIX = "give the sweep another name: --set name=NAME"


def question_of(search: SearchSpace) -> dict[str, Any]:
    """Objectives, kinds of the fields and values of choices, as plain values."""
    fields = search.distributions
    return {
        "objectives": [objective.model_dump(mode="json") for objective in search.objectives],
        "choices": {
            key: [encoded(value, field) for value in field.choices]
            for key, field in fields.items()
            if field.kind == "choice"
        },
        "kinds": {key: field.kind for key, field in fields.items()},
    }


def question_problems(study: str, before: Mapping[str, Any], search: SearchSpace) -> list[Problem]:
    """What is other in the question of a study that was begun.

    Args:
        study: Its name.
        before: Its question; older ones have no kinds.
        search: The search of today.
    """
    now, kinds = question_of(search), before.get("kinds", {})
    changed = [key for key, values in now["choices"].items() if before["choices"].get(key, values) != values]
    changed += [key for key, kind in now["kinds"].items() if kinds.get(key, kind) != kind]
    names = [f"search.{key}" for key in dict.fromkeys(changed)]
    names += ["objective"] if before["objectives"] != now["objectives"] else []
    if not names:
        return []
    return [Problem(names[0], f"study {study!r} was begun with another {' and '.join(names)}", FIX)]
