"""Why two nodes are not the same one, and why a node is not there: the fields that differ, down the inputs.

Reads records and recorded sweeps. A node's key hashes its stage, code version, keyed settings and input
keys, so one of these must differ between two keys; this says which.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

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
        state: ``published``, ``damaged``, ``failed``, ``pruned``, ``stopped`` (it left at its checkpoint)
            or ``never built``.
        why: In words.
        nearest: The published node of the same stage that is most like it; None where there is none.
        differences: From that one to this one.
    """

    node: NodeEntry
    state: Literal["published", "damaged", "failed", "pruned", "stopped", "never built"]
    why: str
    nearest: NodeEntry | None = None
    differences: tuple[FieldDifference, ...] = ()


Stages = Mapping[str, Stage]


class KnownNodes:
    """All nodes that a storage knows: of recorded sweeps, and published ones.

    Args:
        store: The storage.
        stages: Tell which fields are keyed; None: those of the package.
    """

    def __init__(self, store: Store, stages: Stages | None = None) -> None:
        self.store = store
        self._stages = stages
        self._by_key = {entry.key: entry for name in store.sweeps() for entry in recorded_nodes(store, name)}
        self._published = dict(_published(store))

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
        found = sorted(key for key in {*self._by_key, *self._published} if key.startswith(text))
        if not found:
            fix = "dwp-sweep plan SPACE --nodes and dwp-sweep status SWEEP list keys"
            raise InputError(Problem(self.store.place, f"no node's key begins with {prefix!r}", fix))
        if len(found) > 1:
            named = ", ".join(f"{key[:12]} ({self._title(key)})" for key in found[:_N_NAMED])
            more = f" and {len(found) - _N_NAMED} more" if len(found) > _N_NAMED else ""
            what = f"{len(found)} keys begin with {prefix!r}"
            raise InputError(Problem(self.store.place, what, f"give more digits: {named}{more}"))
        entry = self.get(self._published.get(found[0], ""), found[0])
        if entry is None:
            raise InputError(Problem(self.store.place, f"the record of node {found[0]} cannot be read"))
        return entry

    def get(self, stage: str, key: str) -> NodeEntry | None:
        """A node by its whole key; None where nothing but the key is known."""
        if key not in self._by_key:
            entry = self._from_record(stage or self._published.get(key, ""), key)
            if entry is None:
                return None
            self._by_key[key] = entry
        return self._by_key[key]

    def published(self, stage: str) -> list[NodeEntry]:
        """Published nodes of a stage, at most some hundred."""
        keys = [key for key, of in self._published.items() if of == stage][:_N_NEAR]
        return [entry for key in keys if (entry := self.get(stage, key)) is not None]

    def keyed(self, entry: NodeEntry) -> Mapping[str, Any]:
        """The settings of a node that take part in its key; all of them where its stage is not known."""
        stages = _stages() if self._stages is None else self._stages
        if entry.stage not in stages:
            return entry.config
        try:
            return keyed_values(parse(stages[entry.stage].config, entry.config, entry.title))
        except InputError:
            return entry.config  # of an earlier version, with other fields

    def _from_record(self, stage: str, key: str) -> NodeEntry | None:
        record = self.store.record(stage, key) if stage else None
        if record is None:
            return None
        inputs = {
            role: tuple((self._published.get(one, ""), one) for one in keys)
            for role, keys in record.inputs.items()
        }
        title = " ".join([stage, *(f"{name}={value}" for name, value in record.labels.items())])
        return NodeEntry(key, stage, title, record.config, inputs, record.labels)

    def _title(self, key: str) -> str:
        entry = self._by_key.get(key)
        return entry.title if entry else self._published.get(key, "")


def differences(first: NodeEntry, second: NodeEntry, known: KnownNodes) -> tuple[FieldDifference, ...]:
    """Every field in which two nodes differ, those of differing inputs included, down to the source.

    Args:
        first: A node.
        second: Another one.
        known: Where their inputs are found.
    """
    if first.key == second.key:
        return ()
    return tuple(_differences(first, second, known, "", set()))


def explain_node(node: NodeEntry, known: KnownNodes) -> Explanation:
    """Why a node is not taken from the storage, or that it is."""
    state, why = _state(node, known.store)
    bare = Explanation(node, state, why)
    if state in ("published", "damaged"):
        return bare
    others = [other for other in known.published(node.stage) if other.key != node.key]
    if not others:
        return bare
    nearest = min(others, key=lambda other: (_distance(other, node), other.key))
    return replace(bare, nearest=nearest, differences=differences(nearest, node, known))


def _state(
    node: NodeEntry, store: Store
) -> tuple[Literal["published", "damaged", "failed", "pruned", "stopped", "never built"], str]:
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
    of_config = list(_of_config(first, second, known, prefix))
    yield from of_config
    pairs = list(_input_pairs(first, second, prefix))
    for name, one, other in pairs:
        yield FieldDifference(name, one[1] if one else _ABSENT, other[1] if other else _ABSENT)
        if one is None or other is None or (one[1], other[1]) in seen:
            continue
        entries = known.get(*one), known.get(*other)
        if entries[0] is not None and entries[1] is not None:
            yield from _differences(entries[0], entries[1], known, f"{name}.", seen)
    if not pairs and not any(one.is_keyed for one in of_config):
        yield FieldDifference(f"{prefix}code version", "of its stage when it was made", "another one")


def _of_config(
    first: NodeEntry, second: NodeEntry, known: KnownNodes, prefix: str
) -> Iterator[FieldDifference]:
    keyed = flatten(known.keyed(first)).keys() | flatten(known.keyed(second)).keys()
    one, other = flatten(first.config), flatten(second.config)
    for name in sorted(one.keys() | other.keys(), key=lambda name: (name not in keyed, name)):
        values = one.get(name, _ABSENT), other.get(name, _ABSENT)
        if _text(values[0]) != _text(values[1]):
            yield FieldDifference(f"{prefix}{name}", *values, is_keyed=name in keyed)


def _input_pairs(
    first: NodeEntry, second: NodeEntry, prefix: str
) -> Iterator[tuple[str, tuple[str, str] | None, tuple[str, str] | None]]:
    for role in sorted(first.inputs.keys() | second.inputs.keys()):
        one, other = first.inputs.get(role, ()), second.inputs.get(role, ())
        for place in range(max(len(one), len(other))):
            pair = (one[place] if place < len(one) else None, other[place] if place < len(other) else None)
            if (pair[0] and pair[0][1]) != (pair[1] and pair[1][1]):
                yield f"{prefix}inputs.{role}[{place}]", *pair


def _distance(one: NodeEntry, other: NodeEntry) -> int:
    flat, flat_other = flatten(one.config), flatten(other.config)
    n_fields = sum(
        _text(flat.get(name, _ABSENT)) != _text(flat_other.get(name, _ABSENT))
        for name in flat.keys() | flat_other.keys()
    )
    return n_fields + sum(1 for _ in _input_pairs(one, other, ""))


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _stages() -> Stages:
    from dwp_sweep.stages.registry import STAGES  # imports torch: only where fields are compared

    return STAGES


def _published(store: Store) -> Iterable[tuple[str, str]]:
    for stage in store.stages():
        for _, key in store.published(stage):
            yield key, stage
