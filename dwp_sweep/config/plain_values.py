"""Plain values of a search space: YAML read strictly, and settings nested or under dotted keys.

A short text may stand for values without end: aliases of aliases, or keys in keys. Values are counted and
their depth is measured before anything is built from them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml

from dwp_sweep.errors import InputError, Problem

ValueT = TypeVar("ValueT")

MAX_VALUES = 20_000
"""Values of a file, aliases written out."""
MAX_LEVELS = 50
"""Keys in keys and lists in lists; a dotted key counts as its parts."""


@dataclass(frozen=True)
class YamlText:
    """The content of a YAML text.

    Attributes:
        values: Plain values; of a repeated key the last.
        problems: Repeated keys and unquoted dates, by line.
    """

    values: Any
    problems: tuple[Problem, ...]


def read_yaml(text: str, where: str) -> YamlText:
    """Read one YAML document.

    Args:
        text: The document.
        where: File or option named in the problems.

    Raises:
        InputError: The text is no YAML, has no plain values, or values without end.
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            _require_bounded(node, _inner_nodes, where)
            values = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
        json.dumps(values, default=str, skipkeys=True)
    except RecursionError:
        raise InputError(_too_deep(where)) from None
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(Problem(where, f"is no YAML: {' '.join(str(error).split())}")) from None
    return YamlText(values, tuple(Problem(where, what, fix) for what, fix in loader.remarks))


def require_bounded(values: Any, where: str) -> None:
    """Refuse values that are too many or nested too deeply, as `read_yaml` does.

    Args:
        values: Plain values that are no YAML: mappings and lists.
        where: Named in the problem.

    Raises:
        InputError: More than `MAX_VALUES` values or `MAX_LEVELS` levels, or values that hold themselves.
    """
    _require_bounded(values, _inner_values, where)


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with dotted keys as nested mappings; a later key wins over an earlier one."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        head, _, rest = str(key).partition(".")
        inner = nested({rest: value}) if rest else nested(value) if isinstance(value, Mapping) else value
        old = result.get(head)
        result[head] = merged(old, inner) if isinstance(old, dict) and isinstance(inner, dict) else inner
    return result


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested ``base`` with the values of nested ``over`` in place of its own."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def with_value(base: Mapping[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    """A copy of nested ``base`` with one dotted key set."""
    return merged(base, nested({dotted: value}))


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested or dotted values by dotted key; an empty mapping stays a value."""
    return dict(_leaves(values))


def overlap(key: str, other: str) -> bool:
    """Whether two dotted keys are the same place, or one lies within the other."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def without(values: Mapping[str, ValueT], taken: Iterable[str]) -> dict[str, ValueT]:
    """The values by dotted key, without those that overlap with one of the taken keys."""
    taken = tuple(taken)
    return {key: value for key, value in values.items() if not any(overlap(key, name) for name in taken)}


def clash_problems(values: Mapping[str, Any], section: str, where: str) -> list[Problem]:
    """Settings that are given twice, nested and dotted, where their order would decide.

    Args:
        values: Of the section.
        section: Dotted key of it.
        where: File named in the problems.
    """
    keys = [key for key, value in _leaves(values) if not isinstance(value, Mapping)]
    twice = {key: None for n, key in enumerate(keys) if any(overlap(key, other) for other in keys[:n])}
    return [
        Problem(where, f"{section}: {key!r} is set twice, nested and dotted", "keep one of the two")
        for key in twice
    ]


def _require_bounded(root: object, inner: Callable[[Any], Sequence[tuple[int, object]]], where: str) -> None:
    """Count the values below a root without writing aliases out: each object is measured once."""
    measured: dict[int, tuple[int, int]] = {}  # by identity: values and levels
    begun: set[int] = set()
    waiting: list[object] = [root]
    while waiting:
        value = waiting[-1]
        parts = inner(value)
        if id(value) not in begun:
            begun.add(id(value))
            if any(id(part) in begun and id(part) not in measured for _, part in parts):
                raise InputError(
                    Problem(
                        where,
                        "is no YAML of a search space: a value contains itself",
                        "write it without aliases",
                    )
                )
            waiting += [part for _, part in parts if id(part) not in begun]
            continue
        waiting.pop()
        sizes = [(weight, *measured[id(part)]) for weight, part in parts]
        n_values = 1 + sum(n for _, n, _ in sizes)
        levels = max((weight + depth for weight, _, depth in sizes), default=0)
        measured[id(value)] = (n_values, levels)
        if n_values > MAX_VALUES:
            what = (
                f"holds {n_values:,} values or more with its aliases written out, and at most {MAX_VALUES:,}"
            )
            raise InputError(
                Problem(where, f"{what} are read", "write what is meant without aliases of aliases")
            )
        if levels > MAX_LEVELS:
            raise InputError(_too_deep(where))


def _inner_nodes(node: Any) -> Sequence[tuple[int, object]]:
    if isinstance(node, yaml.SequenceNode):
        return [(1, item) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        keys = [(1, key) for key, _ in node.value if not isinstance(key, yaml.ScalarNode)]
        return keys + [(1 + str(key.value).count("."), value) for key, value in node.value]
    return ()


def _inner_values(value: Any) -> Sequence[tuple[int, object]]:
    if isinstance(value, Mapping):
        return [(1 + str(key).count("."), item) for key, item in value.items()]
    return [(1, item) for item in value] if isinstance(value, list | tuple) else ()


def _too_deep(where: str) -> Problem:
    what = f"is no YAML of a search space: nested too deeply, in more than {MAX_LEVELS} levels"
    return Problem(where, what, "no setting of a search space lies deeper than a few keys")


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


class _Loader(yaml.SafeLoader):
    """Reads ``1e-4`` (no dot) as a number, and notes repeated keys and dates."""

    def __init__(self, text: str) -> None:
        self.remarks: list[tuple[str, str]] = []
        super().__init__(text)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Merge keys (<<) are not expanded yet: their values may be overridden.
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], list[int]] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                lines.setdefault((key.tag, key.value), []).append(key.start_mark.line + 1)
        for (_, name), numbers in lines.items():
            if len(numbers) > 1:
                given = " and ".join(map(str, numbers))
                self.remarks.append((f"key {name!r} is there more than once, in lines {given}", "keep one"))
        return node

    def construct_date(self, node: yaml.ScalarNode) -> str:
        """The text of a date, which no setting takes."""
        what = f"line {node.start_mark.line + 1}: {node.value} reads as a date"
        self.remarks.append((what, f'write "{node.value}" in quotes'))
        return str(node.value)


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.construct_date)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)
