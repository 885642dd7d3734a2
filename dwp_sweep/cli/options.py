"""Options that several commands share, with their environment variables."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from dwp_sweep.cli.exits import place
from dwp_sweep.errors import InputError, Problem

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


class Seconds(click.FloatRange):
    """A time of at most some decades; ``nan`` compares with no limit and is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, if it is one."""
        number = super().convert(value, param, ctx)
        return self.fail(f"{value} is no number of seconds.", param, ctx) if math.isnan(number) else number


COUNT = click.IntRange(1, 1_000_000)
"""Of nodes at once."""
SEED = click.IntRange(0, 2**32 - 1)
SECONDS = Seconds(0, 1e9)


class StoragePlace(click.ParamType[str | Path]):
    """A folder, or an URL: the latter stays a text."""

    name = "directory"

    def convert(
        self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | Path:
        """A `Path` for a folder, the text itself for an URL."""
        from dwp_sweep.store.open_store import folder_of

        try:
            if folder_of(value) is None:
                return str(value)
        except InputError as error:
            self.fail(error.problems[0].what, param, ctx)
        path: Path = click.Path(file_okay=False, path_type=Path).convert(value, param, ctx)
        return path


space = click.argument("space", metavar="SPACE", type=click.Path(path_type=Path))


def _sweep_name(context: click.Context, parameter: click.Parameter, text: str) -> str:
    """The name of a sweep; of a search-space file the one that its sweep has."""
    if not text.lower().endswith((".yaml", ".yml")):
        return text
    from dwp_sweep.config.space import name_of_file

    return name_of_file(Path(text))


sweep = click.argument("sweep", metavar="SWEEP", callback=_sweep_name)

storage = click.option(
    "--storage",
    metavar="PLACE",
    type=StoragePlace(),
    default=Path("dwp_runs"),
    show_default="./dwp_runs",
    envvar="DWP_SWEEP_STORAGE",
    show_envvar=True,
    callback=place,
    help="Folder of results, checkpoints and caches, on a cluster a shared one; or s3://BUCKET/PREFIX.",
)

tracking_uri = click.option(
    "--tracking-uri",
    metavar="URI",
    envvar="MLFLOW_TRACKING_URI",
    show_envvar=True,
    help="MLflow's tracking URI.  [default: SQLite in the storage folder]",
)

overrides = click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Override a value of the search space, in dotted form; may be repeated.",
)

smoke = click.option("--smoke", is_flag=True, help="Shrink the sweep to the scale of its `smoke` section.")

no_retry_failed = click.option(
    "--no-retry-failed", is_flag=True, help="Leave nodes alone that failed earlier."
)


def _conditions(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """``key=value`` texts as a mapping; numbers stay text, which compares equal to them."""
    bad = [text for text in texts if not text.partition("=")[0].strip() or "=" not in text]
    if bad:
        fix = "e.g. --where method=fine_tune"
        raise InputError(Problem(f"--where {text}", "is not of the form key=value", fix) for text in bad)
    pairs = (text.partition("=") for text in texts)
    return {key.strip(): value.strip() for key, _, value in pairs}


where = click.option(
    "--where",
    metavar="KEY=VALUE",
    multiple=True,
    callback=_conditions,
    help="Only runs with this value; may be repeated.",
)

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")

address = click.option(
    "--address", metavar="ADDRESS", help="An existing Ray cluster.  [default: RAY_ADDRESS, else a local Ray]"
)

device = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to compute; auto: a GPU if there is one.",
)


_WEBHOOK = "DWP_SWEEP_NOTIFY_WEBHOOK"


def _secret(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Keep an address that may hold a secret where it is known as one: no message or record shows it."""
    if value:
        os.environ[_WEBHOOK] = value
    return value


def _together(*options: Any) -> Callable[[CommandT], CommandT]:
    def decorate(command: CommandT) -> CommandT:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_SWEEP = (overrides, smoke, storage, tracking_uri, no_retry_failed)

sweep_options = _together(*_SWEEP)
"""What describes a sweep: overrides, scale, where results lie, what to do with failed nodes."""

run_options = _together(
    *_SWEEP,
    click.option(
        "--here",
        is_flag=True,
        help="Compute all nodes in this process, one after the other, without Ray.",
    ),
    address,
    click.option(
        "--max-concurrent",
        type=COUNT,
        metavar="N",
        help="Nodes at once, at most.  [default: as the resources allow]",
    ),
    click.option(
        "--wait-for-machines",
        type=SECONDS,
        metavar="SECONDS",
        default=900.0,
        show_default=True,
        envvar="DWP_SWEEP_WAIT_FOR_MACHINES",
        show_envvar=True,
        help="How long a cluster that grows may take to bring a machine that a stage asks for.",
    ),
    click.option(
        "--wait-for-driver",
        is_flag=True,
        help="Wait until the driver that runs this search has ended or is dead, then take the search over.",
    ),
    click.option(
        "--notify-command",
        metavar="COMMAND",
        envvar="DWP_SWEEP_NOTIFY_COMMAND",
        show_envvar=True,
        default="",
        help="Run this at the end, at a failure and at a stall; $DWP_SWEEP_TEXT says what happened.",
    ),
    click.option(
        "--notify-webhook",
        metavar="URL",
        envvar=_WEBHOOK,
        show_envvar=True,
        default="",
        callback=_secret,
        help="Post the same there as JSON.",
    ),
    click.option(
        "--notify-on",
        metavar="EVENTS",
        envvar="DWP_SWEEP_NOTIFY_ON",
        show_envvar=True,
        default="end,failure,stall",
        show_default=True,
        callback=lambda context, parameter, text: tuple(word.strip() for word in text.split(",")),
        help="Of what.",
    ),
)
"""The options of a sweep, and where it runs."""

bench_options = _together(
    click.argument("names", metavar="[NAME]...", nargs=-1),
    click.option("--list", "only_list", is_flag=True, help="List the benches and run none."),
    click.option(
        "--threads", type=click.IntRange(1, 4_096), metavar="N", help="Of torch.  [default: all cores]"
    ),
    device,
    click.option("--quick", is_flag=True, help="Tiny scale: shows that it works; the numbers mean nothing."),
    as_json,
)
"""Which benches, where, at which scale, how to print them; for ``python -m tests.benchmarks``, too."""
