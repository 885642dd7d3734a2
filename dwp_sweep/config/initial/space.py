"""From two folders to a search space that runs as it is: find, look, choose, write.

The room's entry; `dwp_sweep.api.initial` plans what comes out and writes the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dwp_sweep.config.initial.choices import Network, choose
from dwp_sweep.config.initial.facts import Facts, look_at
from dwp_sweep.config.initial.machine import TrainingMachine
from dwp_sweep.config.initial.modalities import Modalities, chosen, modalities_of
from dwp_sweep.config.initial.text import space_text, with_given
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.files.names import home_path
from dwp_sweep.data.layouts import resolved, scan_layout
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.nets.net_files import read_net_facts
from dwp_sweep.strict import parse

Progress = Callable[[str, int, int], None]

_CHOSEN_FIELDS = ("channel", "modality", "image_pattern")
_NETWORK_FILE = "net.json"
_RUN = "runs:/"


@dataclass(frozen=True)
class InitialSpace:
    """A search space and what it was made from.

    Attributes:
        text: YAML with comments.
        target: Facts of the target's scans.
        source: Facts of the source's scans; None: there are none.
        network: A source network that is brought.
    """

    text: str
    target: Facts
    source: Facts | None
    network: Network | None


@dataclass(frozen=True)
class _Found:
    """A task whose files are known, and not yet chosen among."""

    key: str
    config: DatasetConfig
    modalities: Modalities
    given: frozenset[str]


def initial_space(
    target: str,
    source: str | None,
    given: Mapping[str, Any],
    machine: TrainingMachine,
    file: str,
    progress: Progress,
) -> InitialSpace:
    """Look at the scans and choose the settings.

    Args:
        target: Folder of the target task, or table.
        source: Folder or table of the source task, or a source network; None: there is no source.
        given: Settings of the user by dotted key of the file; they are not chosen.
        machine: Where the sweep is to run.
        file: Its name, for the first lines.
        progress: Called with (what, done, total) while scans are read.

    Raises:
        InputError: All problems of both folders.
    """
    network = _network(source) if source is not None and _is_network(source) else None
    roots = {"source": source if network is None else None, "target": target}
    found = _find({key: root for key, root in roots.items() if root is not None}, given)
    facts = _look(found, network, progress)
    choices = with_given(choose(facts["target"], facts.get("source"), network, machine), given)
    head = [
        f"Which way of transfer works best for {Path(target).name}, and with how many labelled scans?",
        "Written by dwp-sweep init; every line may be changed.",
        f"dwp-sweep plan {file} says what it costs, dwp-sweep settings KEY what a line means.",
        f"dwp-sweep run {file} --smoke tries it in minutes, without --smoke it gives the answer.",
    ]
    return InitialSpace(space_text(choices, head), facts["target"], facts.get("source"), network)


def _is_network(source: str) -> bool:
    folder = home_path(source)
    return source.startswith(_RUN) or any((folder / sub / _NETWORK_FILE).is_file() for sub in ("", "cycle0"))


def _network(source: str) -> Network:
    if source.startswith(_RUN):
        return Network(source)
    folder = home_path(source).resolve()
    inside = folder if (folder / _NETWORK_FILE).is_file() else folder / "cycle0"
    try:
        return Network(str(folder), read_net_facts(inside).unet)
    except ValueError as error:
        raise InputError(Problem(source, str(error), "give the folder of a source network")) from None


def _find(roots: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, _Found]:
    """Layout and modalities of every task; the problems of both together."""
    found, problems = {}, list[Problem]()
    for key, root in roots.items():
        try:
            found[key] = _find_one(key, root, given)
        except InputError as error:
            problems += error.problems
    if not problems and len(found) > 1 and not _may_share(found):
        what = f"source and target are the same folder, {found['target'].config.root}"
        fix = (
            "give two folders, or say whose scans are whose: --set data.source.subjects=0:90 "
            "--set data.target.subjects=90:160"
        )
        problems.append(Problem("--source and --target", what, fix))
    if problems:
        raise InputError(dict.fromkeys(problems))
    return found


def _find_one(key: str, root: str, given: Mapping[str, Any]) -> _Found:
    head = f"data.{key}."
    values = _nested(
        {name.removeprefix(head): value for name, value in given.items() if name.startswith(head)}
    )
    place = home_path(root)
    absolute = str(place.resolve())
    config = resolved(parse(DatasetConfig, {**values, "root": absolute}, f"--{key} {root}", f"data.{key}"))
    if not place.exists():
        raise InputError(Problem(f"--{key}", f"there is no {root}", "give the folder of the scans"))
    modalities = modalities_of(config, Path(absolute))
    if modalities.mask_pattern is not None and "mask_pattern" not in values:
        config = config.model_copy(update={"mask_pattern": modalities.mask_pattern})
    return _Found(key, config, modalities, frozenset(values))


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        if name:
            result.setdefault(section, {})[name] = value
        else:
            result[key] = value
    return result


def _may_share(found: Mapping[str, _Found]) -> bool:
    """Whether the tasks are different folders, or different scans of one."""
    one, other = (found[key].config for key in ("source", "target"))
    return one.root != other.root or one.subjects != other.subjects


def _look(found: Mapping[str, _Found], network: Network | None, progress: Progress) -> dict[str, Facts]:
    facts, problems = {}, list[Problem]()
    for key, task in found.items():
        others = [other for name, other in found.items() if name != key]
        try:
            config = _with_images(task, others[0].modalities if others else _of_network(network))
            config, left_out = _without_incomplete(config)
            facts[key] = look_at(key, config, task.modalities, left_out, progress)
            if not facts[key].labels and config.labels is None:
                what = "no mask holds a label above 0: there is nothing to learn"
                problems.append(Problem(str(config.root), what, "are these the masks?"))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(dict.fromkeys(problems))
    return facts


def _of_network(network: Network | None) -> Modalities | None:
    """A network of one channel takes one image; of several, as many as it has are tried."""
    is_single = network is not None and (network.unet is None or network.unet.in_channels == 1)
    return Modalities() if is_single else None


def _with_images(task: _Found, other: Modalities | None) -> DatasetConfig:
    field = task.modalities.field
    if not field or task.given & set(_CHOSEN_FIELDS):
        return task.config
    values, _ = chosen(task.modalities, other)
    if not values:
        return task.config
    value = values[0] if len(values) == 1 else values
    dumped = task.config.model_dump(mode="json", exclude_defaults=True)
    listed = list(value) if isinstance(value, tuple) else value
    return parse(
        DatasetConfig, {**dumped, "layout": task.config.layout, field: listed}, str(task.config.root)
    )


def _without_incomplete(config: DatasetConfig) -> tuple[DatasetConfig, tuple[str, ...]]:
    """The complete subjects by name where a few lack a file and nobody has selected any; and the others."""
    listing = scan_layout(config)
    if config.subjects is not None or not listing.broken or len(listing.broken) >= len(listing.subjects):
        return config, ()
    complete = tuple(subject.id for subject in listing.subjects)
    return config.model_copy(update={"subjects": complete}), tuple(sorted(listing.broken))
