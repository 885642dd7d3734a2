"""Resolved configs as MLflow parameters and back: dotted names, text values, nothing lost on the way.

Used by whatever writes runs and by whatever reads them. Knows nothing of MLflow's client.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from dwp_sweep.data.config import PreprocessConfig
from dwp_sweep.strict import added_defaults

MAX_CHARS = 5_900
"""MLflow cuts values at 6,000 characters; two long lists that differ later would look equal."""

_PYTHON_WORDS = {"None": None, "True": True, "False": False}


def public_config(stage: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's config under the keys of a search space, so that runs speak the user's language.

    A stage reads one ``dataset``, which is ``data.source`` or ``data.target`` to the user, and a target's
    ``settings`` hold the method's sections (``dwp``), which stand at the top of a search space. Of a
    stage whose output was brought, nothing else decides.
    """
    if config.get("brought"):
        brought = config["brought"]
        return {stage: {"brought": {f"group{config['group']}": brought} if "group" in config else brought}}
    hidden = {"dataset", "settings", "brought", "repeat"}  # a repetition is the same configuration
    public = {name: value for name, value in config.items() if name not in hidden}
    if not public.get("all_images"):
        public.pop("all_images", None)  # runs of before have no such parameter and are alike
    if config.get("dataset"):
        public["data"] = {stage: _without_unused_additions(config["dataset"])}
    for section in ("source", "target"):
        if isinstance(values := public.get(section), Mapping):
            public[section] = _without_idle_parts(values)
    return public | dict(config.get("settings") or {})


def _without_idle_parts(section: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's settings without patches and clean-up where they do nothing: runs of before have neither."""
    idle = {
        "patch": not (section.get("patch") or {}).get("shape"),
        "postprocess": not any((section.get("postprocess") or {}).values()),
    }
    return {name: value for name, value in section.items() if not idle.get(name, False)}


def _without_unused_additions(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """A data set without the settings that came later and are not used: runs of before have none."""
    preprocess, later = dict(dataset.get("preprocess") or {}), added_defaults(PreprocessConfig)
    kept = {name: value for name, value in preprocess.items() if name not in later or value != later[name]}
    return {**dataset, "preprocess": kept} if kept else dict(dataset)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted name; lists and empty mappings stay values.

    >>> flatten({"target": {"lr": 0.001}, "seed": 0})
    {'target.lr': 0.001, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values from dotted names, the inverse of `flatten`.

    Where a name is both a value and a section, the section's parts keep their dotted names.
    """
    nested: dict[str, Any] = {}
    for name in sorted(flat, key=lambda name: name.count(".")):
        *sections, last = name.split(".")
        place: Any = nested
        for section in sections:
            place = place.setdefault(section, {}) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place[last] = flat[name]
        else:
            nested[name] = flat[name]
    return nested


def encode(value: Any) -> str:
    """A parameter's text: strings as they are unless they would read as something else; the rest as JSON."""
    if isinstance(value, str):
        text = value if decode(value) == value and isinstance(decode(value), str) else json.dumps(value)
    else:
        text = json.dumps(value, default=str)
    if len(text) <= MAX_CHARS:
        return text
    return f"{text[:200]}... {len(text)} characters, sha256 {hashlib.sha256(text.encode()).hexdigest()}"


def decode(text: str) -> Any:
    """The value of a parameter's text; also reads what ``str()`` makes of Python values."""
    if text in _PYTHON_WORDS:
        return _PYTHON_WORDS[text]
    try:
        return json.loads(text)
    except ValueError:
        return text


def setting_text(value: Any) -> str:
    """``0.0005609`` for 0.0005609374574622063; lists as JSON."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)
