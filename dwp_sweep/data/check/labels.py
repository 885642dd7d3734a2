"""Labels of a data set's masks against what its settings make of them: one foreground, or classes.

What is said here is of the data set as a whole: all labels of all masks have been read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dwp_sweep.data.classes import suggested
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.layouts import Listing
from dwp_sweep.errors import Problem

LabelsOf = Mapping[str, Sequence[int]]
"""Subject -> values of its mask, 0 among them."""


def unknown_labels(config: DatasetConfig, listing: Listing) -> list[Problem]:
    """Labels of the settings that are not among the values that the data set's description allows."""
    if config.foreground is None or listing.label_set is None:
        return []
    named = set(config.foreground) | {label for _, labels in config.classes or () for label in labels}
    strange = sorted(named - listing.label_set)
    if not strange:
        return []
    known = f"{sorted(listing.label_set)}{_names(listing)}"
    key = "labels" if config.classes is None else "classes"
    what = f"{key}: {', '.join(map(str, strange))} is not in the data set's values {known}"
    return [Problem(_place(config), what, "choose foreground labels among these")]


def class_problems(config: DatasetConfig, listing: Listing, masks: LabelsOf) -> list[Problem]:
    """Labels of masks that no class names, and classes that no mask has."""
    if config.classes is None or not masks:
        return []
    named = {0, *(label for _, labels in config.classes for label in labels)}
    problems = []
    for label in sorted({label for labels in masks.values() for label in labels} - named):
        holders = [subject for subject, labels in masks.items() if label in labels]
        n = f"{len(holders)} mask{'s' * (len(holders) > 1)}"
        what = f"label {_label(label, listing)} is in {n}, first {holders[0]}, and in no class"
        fix = f"add it to a class, or say that it counts as background by a class background: [{label}]"
        problems.append(Problem(_place(config), what, fix))
    for name, n_masks in _n_masks(config, masks):
        if n_masks == 0:
            values = ", ".join(map(str, dict(config.classes)[name]))
            what = f"class {name}: no mask holds any of its labels ({values})"
            problems.append(Problem(_place(config), what, f"correct its labels{_names(listing)}, or drop it"))
    return problems


def class_warnings(config: DatasetConfig, listing: Listing, masks: LabelsOf) -> list[Problem]:
    """Several labels that become one foreground without a word, and classes that some masks lack."""
    if config.classes is not None:
        return [
            Problem(
                _place(config),
                f"class {name} is absent in {len(masks) - n_masks} of {len(masks)} masks",
                "legal; there its Dice is 1 where a network finds none of it, and 0 where it does",
            )
            for name, n_masks in _n_masks(config, masks)
            if 0 < n_masks < len(masks)
        ]
    # The generated lesion is one with its oedema: nobody chose its labels.
    found = sorted({label for labels in masks.values() for label in labels} - {0})
    if config.labels is not None or config.layout == "phantom" or len(found) < 2:
        return []
    shown = ", ".join(_label(label, listing) for label in found[:_MOST_SHOWN])
    shown += f" and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
    names = {label: listing.label_names.get(label, f"label{label}") for label in found[:_MOST_SHOWN]}
    what = f"the masks hold the labels {shown}, and all of them count as one foreground"
    fix = (
        f"write labels: {found[:_MOST_SHOWN]} if that is meant, labels: [{found[0]}] for one of them, or "
        f"classes: {suggested(names)} to tell them apart"
    )
    return [Problem(_place(config), what, fix)]


_MOST_SHOWN = 8


def _n_masks(config: DatasetConfig, masks: LabelsOf) -> Iterable[tuple[str, int]]:
    """By class, how many masks have it."""
    for name, values in config.own_classes:
        yield name, sum(not set(values).isdisjoint(labels) for labels in masks.values())


def _label(label: int, listing: Listing) -> str:
    name = listing.label_names.get(label)
    return f"{label} ({name})" if name else str(label)


def _names(listing: Listing) -> str:
    """What the data set's description calls its labels."""
    names = {label: name for label, name in listing.label_names.items() if label}
    words = ", ".join(f"{label} {name}" for label, name in sorted(names.items())[:_MOST_SHOWN])
    return f" ({words})" if words else ""


def _place(config: DatasetConfig) -> str:
    return config.root or config.layout
