"""Strict configuration models: unknown keys, wrong types and ranges are all reported at once.

Every component owns a `StrictModel` with its defaults. Values come from YAML or JSON, so lists
stand for tuples; booleans never stand for numbers. A field may carry two marks: what part it takes in a
node's key (`unkeyed`), and that it is `expert`, listed after the settings that people choose. What a field
means stands in the docstring of its model, under ``Attributes``, and nowhere else.
"""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationError
from pydantic.fields import FieldInfo

from dwp_sweep.errors import SYNONYMS, InputError, Problem, did_you_mean, nearest_names


class StrictModel(BaseModel):
    """Frozen pydantic model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def unread(self) -> frozenset[str]:
        """Fields that nothing reads given the values of the others: they stay out of a node's key."""
        return frozenset()

    @classmethod
    def advice_on_list(cls, key: str, values: Sequence[Any]) -> str:
        """What to do where a list stands in place of one value; ``key`` is dotted."""
        return ""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The model's JSON schema, with what its docstring says of the model and of each field."""
        schema = handler(core_schema)
        own = handler.resolve_ref_schema(schema)
        own["description"] = purpose(cls)
        texts = meanings(cls)
        for name, field in own.get("properties", {}).items():
            if name in texts:
                field["description"] = texts[name]
        return schema


ModelT = TypeVar("ModelT", bound=BaseModel)

DEEPEST = 100
"""Levels of nested values: no file of ours has as many, and recursion over many more ends in an error."""
LARGEST = 2**32 - 1
"""Of whole numbers: no count, size or seed is larger, and computations with larger ones fail in many ways."""

_N_ELSEWHERE = 4
"""So many places of a key are named."""


def unkeyed(default: Any = ..., *, expert: bool = False, **kwargs: Any) -> Any:
    """A field that never changes results (a path, a device, a name): it stays out of a node's key."""
    return Field(default, json_schema_extra={"keyed": False, "expert": expert}, **kwargs)


def expert(default: Any, **kwargs: Any) -> Any:
    """A field with a default that hardly anybody can better: listed after the others."""
    return Field(default, json_schema_extra={"expert": True}, **kwargs)


def expert_fields(model: type[BaseModel]) -> frozenset[str]:
    """Names of a model's fields that are `expert`."""
    return frozenset(name for name, field in model.model_fields.items() if _mark(field, "expert", False))


def purpose(model: type[BaseModel]) -> str:
    """What a model is for: the first paragraph of its docstring, as plain text."""
    return _plain_words((model.__doc__ or "").strip().partition("\n\n")[0])


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """Field -> what it means, from ``Attributes`` of the docstrings of a model and those it builds on."""
    texts: dict[str, str] = {}
    for part in reversed(model.__mro__[: model.__mro__.index(BaseModel)]):
        _, _, block = inspect.cleandoc(part.__doc__ or "").partition("\nAttributes:\n")
        block = re.split(r"^\S", block, maxsplit=1, flags=re.MULTILINE)[0]
        entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", block, flags=re.MULTILINE)
        texts |= {name: _plain_words(text) for name, text in entries}
    return texts


def dotted_fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """All fields of a model by dotted key, those of its sections in place of the section."""
    for name, field in model.model_fields.items():
        inner = model_in(field.annotation)
        if inner is None:
            yield f"{prefix}{name}", field
        else:
            yield from dotted_fields(inner, f"{prefix}{name}.")


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model within a field's annotation; None where it has none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if inner := model_in(argument):
            return inner
    return None


def json_of(text: str | bytes) -> Any:
    """The plain values of a JSON text.

    Raises:
        ValueError: It is no JSON, or nested deeper than `DEEPEST` levels.
    """
    try:
        values = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    level = [values]
    for _ in range(DEEPEST + 1):
        parts = [value.values() if isinstance(value, dict) else value for value in level if _has_parts(value)]
        if not parts:
            return values
        level = [item for part in parts for item in part]
    raise ValueError(f"nested deeper than {DEEPEST} levels")


def parse(model: type[ModelT], values: Mapping[str, Any], where: str, prefix: str = "") -> ModelT:
    """Validate plain values (as read from YAML or JSON) strictly.

    Args:
        model: The pydantic model.
        values: Nested plain values.
        where: File named in the problems.
        prefix: Dotted key under which the values stand in that file.

    Raises:
        InputError: With one problem for every bad key.
    """
    if large := [Problem(where, what) for what in large_numbers(values, prefix)]:
        raise InputError(large)
    try:
        return model.model_validate_json(json.dumps(values), strict=True)
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, ValidationError):
            raise InputError(problems_of(error, model, where, prefix)) from None
        raise InputError(
            Problem(where, f"{prefix or 'file'} holds a value that is no plain YAML: {error}")
        ) from None


def problems_of(
    error: ValidationError, model: type[BaseModel], where: str, prefix: str = ""
) -> list[Problem]:
    """One problem for each error of a pydantic validation, in the file's own terms."""
    items = error.errors(include_url=False)
    return list(dict.fromkeys(_problem(item, model, where, prefix, _lengths(items)) for item in items))


def keyed_values(model: BaseModel) -> dict[str, Any]:
    """The values of a model that take part in a node's key, as plain JSON values."""
    values = {}
    unread = model.unread() if isinstance(model, StrictModel) else frozenset()
    for name, field in type(model).model_fields.items():
        if name in unread:
            continue
        value = getattr(model, name)
        if _mark(field, "keyed", True):
            values[name] = _plain(value)
    return values


def setting_text(value: Any) -> str:
    """``0.0005609`` for 0.0005609374574622063; lists as JSON."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def short_json(value: Any) -> str:
    """A value for messages: its JSON, cut at 80 characters."""
    return shortened(json.dumps(value, default=str))


def shortened(text: str) -> str:
    """A text for messages, cut at 80 characters."""
    return text if len(text) <= 80 else text[:77] + "..."


def large_numbers(values: Any, key: str = "", largest: int = LARGEST) -> Iterator[str]:
    """What is wrong with each whole number beyond ``largest`` among plain values, by its dotted key."""
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield from large_numbers(value, f"{key}.{name}" if key else str(name), largest)
    elif isinstance(values, list | tuple):
        for place, value in enumerate(values):
            yield from large_numbers(value, f"{key}.{place}", largest)
    elif isinstance(values, int) and abs(values) > largest:
        # Python writes out no number of more than 4,300 digits.
        n_digits = int(abs(values).bit_length() * math.log10(2)) + 1
        shown = str(values) if n_digits < 40 else f"a number of about {n_digits:,} digits"
        yield f"{key} = {shown}: whole numbers are at most {largest}"


def _has_parts(value: Any) -> bool:
    return isinstance(value, dict | list)


def _mark(field: FieldInfo, name: str, otherwise: object) -> object:
    extra = field.json_schema_extra
    return extra.get(name, otherwise) if isinstance(extra, dict) else otherwise


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return keyed_values(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _lengths(items: Sequence[Any]) -> dict[tuple[int | str, ...], int]:
    """How many values each sequence needs that lacks some, by its location."""
    lacking = [item["loc"] for item in items if _lacks_value(item)]
    return {
        loc[:-1]: max(int(other[-1]) for other in lacking if other[:-1] == loc[:-1]) + 1 for loc in lacking
    }


def _lacks_value(item: Any) -> bool:
    return item["type"] == "missing" and bool(item["loc"]) and isinstance(item["loc"][-1], int)


def _problem(
    item: Any, model: type[BaseModel], where: str, prefix: str, lengths: Mapping[tuple[int | str, ...], int]
) -> Problem:
    location = [str(part) for part in item["loc"]]
    key = ".".join(([prefix] if prefix else []) + location)
    if _lacks_value(item):
        values, needed = item["input"], lengths[item["loc"][:-1]]
        return _wrong_length(where, key.rpartition(".")[0], values, needed)
    if item["type"] == "too_long" and item["ctx"]["field_type"] == "Tuple":
        return _wrong_length(where, key, item["input"], item["ctx"]["max_length"])
    if item["type"] == "extra_forbidden":
        return Problem(where, f"unknown key {key!r}", _advice(location, model))
    if item["type"] == "missing":
        return Problem(where, f"missing key {key!r}", "add it")
    given = item["input"]
    if item["type"] == "model_type" and location and (inner := _model_at(location, model)):
        return _no_section(where, key, given, inner)
    message = str(item["msg"]).removeprefix("Value error, ")
    if not location:
        # Values that are wrong together: the message names them, and nobody reads the whole file again.
        return Problem(where, f"{prefix}: {message}" if prefix else message)
    what = f"{key} = {short_json(item['input'])}: {message[:1].lower() + message[1:]}"
    choices = re.findall(r"'([^']*)'", item["ctx"]["expected"]) if item["type"] == "literal_error" else ()
    if isinstance(given, list) and not prefix and issubclass(model, StrictModel):
        return Problem(where, what, model.advice_on_list(key, given))
    return Problem(where, what, did_you_mean(given, choices) if isinstance(given, str) else "")


def _no_section(where: str, key: str, given: Any, section: type[BaseModel]) -> Problem:
    known = _listed_keys(section)
    fix = f"keys of this section: {', '.join(known)}; for example {key}.{known[0]}"
    return Problem(where, f"{key} = {short_json(given)}: is a section with keys of its own", fix)


def _wrong_length(where: str, key: str, values: Sequence[Any], needed: int) -> Problem:
    return Problem(where, f"{key} = {short_json(values)}: needs {needed} values, has {len(values)}")


def _advice(location: list[str], model: type[BaseModel]) -> str:
    """The known key nearest to an unknown one, one of its name elsewhere, else all that stand there."""
    top, name = model, location[-1]
    inner = _model_at(location[:-1], model)
    if inner is None:
        return ""
    known = _listed_keys(inner)
    if advice := did_you_mean(name, known):
        return advice
    names = (name, SYNONYMS.get(name.lower().replace("-", "_")))
    keys = {key: key.rpartition(".")[2] for key, _ in dotted_fields(top)}
    near = [key for key in keys.values() if key in names] or nearest_names(name, keys.values())
    elsewhere = [key for key, last in keys.items() if last in near]
    if elsewhere:
        return f"did you mean {' or '.join(elsewhere[:_N_ELSEWHERE])}?"
    return "known keys: " + ", ".join(known) if known else ""


def _listed_keys(model: type[BaseModel]) -> list[str]:
    experts = expert_fields(model)
    return sorted(model.model_fields, key=lambda name: (name in experts, name))


def _model_at(location: Sequence[str], model: type[BaseModel]) -> type[BaseModel] | None:
    """The model of the section at a place; None where no section is."""
    for part in location:
        field = model.model_fields.get(part)
        inner = model_in(field.annotation) if field else None
        if inner is None:
            return None
        model = inner
    return model


def _plain_words(text: str) -> str:
    """A text of a docstring for users: without marks, and with YAML's word for None."""
    return re.sub(r"\bNone\b", "null", re.sub(r"`+([^`]*)`+", r"\1", " ".join(text.split())))
