"""Strict configuration models: unknown keys, wrong types and ranges are all reported at once.

Every component owns a `StrictModel` with its defaults. Values come from YAML or JSON, so lists
stand for tuples; booleans never stand for numbers. A field may carry two marks: what part it takes in a
node's key (`unkeyed`), and that it is `expert`, listed after the settings that people choose.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from dwp_sweep.errors import InputError, Problem, did_you_mean


class StrictModel(BaseModel):
    """Frozen pydantic model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def unread(self) -> frozenset[str]:
        """Fields that nothing reads given the values of the others: they stay out of a node's key."""
        return frozenset()


ModelT = TypeVar("ModelT", bound=BaseModel)

DEEPEST = 100
"""Levels of nested values: no file of ours has as many, and recursion over many more ends in an error."""
LARGEST = 2**32 - 1
"""Of whole numbers: no count, size or seed is larger, and computations with larger ones fail in many ways."""


def unkeyed(default: Any = ..., *, expert: bool = False, **kwargs: Any) -> Any:
    """A field that never changes results (a path, a device, a name): it stays out of a node's key."""
    return Field(default, json_schema_extra={"keyed": False, "expert": expert}, **kwargs)


def expert(default: Any, **kwargs: Any) -> Any:
    """A field with a default that hardly anybody can better: listed after the others."""
    return Field(default, json_schema_extra={"expert": True}, **kwargs)


def expert_fields(model: type[BaseModel]) -> frozenset[str]:
    """Names of a model's fields that are `expert`."""
    return frozenset(name for name, field in model.model_fields.items() if _mark(field, "expert", False))


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
    message = str(item["msg"]).removeprefix("Value error, ")
    if not location:
        # Values that are wrong together: the message names them, and nobody reads the whole file again.
        return Problem(where, f"{prefix}: {message}" if prefix else message)
    what = f"{key} = {short_json(item['input'])}: {message[:1].lower() + message[1:]}"
    choices = re.findall(r"'([^']*)'", item["ctx"]["expected"]) if item["type"] == "literal_error" else ()
    given = item["input"]
    return Problem(where, what, did_you_mean(given, choices) if isinstance(given, str) else "")


def _wrong_length(where: str, key: str, values: Sequence[Any], needed: int) -> Problem:
    return Problem(where, f"{key} = {short_json(values)}: needs {needed} values, has {len(values)}")


def _advice(location: list[str], model: type[BaseModel]) -> str:
    """The known key nearest to an unknown one, else all that stand there, those of experts last."""
    for part in location[:-1]:
        field = model.model_fields.get(part)
        inner = _model_in(field.annotation) if field else None
        if inner is None:
            return ""
        model = inner
    experts = expert_fields(model)
    known = sorted(model.model_fields, key=lambda name: (name in experts, name))
    return did_you_mean(location[-1], known, "known keys: " + ", ".join(known) if known else "")


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if inner := _model_in(argument):
            return inner
    return None
