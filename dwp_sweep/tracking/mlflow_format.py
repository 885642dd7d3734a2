"""How a sweep is written in MLflow: names of tags and files, settings as parameters and back.

Whoever writes runs and whoever reads them takes both from here. Users search for the names and older runs
hold them: none is ever renamed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from dwp_sweep.strict import json_of, setting_text

SWEEP_TAG = "dwp.sweep"
PARENT_TAG = "dwp.parent"
"""``true`` on the parent run of a sweep alone."""
STORAGE_TAG = "dwp.storage"
"""On the parent run: the storage that all runs of the sweep came from; `SEVERAL`: there are more."""
SEVERAL = "several"
KEY_TAG = "dwp.key"
STAGE_TAG = "dwp.stage"
INPUTS_TAG = "dwp.inputs"
"""JSON: role -> [[stage, key], ...]."""
RECORD_TAG = "dwp.record"
"""Digest of the record that the run mirrors, written last: the run is complete."""
ERROR_TAG = "dwp.error"
PRUNED_TAG = "dwp.pruned"
CONFIGURATION_TAG = "dwp.configuration"
"""Equal for runs that differ in split and seed alone, so that MLflow's pages can group them."""
OBJECTIVES_TAG = "dwp.objectives"
SHARES_TAG = "dwp.target_resources"
PLACES = frozenset({"root", "split_file", "cache_dir", "network", "bank", "path"})
"""Last parts of the keys of settings that are places on somebody's disk."""
MLFLOW_PARENT = "mlflow.parentRunId"
NOTE_TAG = "mlflow.note.content"
"""Shown as the description of an experiment or a run."""
LABELS = ("method", "variant", "train_size", "split", "seed", "fold", "group", "over", "trial", "settings")
"""What a node's labels may be; each stands in a tag of its own."""
ASKED_TAG = "dwp.asked"
"""On the parent run: JSON list of the dotted keys that the sweep asks about."""
SETTINGS_FILE = "sweep.json"
"""Of the parent run: the resolved search space."""
ENVIRONMENT_FILE = "environment.json"
"""Of the parent run: versions, commit and command line."""
REPORT_FOLDER = "report"
"""Of the parent run: the report's page, figures and tables."""
MAX_CHARS = 5_900
"""MLflow cuts values at 6,000 characters; two long lists that differ later would look equal."""
_PYTHON_WORDS = {"None": None, "True": True, "False": False}


def label_tag(name: str) -> str:
    """The tag of a node's label.

    >>> label_tag("train_size")
    'dwp.train_size'
    """
    return f"dwp.{name}"


def public_labels(labels: Mapping[str, Any]) -> dict[str, Any]:
    """A node's labels with the settings as text: ``prior.latent_dim=4 dwp.kl_weight=0.0001``."""
    settings = labels.get("settings")
    if not isinstance(settings, Mapping):
        return dict(labels)
    return {**labels, "settings": " ".join(f"{key}={setting_text(value)}" for key, value in settings.items())}


def public_config(stage: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's config under the keys of a search space, so that runs speak the user's language.

    A stage reads one ``dataset``, which is ``data.source`` or ``data.target`` to the user, and a target's
    ``settings`` hold the method's sections (``dwp``), which stand at the top of a search space. Of a
    stage whose output was supplied, nothing else decides.
    """
    if config.get("brought"):
        brought = config["brought"]
        return {stage: {"brought": {f"group{config['group']}": brought} if "group" in config else brought}}
    hidden = {"dataset", "settings", "brought", "repeat"}  # a repetition is the same configuration
    public = {name: value for name, value in config.items() if name not in hidden}
    if not public.get("all_images"):
        public.pop("all_images", None)  # older runs have no such parameter and are equal
    if public.get("fold") is None:
        public.pop("fold", None)
    if public.get("source") is None:
        public.pop("source", None)  # the method starts from no source network
    if dataset := config.get("dataset"):
        # Older runs have neither classes, which is one foreground, nor folds.
        idle = {"classes": not dataset.get("classes"), "n_folds": dataset.get("validation") != "folds"}
        shown = {name: value for name, value in dataset.items() if not idle.get(name, False)}
        public["data"] = {"source" if stage == "source" else "target": shown}
    for section in ("source", "target"):
        if isinstance(values := public.get(section), Mapping):
            public[section] = _without_idle_parts(values)
    if stage == "source" and "source" in public:
        public["source"].pop("member", None)  # which targets start from it, it cannot know
    return public | dict(config.get("settings") or {})


def _without_idle_parts(section: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's settings without parts that do nothing: older runs have none of them."""
    idle = {
        "patch": not (section.get("patch") or {}).get("shape"),
        "augment": not section.get("augment"),
        "postprocess": not any((section.get("postprocess") or {}).values()),
    }
    return {name: value for name, value in section.items() if not idle.get(name, False)}


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
        return json_of(text)
    except ValueError:
        return text


def setting_texts(values: Mapping[str, object], names: Sequence[str]) -> list[str]:
    """The texts of some settings; a dash where one does not apply."""
    return [setting_text(values[name]) if name in values else "-" for name in names]
