"""A first search space as YAML for people: nested keys, each with its reason as a comment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from dwp_sweep.config.initial.choices import Choice

_WIDTH = 110
_FIRST_COLUMN = 46


def space_text(choices: Iterable[Choice], head: Sequence[str]) -> str:
    """The file.

    Args:
        choices: In the order of the file.
        head: Lines of its first comment.
    """
    lines = [f"# {line}".rstrip() for line in head]
    open_sections: tuple[str, ...] = ()
    for choice in choices:
        *sections, name = _parts(choice.key)
        common = 0
        while common < min(len(sections), len(open_sections)) and sections[common] == open_sections[common]:
            common += 1
        for depth in range(common, len(sections)):
            lines += ["" for _ in range(depth == 0)] + [f"{'  ' * depth}{sections[depth]}:"]
        open_sections = tuple(sections)
        lines += _lines(len(sections), name, choice)
    return "\n".join(lines) + "\n"


def with_given(choices: Iterable[Choice], given: Mapping[str, Any]) -> list[Choice]:
    """The choices with those of the user in their place, or at the end of their section.

    Args:
        choices: Ours.
        given: Dotted key of the file -> value.
    """
    result = list(choices)
    for key, value in given.items():
        own = Choice(key, value, "as given")
        inside = [place for place, one in enumerate(result) if f"{one.key}.".startswith(f"{key}.")]
        place = inside[0] if inside else _end_of_section(result, key.split(".")[:-1])
        result = [one for number, one in enumerate(result) if number not in inside]
        result.insert(place, own)
    return result


def _end_of_section(choices: Sequence[Choice], section: Sequence[str]) -> int:
    """The place after the last choice of a section, or of the nearest one around it."""
    for depth in range(len(section), 0, -1):
        head = list(section[:depth])
        if beside := [place for place, one in enumerate(choices) if one.key.split(".")[:depth] == head]:
            return beside[-1] + 1
    return len(choices)


def _parts(key: str) -> list[str]:
    """The names of a key; an axis of the grid keeps its dots."""
    head, _, rest = key.partition(".")
    if head in ("grid", "search") and rest:
        return [head, rest]
    return key.split(".")


def _lines(depth: int, name: str, choice: Choice) -> list[str]:
    indent = "  " * depth
    value = yaml.safe_dump(choice.value, default_flow_style=True, width=10**6, allow_unicode=True)
    text = f"{indent}{name}: {value.removesuffix(chr(10)).removesuffix(chr(10) + '...')}"
    first, *more = choice.reason.split("\n") if choice.reason else [""]
    above = [f"{indent}# {line}" for line in more]
    if not first:
        return [*above, text]
    padded = f"{text:<{_FIRST_COLUMN}} # {first}"
    if len(padded) <= _WIDTH:
        return [*above, padded]
    return [f"{indent}# {first}", *above, text]
