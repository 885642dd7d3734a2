"""A node: one stage with its resolved config. Its key hashes everything that decides its result."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dwp_sweep.config.variants import SEPARATOR
from dwp_sweep.stages.contract import Stage
from dwp_sweep.store.sweep_record import NodeEntry
from dwp_sweep.strict import StrictModel, keyed_values, setting_text

_MAX_SHOWN = 40
"""Characters of a value in a title."""


@dataclass(frozen=True)
class Node:
    """One piece of work of a sweep.

    Attributes:
        key: Hash of stage, code version, keyed config and input keys; 20 hex digits.
        stage: Name of the stage.
        config: Plain values of the stage's config, unkeyed ones included.
        inputs: Role -> ((stage, key), ...) of the nodes whose outputs it reads.
        labels: ``method``, ``variant``, ``train_size``, ``split``, ``seed``, ``group``, ``over`` (the axes of
            an ensemble), ``trial`` (its number in a search) where they apply; ``settings``: dotted key ->
            value of what the sweep asks about and this node or one upstream of it reads.
    """

    key: str
    stage: str
    config: Mapping[str, Any]
    inputs: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    labels: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parents(self) -> tuple[tuple[str, str], ...]:
        """(stage, key) of every input, in order of role."""
        return tuple(pair for role in sorted(self.inputs) for pair in self.inputs[role])

    @property
    def title(self) -> str:
        """Short readable name: ``target trial 3 latent_dim=4 deep_weight_prior m=5 split 0 seed 0``."""
        forms = {
            "trial": "trial {}",
            "settings": "{}",
            "variant": "{}:",
            "method": "{}",
            "train_size": "m={}",
            "group": "group {}",
            "split": "split {}",
            "seed": "seed {}",
            "fold": "fold {}",
            "over": "over {}",
        }
        labels = {**self.labels, "settings": short_settings(self.labels.get("settings") or {})}
        words = [form.format(labels[name]) for name, form in forms.items() if labels.get(name, "") != ""]
        return " ".join([self.stage, *words])


def make_node(
    stage: Stage,
    config: StrictModel,
    inputs: Mapping[str, tuple[Node, ...]] | None = None,
    labels: Mapping[str, Any] | None = None,
) -> Node:
    """Resolve a node: compute its key from everything that decides its result."""
    inputs = inputs or {}
    identity = {
        "stage": stage.name,
        "version": stage.version,
        "config": keyed_values(config),
        "inputs": {role: [node.key for node in nodes] for role, nodes in inputs.items()},
    }
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return Node(
        key=hashlib.sha256(text.encode()).hexdigest()[:20],
        stage=stage.name,
        config=config.model_dump(mode="json"),
        inputs={role: tuple((node.stage, node.key) for node in nodes) for role, nodes in inputs.items()},
        labels=dict(labels or {}),
    )


def short_settings(settings: Mapping[str, Any]) -> str:
    """``latent_dim=4 kl_weight=0.0001``: the last part of each key, the whole key where two have the same."""
    ends = Counter(key.rpartition(".")[2] for key in settings)
    names = {key: end if ends[end := key.rpartition(".")[2]] == 1 else key for key in settings}
    return " ".join(f"{names[key]}={_shown(value)}" for key, value in settings.items())


def with_trial(node: Node, number: int) -> Node:
    """The node of a search's configuration; one that an earlier configuration has asked for stays its own."""
    return node if "trial" in node.labels else replace(node, labels={**node.labels, "trial": number})


def with_variant(node: Node, name: str) -> Node:
    """The node with one more variant's name among its labels; its key stays the same."""
    names = [*filter(None, str(node.labels.get("variant", "")).split(SEPARATOR)), name]
    return replace(node, labels={**node.labels, "variant": SEPARATOR.join(dict.fromkeys(names))})


def pipeline_order(nodes: Iterable[Node]) -> tuple[str, ...]:
    """The stages of some nodes, upstream stages first.

    Args:
        nodes: Parents before children; a parent that is not among them counts as the start of the pipeline.
    """
    depth: dict[str, int] = {}
    deepest: dict[str, int] = {}
    for node in nodes:
        depth[node.key] = 1 + max((depth.get(key, 0) for _, key in node.parents), default=0)
        deepest[node.stage] = max(deepest.get(node.stage, 0), depth[node.key])
    return tuple(sorted(deepest, key=deepest.__getitem__))


def entries_of(nodes: Iterable[Node], targets: Collection[str]) -> list[NodeEntry]:
    """Nodes as entries of a sweep's record.

    Args:
        nodes: Parents before children.
        targets: Keys of the sweep's target nodes.
    """
    wanted = frozenset(targets)
    return [
        NodeEntry(node.key, node.stage, node.title, node.config, node.inputs, node.labels, node.key in wanted)
        for node in nodes
    ]


def nodes_of(entries: Iterable[NodeEntry]) -> list[Node]:
    """Inverse of `entries_of`, without the targets."""
    return [Node(entry.key, entry.stage, entry.config, entry.inputs, entry.labels) for entry in entries]


def node_values(node: Node) -> dict[str, Any]:
    """A node as plain values, for JSON."""
    return asdict(node)


def node_of(values: Mapping[str, Any]) -> Node:
    """Inverse of `node_values`."""
    inputs = {role: tuple((s, k) for s, k in pairs) for role, pairs in values["inputs"].items()}
    return Node(**{**values, "inputs": inputs})


def _shown(value: Any) -> str:
    text = setting_text(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."
