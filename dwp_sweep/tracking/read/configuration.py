"""What makes two runs the same configuration: all settings behind a result but split, seed and place.

A target's own run names only what the target stage reads; latent dimension or weight decay stand with
the priors and source networks that it came from, so the settings are gathered along the lineage.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dwp_sweep.config.variants import VARIANT
from dwp_sweep.tracking.read.rows import NodeRow

REPEATS = ("split", "seed")
"""What repeats a configuration instead of changing it."""

_OF_ONE_NODE = {"seed", "split", "group", "method", "train_size"}
_PLACES = {
    "root", "split_file", "device", "cache_dir", "checkpointing", "checkpoint_every", "path", "network",
    "bank", "priors",
}  # fmt: skip
"""Last parts of names that never change a result: the components' unkeyed fields (a test compares)."""


@dataclass(frozen=True)
class Configuration:
    """All settings behind a result.

    Attributes:
        values: By dotted name, as in a search space; ``variant`` too, which decides nothing.
        identity: Equal for equal settings; 12 hex digits.
    """

    values: Mapping[str, Any]
    identity: str


def configurations(rows: Iterable[NodeRow]) -> dict[int, Configuration]:
    """The configuration of each row, by its index."""
    rows = list(rows)
    by_key = {row.key: row for row in rows if row.key}
    return {index: configuration_of(row, by_key) for index, row in enumerate(rows)}


def configuration_of(row: NodeRow, by_key: Mapping[str, NodeRow]) -> Configuration:
    """The configuration of one row.

    Args:
        row: The row.
        by_key: Rows by key: those that it came from are among them.
    """
    own = {
        name: row.labels[name] for name in ("method", VARIANT, "train_size", "group") if name in row.labels
    }
    own |= {
        name: value for name, value in row.params.items() if name not in REPEATS and name != "source.n_seeds"
    }
    values = dict(own)
    for ancestor in _ancestors(row, by_key):
        for name, value in _settings(ancestor):
            if values.setdefault(name, value) != value and changes_results(name):
                values.setdefault(f"{ancestor.stage}:{name}", value)
    keyed = {name: value for name, value in values.items() if changes_results(name) and name != VARIANT}
    text = json.dumps([row.stage, keyed], sort_keys=True, default=str)
    return Configuration(values, hashlib.sha256(text.encode()).hexdigest()[:12])


def changes_results(name: str) -> bool:
    """Whether a setting takes part in a node's key."""
    return name.rpartition(".")[2] not in _PLACES


def _settings(row: NodeRow) -> Iterator[tuple[str, Any]]:
    for name, value in row.params.items():
        if name in _OF_ONE_NODE or name == "source.n_seeds":
            continue
        yield (name if "." in name else f"{row.stage}.{name}"), value
    # A source network that several sweeps share cannot know how many of its kind went into this bank.
    if "sources" in row.inputs:
        yield "source.n_seeds", len(row.inputs["sources"])


def _ancestors(row: NodeRow, by_key: Mapping[str, NodeRow]) -> Iterator[NodeRow]:
    seen: set[str] = set()
    waiting = [row]
    while waiting:
        for pairs in waiting.pop(0).inputs.values():
            for _, key in pairs:
                if key not in seen and key in by_key:
                    seen.add(key)
                    waiting.append(by_key[key])
                    yield by_key[key]
