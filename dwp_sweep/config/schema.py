"""The JSON schema of a search-space file: an editor completes keys, checks values and shows meanings by it.

Made from the models that check a file. The schema is looser than they are where a file may be: nothing is
required, since another section may bring it, and keys may be nested or dotted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dwp_sweep.config.experiment import EXPERIMENT
from dwp_sweep.config.sections import SpaceFile
from dwp_sweep.config.variants import VARIANT
from dwp_sweep.stages.registry import STAGES

_DIALECT = "http://json-schema.org/draft-07/schema#"
"""What language servers for YAML know best."""
_SETTINGS = "settings"
_DEFINITIONS = "#/$defs/"


def space_schema() -> dict[str, Any]:
    """The schema as plain JSON values."""
    experiment, file = EXPERIMENT.model_json_schema(), SpaceFile.model_json_schema()
    definitions = experiment.pop("$defs") | file.pop("$defs")
    for model in (*definitions.values(), experiment, file):
        _loosen(model)
    fields = dict(_dotted(experiment, definitions))
    experiment["properties"] |= {key: field for key, field in fields.items() if "." in key}
    del experiment["patternProperties"]
    definitions[_SETTINGS] = experiment
    settings = {"$ref": f"{_DEFINITIONS}{_SETTINGS}"}
    sections = file["properties"]
    _describe(sections["data"], experiment["properties"]["data"])
    sections["fixed"] |= settings
    axes = {key: {"type": "array", "items": field, "minItems": 1} for key, field in fields.items()}
    variants = {"type": "object", "additionalProperties": settings}
    sections["grid"] |= {"properties": axes | {VARIANT: variants}, "additionalProperties": False}
    searched = {key: {"$ref": f"{_DEFINITIONS}Distribution"} for key in fields}
    sections["search"] |= {"properties": searched, "additionalProperties": False}
    resources = {stage: {"$ref": f"{_DEFINITIONS}ResourcesConfig"} for stage in STAGES}
    sections["resources"] |= {"properties": resources, "additionalProperties": False}
    for field in (sections["objective"], definitions["ObjectiveConfig"]["properties"]["over"]):
        _one_or_several(field)
    smaller = {key: section for key, section in sections.items() if key not in ("name", "smoke")}
    sections["smoke"] |= {"properties": smaller, "additionalProperties": False}
    del file["patternProperties"]
    return {"$schema": _DIALECT, "title": "dwp_sweep search space", **file, "$defs": definitions}


def _describe(section: dict[str, Any], field: Mapping[str, Any]) -> None:
    section.pop("additionalProperties", None)
    section |= {name: value for name, value in field.items() if name != "description"}


def _one_or_several(field: dict[str, Any]) -> None:
    """A list of one may be written without the list."""
    kind = field.pop("type")
    field["anyOf"] = [field["items"], {"type": kind, "items": field.pop("items")}]


def _loosen(schema: dict[str, Any]) -> None:
    """Require nothing, let dotted keys pass, and say tuples as the dialect does."""
    schema.pop("required", None)
    if "properties" in schema:
        schema["patternProperties"] = {r"\.": {}}
    for part in _parts(schema):
        for noise in ("title", "keyed", "expert"):
            if not isinstance(part.get(noise), dict):
                part.pop(noise, None)
        if items := part.pop("prefixItems", None):
            part |= {"items": items, "additionalItems": False}


def _parts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for item in list(value.values()):
            yield from _parts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _parts(item)


def _dotted(
    model: Mapping[str, Any], definitions: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every section and setting of a model, by dotted key."""
    for name, field in model["properties"].items():
        yield f"{prefix}{name}", field
        inner = _model_of(field, definitions)
        if inner is not None:
            yield from _dotted(inner, definitions, f"{prefix}{name}.")


def _model_of(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for part in (field, *field.get("anyOf", ())):
        name = part.get("$ref", "").removeprefix(_DEFINITIONS)
        if name in definitions and "properties" in definitions[name]:
            model: Mapping[str, Any] = definitions[name]
            return model
    return None
