"""YAML as people write it: plain values, and what YAML itself would pass over in silence.

Below overrides and search-space files. Knows nothing of their keys.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import yaml

from dwp_sweep.errors import InputError, Problem


@dataclass(frozen=True)
class YamlText:
    """What a text holds.

    Attributes:
        values: Plain values; of a key that is there twice, the last.
        problems: Keys that are there twice and unquoted dates, by line.
    """

    values: Any
    problems: tuple[Problem, ...]


def read_yaml(text: str, where: str) -> YamlText:
    """Read one YAML document.

    Args:
        text: The document.
        where: File or option named in the problems.

    Raises:
        InputError: The text is no YAML, or no values can be made of it.
    """
    try:
        loader = _Loader(text)
        try:
            values = loader.get_single_data()
        finally:
            loader.dispose()
        json.dumps(values, default=str, skipkeys=True)
    except RecursionError:
        raise InputError(Problem(where, "is no YAML of a search space: nested too deeply")) from None
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(Problem(where, f"is no YAML: {' '.join(str(error).split())}")) from None
    return YamlText(values, tuple(Problem(where, what, fix) for what, fix in loader.remarks))


class _Loader(yaml.SafeLoader):
    """Reads ``1e-4`` (no dot) as a number, and notes repeated keys and dates, which nobody means."""

    def __init__(self, text: str) -> None:
        self.remarks: list[tuple[str, str]] = []
        super().__init__(text)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Before merge keys (<<) are spread out: what they bring may be overridden.
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], list[int]] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                lines.setdefault((key.tag, key.value), []).append(key.start_mark.line + 1)
        for (_, name), found in lines.items():
            if len(found) > 1:
                given = " and ".join(map(str, found))
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
