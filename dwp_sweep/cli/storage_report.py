"""What ``dwp-sweep explain`` and ``dwp-sweep gc`` show."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from dwp_sweep.cli.terminal import short_key
from dwp_sweep.harness.view.explain import Explanation, FieldDifference
from dwp_sweep.store.gc import Survey
from dwp_sweep.store.sweep_record import NodeEntry
from dwp_sweep.strict import shortened

_N_SHOWN = 20


def show_differences(
    first: NodeEntry, second: NodeEntry, found: Sequence[FieldDifference], as_json: bool
) -> None:
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


def show_survey(found: Survey) -> None:
    """Print disk use by folder, stages first, and what may go."""
    for row in found.usage:
        nodes = f"{row.n_nodes} nodes" if row.n_nodes else ""
        click.echo(f"{row.name:<14}{nodes:>12}{megabytes(row.n_bytes):>12}")
    for note in found.notes:
        click.echo(f"note: {note}")
    if not found.garbage:
        click.echo("nothing to remove: sweeps refer to all that is there")
        return
    counts: Counter[str] = Counter()
    for one in found.garbage:
        counts[one.why] += one.n_bytes
    for why, n_bytes in counts.most_common():
        n = sum(one.why == why for one in found.garbage)
        click.echo(f"may go: {n} x {why}, {megabytes(n_bytes)}")
    for one in found.garbage[:_N_SHOWN]:
        click.echo(f"  {one.path}")
    if len(found.garbage) > _N_SHOWN:
        click.echo(f"  and {len(found.garbage) - _N_SHOWN} more")


def megabytes(n_bytes: int) -> str:
    """Bytes for people: ``0.4 MB``, ``12 MB``, ``3.1 GB``."""
    if n_bytes >= 1e9:
        return f"{n_bytes / 1e9:.1f} GB"
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes < 9.95e6 else f"{n_bytes / 1e6:.0f} MB"


def _show(found: Sequence[FieldDifference]) -> None:
    for one in found:
        note = "" if one.is_keyed else "   (no part of the key)"
        click.echo(f"  {one.field}: {_short(one.first)} -> {_short(one.second)}{note}")


def _name(entry: NodeEntry) -> str:
    return f"{short_key(entry.key)} {entry.title}"


def _short(value: Any) -> str:
    return shortened(value if isinstance(value, str) else json.dumps(value, default=str))
