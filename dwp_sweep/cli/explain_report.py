"""What ``dwp-sweep explain`` shows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from dwp_sweep.harness.explain import Difference, Explanation
from dwp_sweep.store.sweep_record import NodeEntry

_SHORT_KEY = 8


def show_differences(first: NodeEntry, second: NodeEntry, found: Sequence[Difference], as_json: bool) -> None:
    """Print in which fields two nodes differ, keyed ones first."""
    if as_json:
        values = {
            "first": _name(first),
            "second": _name(second),
            "differences": [asdict(one) for one in found],
        }
        click.echo(json.dumps(values, indent=1, default=str))
        return
    if first.key == second.key:
        click.echo(f"{_name(first)}: both are this one node")
        return
    click.echo(f"first:  {_name(first)}\nsecond: {_name(second)}")
    _show(found)


def show_explanation(found: Explanation, as_json: bool) -> None:
    """Print why a node is or is not cached."""
    if as_json:
        values = {"node": _name(found.node), "state": found.state, "why": found.why}
        values |= {"nearest": _name(found.nearest)} if found.nearest else {}
        differences = {"differences": [asdict(one) for one in found.differences]}
        click.echo(json.dumps({**values, **differences}, indent=1, default=str))
        return
    click.echo(f"{_name(found.node)}\n{found.state}: {found.why}")
    if found.nearest is not None:
        click.echo(
            f"the published {found.node.stage} node nearest to it, {_name(found.nearest)}, has instead:"
        )
        _show(found.differences)


def _show(found: Sequence[Difference]) -> None:
    for one in found:
        note = "" if one.is_keyed else "   (no part of the key)"
        click.echo(f"  {one.field}: {_short(one.first)} -> {_short(one.second)}{note}")


def _name(entry: NodeEntry) -> str:
    return f"{entry.key[:_SHORT_KEY]} {entry.title}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
