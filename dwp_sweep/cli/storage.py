"""``dwp-sweep explain | sync | gc``: why a node is not on the storage, what MLflow lacks, what may go."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dwp_sweep.cli import options
from dwp_sweep.cli.exits import FAILED, remark, say

if TYPE_CHECKING:
    from dwp_sweep.harness.view.explain import Explanation, FieldDifference
    from dwp_sweep.store.gc import Survey
    from dwp_sweep.store.sweep_record import NodeEntry

_N_SHOWN = 20


@click.command(short_help="Say why two nodes differ, or why one is not cached.")
@click.argument("first", metavar="NODE")
@click.argument("second", metavar="[NODE]", required=False)
@options.as_json
@options.storage
@options.tracking_uri
def explain(
    first: str, second: str | None, as_json: bool, storage: Path | str, tracking_uri: str | None
) -> None:
    """With two nodes: the fields in which they differ, down their inputs. With one: why it is not cached.

    A node is named by the beginning of its key, as `plan --nodes` and `status` show it, by best:SWEEP, or
    by an MLflow run id.
    """
    from dwp_sweep.api import NodeComparison
    from dwp_sweep.api import explain as answer_of

    answer = answer_of(first, second, storage=storage, tracking_uri=tracking_uri)
    if isinstance(answer, NodeComparison):
        _show_differences(answer.first, answer.second, answer.differences, as_json)
    else:
        _show_explanation(answer, as_json)


@click.command(short_help="List the sweeps of a storage: state, progress, best, age, size.")
@options.as_json
@options.storage
def ls(as_json: bool, storage: Path | str) -> None:
    """List the sweeps of a storage, the latest first: state, nodes, best validation Dice, age, size.

    Reads the storage alone. The size of a sweep counts nodes that it shares with others.
    """
    from dwp_sweep.api import sweeps
    from dwp_sweep.cli.terminal import standard_output
    from dwp_sweep.tables import print_tables

    found = sweeps(storage)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=1))
    else:
        print_tables(found.tables(), standard_output())


@click.command(short_help="Send MLflow what it missed of a sweep.")
@options.sweep
@options.storage
@options.tracking_uri
@click.pass_context
def sync(ctx: click.Context, /, sweep: str, storage: Path | str, tracking_uri: str | None) -> None:
    """Send MLflow what it missed of a sweep while it was away: runs, metrics by epoch, files.

    The next run of the sweep does the same; this needs neither its search space nor its data. What MLflow
    has already is not sent again.
    """
    from dwp_sweep.api import sync as send

    report = send(sweep, storage, tracking_uri)
    say(f"{sweep}: {report.sent} node(s) sent, {report.complete} already there")
    if report.closed or report.doubles:
        say(f"{report.closed} run(s) of lost workers closed, {report.doubles} double(s) removed")
    if report.problem:
        remark(report.problem)
        ctx.exit(FAILED)


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
    from dwp_sweep.harness.view.sweeps import size_text
    from dwp_sweep.store.gc import collect, survey
    from dwp_sweep.store.heartbeat import forbid_while_live
    from dwp_sweep.store.open_store import open_store

    store = open_store(storage)
    disk = survey(store, forget)
    _show_survey(disk)
    if dry_run or not disk.garbage:
        return
    forbid_while_live(store)
    if not yes:
        click.confirm(f"remove these {len(disk.garbage)}, {size_text(disk.n_bytes_garbage)}?", abort=True)
    say(f"freed {size_text(collect(store, disk))}")


def _show_differences(
    first: NodeEntry, second: NodeEntry, differences: Sequence[FieldDifference], as_json: bool
) -> None:
    """Print in which fields two nodes differ, keyed ones first."""
    if as_json:
        values = {
            "first": _name(first),
            "second": _name(second),
            "differences": [asdict(difference) for difference in differences],
        }
        click.echo(json.dumps(values, indent=1, default=str))
    elif first.key == second.key:
        say(f"{_name(first)}: both are this one node")
    else:
        say(f"first:  {_name(first)}", f"second: {_name(second)}")
        _show_fields(differences)


def _show_explanation(answer: Explanation, as_json: bool) -> None:
    """Print why a node is or is not cached."""
    if as_json:
        values = {"node": _name(answer.node), "state": answer.state, "why": answer.why}
        values |= {"nearest": _name(answer.nearest)} if answer.nearest else {}
        differences = {"differences": [asdict(difference) for difference in answer.differences]}
        click.echo(json.dumps({**values, **differences}, indent=1, default=str))
        return
    say(_name(answer.node), f"{answer.state}: {answer.why}")
    if answer.nearest is not None:
        nearest = _name(answer.nearest)
        say(f"the published {answer.node.stage} node nearest to it, {nearest}, has instead:")
        _show_fields(answer.differences)


def _show_fields(differences: Sequence[FieldDifference]) -> None:
    from dwp_sweep.strict import shortened

    def short(value: Any) -> str:
        return shortened(value if isinstance(value, str) else json.dumps(value, default=str))

    for difference in differences:
        note = "" if difference.is_keyed else "   (no part of the key)"
        say(f"  {difference.field}: {short(difference.first)} -> {short(difference.second)}{note}")


def _name(entry: NodeEntry) -> str:
    from dwp_sweep.cli.terminal import short_key

    return f"{short_key(entry.key)} {entry.title}"


def _show_survey(disk: Survey) -> None:
    """Print disk use by folder, stages first, and what may go."""
    from dwp_sweep.harness.view.sweeps import size_text

    for row in disk.usage:
        nodes = f"{row.n_nodes} nodes" if row.n_nodes else ""
        say(f"{row.name:<14}{nodes:>12}{size_text(row.n_bytes):>12}")
    for note in disk.notes:
        say(f"note: {note}")
    if not disk.garbage:
        say("nothing to remove: sweeps refer to all that is there")
        return
    n_bytes: Counter[str] = Counter()
    for item in disk.garbage:
        n_bytes[item.why] += item.n_bytes
    n_items = Counter(item.why for item in disk.garbage)
    for why, size in n_bytes.most_common():
        say(f"may go: {n_items[why]} x {why}, {size_text(size)}")
    for item in disk.garbage[:_N_SHOWN]:
        say(f"  {item.path}")
    if len(disk.garbage) > _N_SHOWN:
        say(f"  and {len(disk.garbage) - _N_SHOWN} more")
