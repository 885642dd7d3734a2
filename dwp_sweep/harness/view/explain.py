"""Why two nodes are not the same one, and why a node is not there: the fields that differ, down the inputs.

A node's key hashes its stage, code version, keyed settings and input keys, so one of these must differ
between two keys; the records of nodes and sweeps say which.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, Literal

from dwp_sweep.config.node import Node
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.harness.dag.node_state import StoredNode
from dwp_sweep.stages.contract import Stage
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.sweep_record import NodeEntry, recorded_nodes
from dwp_sweep.strict import keyed_values, parse
from dwp_sweep.tracking.mlflow_format import flatten

_MIN_PREFIX = 4
_N_NAMED = 5
_N_NEAR = 400
_ABSENT = "(not there)"

Stages = Mapping[str, Stage]
State = Literal["published", "damaged", "failed", "pruned", "stopped", "never built"]
"""``stopped``: it left at its checkpoint."""


@dataclass(frozen=True)
class FieldDifference:
    """One field in which two nodes differ.

    Attributes:
        field: Dotted name; inputs as ``inputs.<role>[<place>]``, what differs in them below that.
        first: Value of the first node.
        second: Value of the second.
        is_keyed: Whether the field takes part in the key; others (paths, devices) never change results.
    """

    field: str
    first: Any
    second: Any
    is_keyed: bool = True


@dataclass(frozen=True)
class Explanation:
    """Why a node is, or is not, on the storage.

    Attributes:
        node: The node.
        state: How it stands.
        why: In words.
        nearest: The published node of the same stage that is most like it; None where there is none.
        differences: From that one to this one.
    """

    node: NodeEntry
    state: State
    why: str
    nearest: NodeEntry | None = None
    differences: tuple[FieldDifference, ...] = ()


class KnownNodes:
    """All nodes that a storage knows: of recorded sweeps, and published ones.

    Args:
        store: The storage.
        stages: Their configs declare which fields are keyed; None: those of the package.
    """

    def __init__(self, store: Store, stages: Stages | None = None) -> None:
        self.store = store
        self._stages = stages
        self._by_key = {entry.key: entry for name in store.sweeps() for entry in recorded_nodes(store, name)}
        self._published = {key: stage for stage in store.stages() for _, key in store.published(stage)}

    def know(self, entries: Iterable[NodeEntry]) -> None:
        """Take in nodes that are not recorded yet."""
        self._by_key |= {entry.key: entry for entry in entries if entry.key not in self._by_key}

    def find(self, prefix: str) -> NodeEntry:
        """The one node whose key starts with a prefix.

        Raises:
            InputError: None or several do, or the prefix is too short to mean one.
        """
        text = prefix.strip().lower()
        if len(text) < _MIN_PREFIX or not set(text) <= set("0123456789abcdef"):
            what = f"{prefix!r} is no beginning of a key"
            fix = f"give at least {_MIN_PREFIX} hex digits; dwp-sweep plan SPACE --nodes lists keys"
            raise InputError(Problem("NODE", what, fix))
        keys = sorted(key for key in {*self._by_key, *self._published} if key.startswith(text))
        if not keys:
            fix = "dwp-sweep plan SPACE --nodes and dwp-sweep status SWEEP list keys"
            raise InputError(Problem(self.store.place, f"no node's key begins with {prefix!r}", fix))
        if len(keys) > 1:
            titles = {key: entry.title for key, entry in self._by_key.items()}
            named = [f"{key[:12]} ({titles.get(key, self._published.get(key))})" for key in keys[:_N_NAMED]]
            more = f" and {len(keys) - _N_NAMED} more" if len(keys) > _N_NAMED else ""
            what = f"{len(keys)} keys begin with {prefix!r}"
            raise InputError(Problem(self.store.place, what, f"give more digits: {', '.join(named)}{more}"))
        entry = self.get("", keys[0])
        if entry is None:
            raise InputError(Problem(self.store.place, f"the record of node {keys[0]} cannot be read"))
        return entry

    def get(self, stage: str, key: str) -> NodeEntry | None:
        """A node by its whole key; None where only the key is known. The stage may be empty."""
        if key not in self._by_key:
            stage = stage or self._published.get(key, "")
            record = self.store.record(stage, key) if stage else None
            if record is None:
                return None
            inputs = {
                role: tuple((self._published.get(parent, ""), parent) for parent in parents)
                for role, parents in record.inputs.items()
            }
            title = Node(key, stage, record.config, inputs, record.labels).title
            self._by_key[key] = NodeEntry(key, stage, title, record.config, inputs, record.labels)
        return self._by_key[key]

    def published(self, stage: str) -> list[NodeEntry]:
        """Published nodes of a stage, at most some hundred."""
        keys = [key for key, of in self._published.items() if of == stage][:_N_NEAR]
        return [entry for key in keys if (entry := self.get(stage, key)) is not None]

    def keyed(self, entry: NodeEntry) -> Mapping[str, Any]:
        """The settings of a node that take part in its key; all of them where its stage is not known."""
        if self._stages is None:
            from dwp_sweep.stages.registry import STAGES  # imports torch: only where fields are compared

            self._stages = STAGES
        if entry.stage not in self._stages:
            return entry.config
        try:
            return keyed_values(parse(self._stages[entry.stage].config, entry.config, entry.title))
        except InputError:
            return entry.config  # of an earlier version, with other fields


def differences(first: NodeEntry, second: NodeEntry, known: KnownNodes) -> tuple[FieldDifference, ...]:
    """Every field in which two nodes differ, those of differing inputs included, down to the source.

    Args:
        first: A node.
        second: Another one.
        known: Has their inputs.
    """
    return () if first.key == second.key else tuple(_differences(first, second, known, "", set()))


def explain_node(node: NodeEntry, known: KnownNodes) -> Explanation:
    """Why a node is not taken from the storage, or that it is."""
    state, why = _state(node, known.store)
    bare = Explanation(node, state, why)
    if state in ("published", "damaged"):
        return bare
    others = [other for other in known.published(node.stage) if other.key != node.key]
    if not others:
        return bare

    def distance(other: NodeEntry) -> int:
        return len(_differing_fields(other, node)) + len(_differing_inputs(other, node))

    nearest = min(others, key=lambda other: (distance(other), other.key))
    return replace(bare, nearest=nearest, differences=differences(nearest, node, known))


def _state(node: NodeEntry, store: Store) -> tuple[State, str]:
    stored = StoredNode(node, store)
    if stored.is_sound:
        return "published", "it is published and would be taken as it is"
    if stored.is_published:
        return "damaged", f"{stored.damage}; the next run sets it aside and builds it again"
    if stored.record is not None and stored.has_failed:
        first = (stored.record.error or "no message").strip().partition("\n")[0]
        return "failed", f"its last attempt failed: {first}"
    if stored.record is not None:
        return "pruned", "its search stopped it early; a rerun leaves it so"
    if stored.history:
        return "stopped", f"it was left after epoch {stored.history[-1].step} and goes on from its checkpoint"
    return "never built", "no run has built it"


def _differences(
    first: NodeEntry, second: NodeEntry, known: KnownNodes, prefix: str, seen: set[tuple[str, str]]
) -> Iterator[FieldDifference]:
    seen.add((first.key, second.key))
    if first.stage != second.stage:
        yield FieldDifference(f"{prefix}stage", first.stage, second.stage)
        return
    keyed = flatten(known.keyed(first)).keys() | flatten(known.keyed(second)).keys()
    fields = _differing_fields(first, second)
    for name, values in sorted(fields.items(), key=lambda item: (item[0] not in keyed, item[0])):
        yield FieldDifference(f"{prefix}{name}", *values, is_keyed=name in keyed)
    inputs = _differing_inputs(first, second)
    for name, pair in inputs.items():
        keys = [parent[1] if parent else _ABSENT for parent in pair]
        yield FieldDifference(f"{prefix}{name}", keys[0], keys[1])
        if pair[0] is None or pair[1] is None or (keys[0], keys[1]) in seen:
            continue
        entries = known.get(*pair[0]), known.get(*pair[1])
        if entries[0] is not None and entries[1] is not None:
            yield from _differences(entries[0], entries[1], known, f"{prefix}{name}.", seen)
    if not inputs and not keyed & fields.keys():
        yield FieldDifference(f"{prefix}code version", "of its stage when it was made", "another one")


def _differing_fields(first: NodeEntry, second: NodeEntry) -> dict[str, tuple[Any, Any]]:
    """Dotted name -> values, of settings that differ."""
    flat = flatten(first.config), flatten(second.config)
    fields = {name: (flat[0].get(name, _ABSENT), flat[1].get(name, _ABSENT)) for name in flat[0] | flat[1]}
    return {name: values for name, values in fields.items() if _text(values[0]) != _text(values[1])}


def _differing_inputs(
    first: NodeEntry, second: NodeEntry
) -> dict[str, tuple[tuple[str, str] | None, tuple[str, str] | None]]:
    """``inputs.<role>[<place>]`` -> (stage, key) of both nodes, of inputs whose keys differ."""
    return {
        f"inputs.{role}[{place}]": pair
        for role in sorted(first.inputs.keys() | second.inputs.keys())
        for place, pair in enumerate(zip_longest(first.inputs.get(role, ()), second.inputs.get(role, ())))
        if (pair[0] and pair[0][1]) != (pair[1] and pair[1][1])
    }


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
