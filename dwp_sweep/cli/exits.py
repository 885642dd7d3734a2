"""How commands end: bad input as a list of problems with exit code 2, an interrupt with 130, no traceback."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Any

import click

from dwp_sweep.errors import CorruptArtifactError, InputError, Problem

_STORAGE_ERRORS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.ENOTDIR, errno.EEXIST}

FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130


class Commands(click.Group):
    """A group whose commands may raise the package's errors."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which they were added: the order of use."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn errors for people into messages and exit codes."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            show_problems(error.problems)
            ctx.exit(BAD_INPUT)
        except CorruptArtifactError as error:
            click.echo(f"damaged file: {error}", err=True)
            ctx.exit(FAILED)
        except OSError as error:
            if error.filename is None or error.errno not in _STORAGE_ERRORS:
                raise
            click.echo(f"  {error.filename}: {error.strerror}", err=True)
            click.echo(
                "      -> give a folder that can be written to (--storage), on a disk with room", err=True
            )
            ctx.exit(BAD_INPUT)
        except KeyboardInterrupt:
            click.echo("interrupted; the same command goes on from here", err=True)
            ctx.exit(INTERRUPTED)


def show_problems(problems: Iterable[Problem]) -> None:
    """Print problems to standard error: what is wrong, then what to do about it."""
    problems = tuple(problems)
    if len(problems) > 1:
        click.echo(f"{len(problems)} problems:", err=True)
    for problem in problems:
        click.echo(f"  {problem.where}: {problem.what}", err=True)
        if problem.fix:
            click.echo(f"      -> {problem.fix}", err=True)
