"""What ``dwp-sweep gc`` shows before it asks."""

from __future__ import annotations

from collections import Counter

import click

from dwp_sweep.store.gc import Survey

_N_SHOWN = 20


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
