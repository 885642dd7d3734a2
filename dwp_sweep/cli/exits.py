"""How commands end: exit codes, problems on standard error, no traceback.

A message about a file names the option that gave the file's place.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from dwp_sweep.errors import CorruptArtifactError, InputError, Problem, StorageError, nearest_names, visible
from dwp_sweep.stop_signals import on_stop

FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130

_DISK_ERRORS = {
    errno.EACCES,
    errno.EEXIST,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}

_LONG_LIST = 12
_N_SHOWN = 5
_PLACES = "dwp_sweep.places"
"""Of click's context: the paths that options and arguments gave, by the option's name."""


class Commands(click.Group):
    """A group whose commands may raise the package's errors."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which they were added: the order of use."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; print errors for users and exit with their codes."""
        try:
            with on_stop():
                return super().invoke(ctx)
        except InputError as error:
            show_problems(error.problems)
            ctx.exit(BAD_INPUT)
        except CorruptArtifactError as error:
            remark(f"damaged file: {error}")
            ctx.exit(FAILED)
        except StorageError as error:
            remark(f"the storage failed: {error}", "      -> the same command goes on from here")
            ctx.exit(FAILED)
        except OSError as error:
            problem = _disk_problem(ctx, error)
            if problem is None:
                raise
            show_problems([problem])
            ctx.exit(BAD_INPUT)
        except KeyboardInterrupt:
            click.echo("interrupted; the same command goes on from here", err=True)
            ctx.exit(INTERRUPTED)


def show_problems(problems: Iterable[Problem]) -> None:
    """Print problems to standard error: what is wrong, then what to do about it.

    Consecutive problems with equal advice print it once. A long list of names is cut to the nearest ones.
    """
    problems = tuple(problems)
    if len(problems) > 1:
        remark(f"{len(problems)} problems:")
    for problem, following in zip(problems, (*problems[1:], None), strict=True):
        remark(f"  {problem.where}: {problem.what}")
        if problem.fix and (following is None or following.fix != problem.fix):
            remark(f"      -> {_brief(problem)}")


def say(*lines: str) -> None:
    """Print lines of a result as they are; control characters and line breaks in names are written out."""
    for line in lines:
        click.echo(visible(line, one_line=True))


def remark(*lines: str) -> None:
    """Print a message on standard error, beside the results; as `say`."""
    for line in lines:
        click.echo(visible(line, one_line=True), err=True)


def place(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Callback of a path option or argument: remembers its value by its name, e.g. ``--storage``."""
    if isinstance(value, Path):
        name = max(parameter.opts, key=len)
        name = name if isinstance(parameter, click.Option) else parameter.human_readable_name
        ctx.meta.setdefault(_PLACES, {})[name] = value
    return value


def place_of(ctx: click.Context, path: str | Path) -> str | None:
    """The name and value of the place that a path belongs to, e.g. ``--storage /data``; None: to none."""
    wanted = Path(path).absolute()
    for name, value in ctx.meta.get(_PLACES, {}).items():
        given = value.absolute()
        # An error may name a parent folder that could not be created.
        if wanted.is_relative_to(given) or given.is_relative_to(wanted):
            return f"{name} {value}"
    return None


def _brief(problem: Problem) -> str:
    start, colon, rest = problem.fix.partition(": ")
    names = rest.split(", ")
    given = re.search(r"'([^']+)'", problem.what)
    if not colon or given is None or len(names) <= _LONG_LIST:
        return problem.fix
    near = nearest_names(given[1], names, _N_SHOWN, cutoff=0.0)
    return f"{start}, nearest first: {', '.join(near)} and {len(names) - len(near)} more"


def _disk_problem(ctx: click.Context, error: OSError) -> Problem | None:
    """A file that cannot be written, as a problem of the user's; None: a bug, whose traceback is shown."""
    if error.filename is None or error.errno not in _DISK_ERRORS:
        return None
    place = place_of(ctx, error.filename)
    if place is None and error.errno == errno.ENOENT:
        return None
    fix = f"{place}: choose one that exists or can be made, may be written to, and has room"
    return Problem(str(error.filename), str(error.strerror), fix if place else "look at its permissions")
