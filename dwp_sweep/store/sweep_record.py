"""The nodes of a sweep, recorded on the storage for `status`, `explain` and `gc`.

``sweeps/<name>/nodes.jsonl`` holds one node per line. A run writes it before anything starts; a larger sweep
under the same name extends it, and a search appends its suggestions: it names every node that the sweep has
ever needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dwp_sweep.errors import InputError, Problem, did_you_mean
from dwp_sweep.passwords import without_secrets
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import UNREADABLE, json_text
from dwp_sweep.strict import json_of

NODES = "nodes.jsonl"
RESOURCES = "resources.json"
SETTINGS = "settings.json"
BEST = "best.json"
"""Settings that were asked for -> the run that ``best:SWEEP`` meant."""


@dataclass(frozen=True)
class NodeEntry:
    """One node of a recorded sweep.

    Attributes:
        key: Its key.
        stage: Its stage.
        title: Its readable name.
        config: Plain values of the stage's config.
        inputs: Role -> ((stage, key), ...).
        labels: ``method``, ``train_size``, ``split``, ... where they apply.
        is_target: Whether the sweep asks for it, rather than another node of it.
    """

    key: str
    stage: str
    title: str
    config: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    labels: Mapping[str, Any] = field(default_factory=dict)
    is_target: bool = False

    @property
    def parents(self) -> tuple[tuple[str, str], ...]:
        """(stage, key) of every input, in order of role."""
        return tuple(pair for role in sorted(self.inputs) for pair in self.inputs[role])


def record_nodes(store: Store, sweep: str, entries: Iterable[NodeEntry]) -> None:
    """Write the nodes of a sweep, atomically; nodes that were recorded earlier stay first."""
    new = {entry.key: entry for entry in entries}

    def merged(text: str) -> str:
        return "".join(map(_line, (_entries(text) | new).values()))

    store.files.rewrite_log(_name(sweep, NODES), merged)


def append_nodes(store: Store, sweep: str, entries: Iterable[NodeEntry]) -> None:
    """Add new nodes of a search; the cost does not grow with the number of recorded nodes."""
    store.files.append_log(_name(sweep, NODES), "".join(map(_line, entries)))


def recorded_nodes(store: Store, sweep: str) -> list[NodeEntry]:
    """The nodes of a sweep, parents before children; empty where it was never recorded.

    A later line of a node wins. Half a last line, which a killed driver may leave, is dropped.
    """
    return list(_entries(store.files.read_log(_name(sweep, NODES)) or "").values())


def is_recorded(store: Store, sweep: str) -> bool:
    """Whether the nodes of a sweep are known."""
    return store.files.has_log(_name(sweep, NODES))


def require_sweep(sweep: str, store: Store) -> None:
    """Make sure that the nodes of a sweep are recorded.

    Raises:
        InputError: They are not; names the known sweeps, nearest first.
    """
    if is_recorded(store, sweep):
        return
    known = [name for name in store.sweeps() if is_recorded(store, name)]
    if sweep in store.sweeps():
        what = f"sweep {sweep!r} was last run by a version that kept no list of its nodes"
        raise InputError(Problem(store.place, what, "run it again (nothing finished is repeated)"))
    raise InputError(
        unknown_sweep(store.place, sweep, known, "no sweep was run there yet; name its --storage")
    )


def unknown_sweep(where: str, sweep: str, known: Iterable[str], none_there: str) -> Problem:
    """The problem that a sweep does not exist, with the names of those that do.

    Args:
        where: Storage or MLflow.
        sweep: The name that was given.
        known: Names of the sweeps there.
        none_there: What to say where there are none.
    """
    known = sorted(known)
    there = "sweeps there: " + ", ".join(known) if known else none_there
    return Problem(where, f"no sweep named {sweep!r}", f"{did_you_mean(sweep, known)} {there}".strip())


def record_resources(store: Store, sweep: str, resources: Mapping[str, tuple[float, float]]) -> None:
    """Record the (CPUs, GPUs) of a trial of each stage, from which CPU and GPU hours are computed."""
    known = recorded_resources(store, sweep)
    store.files.write(_name(sweep, RESOURCES), json_text(known | dict(resources)))


def record_settings(store: Store, sweep: str, settings: Mapping[str, Any]) -> None:
    """Record the resolved search space without passwords; other commands may send it to MLflow later."""
    plain = json.dumps(settings, default=str)
    store.files.write(_name(sweep, SETTINGS), without_secrets(plain))


def remember_best(store: Store, sweep: str, where: Mapping[str, Any], run_id: str) -> str | None:
    """Keep which run ``best:SWEEP`` means, and return which one it meant before; None where none is known.

    A storage that cannot be written to, or that does not know the sweep, keeps nothing.
    """
    asked = json.dumps({str(name): str(value) for name, value in where.items()}, sort_keys=True)
    try:
        if not is_recorded(store, sweep):
            return None
        known = json_of(store.files.read(_name(sweep, BEST)) or "{}")
        before = known.get(asked)
        if before != run_id:
            store.files.write(_name(sweep, BEST), json_text({**known, asked: run_id}))
    except (OSError, AttributeError, *UNREADABLE):
        return None
    return before if isinstance(before, str) else None


def recorded_settings(store: Store, sweep: str) -> dict[str, Any]:
    """The resolved search space of the last run; empty before the first."""
    try:
        values = json_of(store.files.read(_name(sweep, SETTINGS)) or "{}")
    except (OSError, *UNREADABLE):
        return {}
    return values if isinstance(values, dict) else {}


def recorded_resources(store: Store, sweep: str) -> dict[str, tuple[float, float]]:
    """Stage -> (CPUs, GPUs) of its trials in the last run; empty before the first."""
    try:
        values = json_of(store.files.read(_name(sweep, RESOURCES)) or "")
        return {str(stage): (float(cpu), float(gpu)) for stage, (cpu, gpu) in values.items()}
    except (OSError, *UNREADABLE):
        return {}


def sweep_path(store: Store, sweep: str) -> Path:
    """The folder of a sweep on this machine; does not make it."""
    return store.root / "sweeps" / sweep


def _name(sweep: str, file: str) -> str:
    return f"sweeps/{sweep}/{file}"


def _entries(text: str) -> dict[str, NodeEntry]:
    entries: dict[str, NodeEntry] = {}
    for line in text.splitlines():
        try:
            entry = _entry(json_of(line))
        except UNREADABLE:
            continue
        entries[entry.key] = entry
    return entries


def _line(entry: NodeEntry) -> str:
    return json.dumps(asdict(entry), separators=(",", ":")) + "\n"


def _entry(values: Mapping[str, Any]) -> NodeEntry:
    inputs = {role: tuple((str(s), str(k)) for s, k in pairs) for role, pairs in values["inputs"].items()}
    entry = NodeEntry(**{**values, "inputs": inputs})
    texts, mappings = (entry.key, entry.stage, entry.title), (entry.config, entry.labels)
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(m, dict) for m in mappings):
        raise TypeError("no node")
    return entry
