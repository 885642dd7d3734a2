"""All settings of a search-space file: meaning, unit, range, default, all read from their models.

Nothing is written twice: a meaning is the line of the model's docstring, a range is the field's own. The
module knows which models make up a file, and finds settings by the names that people give them.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dwp_sweep.config.experiment import EXPERIMENT
from dwp_sweep.config.sections import ResourcesConfig, SpaceFile
from dwp_sweep.errors import SYNONYMS, InputError, Problem, did_you_mean, nearest_names
from dwp_sweep.stages.registry import STAGES
from dwp_sweep.strict import expert_fields, meanings, model_in
from dwp_sweep.tables import Table, TableCell, TableColumn, left, table_row

_UNITS = {
    r"(^|.*_)mm$": "mm",
    r"(^|.*_)ml$": "ml",
    r"(^|.*_)hours$": "hours",
    r"(^|.*_)voxels$|^shape$": "voxels",
    r"(^|.*_)epochs$|^patience$|^checkpoint_every$|^thaw_epoch$": "epochs",
    r"(^|.*_)steps$|^steps_per_epoch$": "steps",
    r"^percentiles$": "%",
    r"^(train_size|n_val|n_test|n_subjects)$": "scans",
    r"^free_bits$": "nats",
}
"""Name of a field -> its unit: units stand in names, or the name has one meaning everywhere."""

_KINDS = {bool: "true or false", int: "whole number", float: "number", str: "text", type(None): "null"}
_PLURALS = {"whole number": "whole numbers", "number": "numbers", "text": "texts"}
_NO_DEFAULT = "(to be given)"
_N_ALLOWED = 12


@dataclass(frozen=True)
class SettingFacts:
    """One key of a search-space file.

    Attributes:
        key: Dotted, as after ``--set``.
        meaning: What it does.
        allowed: Kind and range, in words.
        default: As YAML writes it; ``(to be given)`` where there is none.
        unit: Empty where it has none.
        is_expert: Whether hardly anybody can better the default.
    """

    key: str
    meaning: str
    allowed: str
    default: str
    unit: str = ""
    is_expert: bool = False

    @property
    def section(self) -> str:
        """The key without its last part; empty at the top."""
        return self.key.rpartition(".")[0]

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition(".")[2]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class FoundSettings:
    """The settings that a name stands for.

    Attributes:
        settings: At least one.
        note: How the name was understood, where it is no key and no section; else empty.
        is_whole: Whether these are all settings: each is then shown by its first sentence.
    """

    settings: tuple[SettingFacts, ...]
    note: str = ""
    is_whole: bool = False

    def tables(self) -> tuple[Table, ...]:
        """A table a section, sections with equal keys in one; a setting alone is shown field by field."""
        if len(self.settings) == 1:
            return (_card(self.settings[0]),)
        by_section: dict[str, list[SettingFacts]] = {}
        for setting in self.settings:
            by_section.setdefault(setting.section, []).append(setting)
        titles: dict[tuple[tuple[TableCell, ...], ...], list[str]] = {}
        for section, settings in by_section.items():
            titles.setdefault(tuple(map(self._row, settings)), []).append(section or "top of the file")
        columns = (*left("key", "default", "allowed"), TableColumn("meaning", wraps=True))
        return tuple(Table(columns, rows, ", ".join(sections)) for rows, sections in titles.items())

    def _row(self, setting: SettingFacts) -> tuple[TableCell, ...]:
        return table_row([
            TableCell(setting.name, "strong", " (expert)" if setting.is_expert else ""),
            setting.default,
            " ".join(filter(None, (setting.allowed, f"[{setting.unit}]" if setting.unit else ""))),
            _first_sentence(setting.meaning) if self.is_whole else setting.meaning,
        ])  # fmt: skip


def all_settings() -> tuple[SettingFacts, ...]:
    """Every key: of experiments, then of the file itself. ``data.source`` has the keys of ``data.target``."""
    sections = [
        *_settings(EXPERIMENT, ""),
        *(setting for setting in _settings(SpaceFile, "") if setting.key != "data"),
        *(setting for stage in STAGES for setting in _settings(ResourcesConfig, f"resources.{stage}.")),
    ]
    return tuple(sections)


_OPEN_SECTIONS = ("fixed", "grid", "search", "resources", "smoke")
"""Sections of a file whose keys are those of experiments, or names."""


def find_settings(name: str | None = None) -> FoundSettings:
    """The settings of a name: a key, a section, the last part of keys, another word for one of these.

    Args:
        name: None: all settings.

    Raises:
        InputError: Nothing has such a name; names the nearest.
    """
    known = all_settings()
    if name is None:
        return FoundSettings(known, is_whole=True)
    name = name.strip().strip(".")
    if found := _named(name, known):
        return FoundSettings(found)
    usual = SYNONYMS.get(name.lower().replace("-", "_"), "")
    if usual and (found := _named(usual, known)):
        return FoundSettings(found, f"{name} is called {usual} here")
    words = [setting for setting in known if name.lower() in f"{setting.key} {setting.meaning}".lower()]
    if len(name) >= _SHORTEST_WORD and words:
        return FoundSettings(tuple(words), f"no setting is called {name}; these speak of it")
    raise InputError(_unknown(name, known))


_SHORTEST_WORD = 3


def _named(name: str, known: Sequence[SettingFacts]) -> tuple[SettingFacts, ...]:
    tests = (
        lambda setting: f"{setting.key}.".startswith(f"{name}."),
        lambda setting: setting.name == name,
        lambda setting: f".{setting.key}.".find(f".{name}.") >= 0,
    )
    for test in tests:
        if found := tuple(filter(test, known)):
            return found
    return ()


def _unknown(name: str, known: Sequence[SettingFacts]) -> Problem:
    keys = [setting.key for setting in known]
    sections = sorted({setting.section.partition(".")[0] for setting in known if setting.section})
    parts = {part for key in keys for part in key.split(".")}
    near = nearest_names(name, keys if "." in name else parts)
    advice = did_you_mean(name, near, f"sections: {', '.join(sections)}")
    return Problem(f"settings {name}", "there is no setting or section of this name", advice)


def _settings(model: type[BaseModel], prefix: str) -> Iterator[SettingFacts]:
    texts, experts = meanings(model), expert_fields(model)
    for name, field in model.model_fields.items():
        inner = model_in(field.annotation)
        if inner is not None and f"{prefix}{name}" not in _OPEN_SECTIONS:
            yield from _settings(inner, f"{prefix}{name}.")
            continue
        yield SettingFacts(
            f"{prefix}{name}",
            texts.get(name, ""),
            allowed_text(field),
            _NO_DEFAULT if field.is_required() else _yaml(field.get_default(call_default_factory=True)),
            next((unit for pattern, unit in _UNITS.items() if re.match(pattern, name)), ""),
            name in experts,
        )


def allowed_text(field: FieldInfo) -> str:
    """Kind and range of a field in words: ``whole number, at least 1``."""
    extra = field.json_schema_extra
    named = (extra.get("enum") or extra.get("examples") or ()) if isinstance(extra, dict) else ()
    if isinstance(named, list):
        return _choices([str(value) for value in named])
    return ", ".join(filter(None, (_kind(field.annotation), _range(field))))


def _kind(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return _choices(list(map(str, arguments)))
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_kind, arguments)))
    if origin is tuple:
        kind = _kind(arguments[0])
        if arguments[-1] is Ellipsis:
            return f"list of {_PLURALS.get(kind, kind)}"
        return f"{len(arguments)} {_PLURALS.get(kind, kind)}"
    return _KINDS.get(annotation, "keys with values")


def _range(field: FieldInfo) -> str:
    limits = {
        name: value
        for part in field.metadata
        for name in ("ge", "gt", "le", "lt")
        if (value := getattr(part, name, None)) is not None
    }
    if "ge" in limits and "le" in limits:
        return f"{_number(limits['ge'])} to {_number(limits['le'])}"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return ", ".join(f"{words[name]} {_number(value)}" for name, value in limits.items())


def _number(value: float) -> str:
    return f"{value:g}" if abs(value) < 1e5 else f"{value:,.0f}"


def _choices(names: Sequence[str]) -> str:
    shown = list(names[:_N_ALLOWED])
    return ", ".join(shown[:-1]) + f" or {shown[-1]}" if len(shown) > 1 else shown[0]


def _yaml(value: Any) -> str:
    if isinstance(value, str):
        return value or '""'
    return json.dumps(value)


def _first_sentence(text: str) -> str:
    return re.split(r"\.\s+(?=[A-Z])|;\s", text, maxsplit=1)[0].rstrip(".")


def _card(setting: SettingFacts) -> Table:
    rows = [
        ("meaning", setting.meaning),
        ("allowed", setting.allowed),
        ("unit", setting.unit),
        ("default", setting.default),
        ("on the command line", f"--set {setting.key}=VALUE"),
    ]
    about = " (expert: the default is hardly ever bettered)" if setting.is_expert else ""
    shown = tuple(table_row(row) for row in rows if row[1])
    return Table(left("", ""), shown, setting.key, about)
