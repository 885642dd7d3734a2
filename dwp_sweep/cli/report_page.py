"""``dwp-sweep report SWEEP --out DIR``: the report page, and what it says in a line or two."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from dwp_sweep.errors import InputError, Problem


def write_and_tell(
    sweep: str,
    out: Path,
    versus: tuple[str, ...],
    refused: Mapping[str, object],
    storage: Path | str,
    tracking_uri: str | None,
) -> None:
    """Write the report of a sweep; print its headline, what is missing and where the page lies.

    Args:
        sweep: Its name.
        out: Folder of the report.
        versus: Values of ``--versus``: at most one, what everything is compared with.
        refused: Options that are about what is printed, by name; none may be given.
        storage: Read for what it has, before MLflow.
        tracking_uri: MLflow's.

    Raises:
        InputError: Options that do not go together; whatever `write_report` raises.
    """
    problems = [
        Problem(name, "is about what is printed, and --out writes the whole report", "leave one of them out")
        for name, value in refused.items()
        if value
    ]
    if len(versus) > 1:
        problems.append(Problem("--versus", "a report page has one reference", "name one of them"))
    if problems:
        raise InputError(problems)
    from dwp_sweep.report.page.write import write_report
    from dwp_sweep.store.open_store import open_store
    from dwp_sweep.tracking.client import resolve_uri

    written = write_report(
        sweep, out, resolve_uri(tracking_uri, storage), open_store(storage), versus[0] if versus else None
    )
    click.echo(written.headline)
    if written.missing:
        click.echo(f"missing, unfinished or failed: {len(written.missing)}, named on the page", err=True)
    click.echo(f"report: {written.page}")
