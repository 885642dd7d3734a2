"""``dwp-sweep explain | sync | gc``: why a node is not on the storage, what MLflow lacks, what may go."""

from __future__ import annotations

from pathlib import Path

import click

from dwp_sweep.cli import options


@click.command(short_help="Say why two nodes differ, or why one is not cached.")
@click.argument("first", metavar="NODE")
@click.argument("second", metavar="[NODE]", required=False)
@options.as_json
@options.storage
def explain(first: str, second: str | None, as_json: bool, storage: Path | str) -> None:
    """With two nodes: the fields in which they differ, down their inputs. With one: why it is not cached.

    A node is named by the beginning of its key, as `plan --nodes` and `status` show it.
    """
    from dwp_sweep.cli.storage_report import show_differences, show_explanation
    from dwp_sweep.harness.view.explain import KnownNodes, differences, explain_node
    from dwp_sweep.store.open_store import open_store

    known = KnownNodes(open_store(storage))
    node = known.find(first)
    if second is None:
        show_explanation(explain_node(node, known), as_json)
    else:
        other = known.find(second)
        show_differences(node, other, differences(node, other, known), as_json)


@click.command(short_help="Send MLflow what it missed of a sweep.")
@click.argument("sweep", metavar="SWEEP")
@options.storage
@options.tracking_uri
@click.pass_context
def sync(ctx: click.Context, /, sweep: str, storage: Path | str, tracking_uri: str | None) -> None:
    """Send MLflow what it missed of a sweep while it was away: runs, metrics by epoch, files.

    The next run of the sweep does the same; this needs neither its search space nor its data. What MLflow
    has already is not sent again.
    """
    from dwp_sweep.api import sync as send

    found = send(sweep, storage, tracking_uri)
    click.echo(f"{sweep}: {found.sent} node(s) sent, {found.complete} already there")
    if found.closed or found.doubles:
        click.echo(f"{found.closed} run(s) of lost workers closed, {found.doubles} double(s) removed")
    if found.problem:
        click.echo(found.problem, err=True)
        ctx.exit(1)


@click.command(short_help="Show disk use by stage; remove what no sweep needs, after asking.")
@click.option("--yes", is_flag=True, help="Remove without asking.")
@click.option("--dry-run", is_flag=True, help="Show only; remove nothing.")
@click.option(
    "--forget",
    metavar="SWEEP",
    multiple=True,
    help="Count this sweep as gone: what it alone needs may go; may be repeated.",
)
@options.storage
def gc(yes: bool, dry_run: bool, forget: tuple[str, ...], storage: Path | str) -> None:
    """Show disk use by stage, and remove what no recorded sweep refers to, after asking.

    That is: nodes of forgotten sweeps, damaged folders that were set aside, what dead workers left half
    written, working folders of published nodes, and Ray's folders of ended runs. Nothing is removed while
    a run works on the storage. MLflow keeps its runs.
    """
    from dwp_sweep.cli.storage_report import megabytes, show_survey
    from dwp_sweep.store.gc import collect, survey
    from dwp_sweep.store.gc_lock import forbid_while_live
    from dwp_sweep.store.open_store import open_store

    store = open_store(storage)
    found = survey(store, forget)
    show_survey(found)
    if dry_run or not found.garbage:
        return
    forbid_while_live(store)
    if not yes:
        click.confirm(f"remove these {len(found.garbage)}, {megabytes(found.n_bytes_garbage)}?", abort=True)
    click.echo(f"freed {megabytes(collect(store, found))}")
