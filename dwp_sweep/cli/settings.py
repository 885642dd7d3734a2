"""``dwp-sweep settings``: what every key of a search space means, and a schema for editors."""

from __future__ import annotations

import json

import click

from dwp_sweep.cli import options
from dwp_sweep.cli.exits import remark
from dwp_sweep.errors import InputError, Problem


@click.command(short_help="Explain the settings of a search space.")
@click.argument("name", metavar="[SECTION|KEY]", required=False)
@click.option(
    "--schema",
    is_flag=True,
    help="Print a JSON schema of search-space files, by which editors complete keys.",
)
@click.option("--markdown", is_flag=True, help="Print Markdown tables.")
@options.as_json
def settings(name: str | None, schema: bool, markdown: bool, as_json: bool) -> None:
    """Explain settings: meaning, allowed values with their unit, default.

    Without a name all of them are listed, each with the first sentence. A name is a section (target), a key
    (target.lr), the last part of one (lr), or a word for it (learning_rate).

    With --schema the output is for editors. Save it, and name the file in the first line of a search space:
    "# yaml-language-server: $schema=FILE".
    """
    asked = [
        option
        for option, given in (("--schema", schema), ("--markdown", markdown), ("--json", as_json))
        if given
    ]
    if len(asked) > 1:
        raise InputError(Problem(" and ".join(asked), "are different forms", "ask for one of them"))
    if schema:
        from dwp_sweep.config.schema import space_schema

        if name:
            raise InputError(Problem("--schema", "is of all settings", f"leave {name} out"))
        click.echo(json.dumps(space_schema(), indent=1))
        return
    from dwp_sweep.config.settings import find_settings
    from dwp_sweep.tables import markdown as as_markdown
    from dwp_sweep.tables import print_tables

    found = find_settings(name)
    if found.note:
        remark(found.note)
    if as_json:
        click.echo(json.dumps([setting.to_dict() for setting in found.settings], indent=1))
    elif markdown:
        click.echo(as_markdown(*found.tables()))
    else:
        from dwp_sweep.cli.terminal import standard_output

        print_tables(found.tables(), standard_output())
